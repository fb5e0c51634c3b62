"""What agent and collector say to each other, and the few rules both must read alike.

Imports nothing of ours. An agent of one release and a collector of another keep working together under the
rule in :mod:`wire.version`.
"""
