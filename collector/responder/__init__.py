"""The responder: the far end of throughput, call and STAMP tests; always a process of its own (DESIGN §6.7)."""
