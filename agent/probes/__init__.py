"""The probes, one file or folder each, named as the probe is. The files are found by name (:mod:`agent.probe`)."""
