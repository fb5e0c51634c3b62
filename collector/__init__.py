"""Phrom's collector: runs in the province, takes in what agents saw, keeps it, and says what it means."""

__version__ = "0.2.0"
