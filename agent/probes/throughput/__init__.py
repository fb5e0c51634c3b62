"""The ``throughput`` probe: what the link delivers against its contract."""
