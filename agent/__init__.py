"""Phrom's agent: runs in a district, measures, keeps what it saw on disk and delivers it."""

__version__ = "0.2.0"
