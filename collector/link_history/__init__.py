"""The history of each link, derived from what its agents watched: up, down and since when, or not measured and why.

Nothing here is sent by agents: intervals follow from their changes, windows and notes, whatever the order in which they
arrive, and are derived anew when late data or better times come in.
"""
