"""Prometheus at the collector: history by remote read, the collector's own health and the present by ``/metrics``."""
