"""Slots: the collector grants the right to fill a link, so that nothing is trampled (DESIGN §2, §6.4)."""
