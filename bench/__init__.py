"""What is claimed, measured: one script a claim, each beside a peer or a limit. ``python -m bench.NAME``."""
