"""The board: pages rendered on the server, Thai first, readable from across a room and without JavaScript."""
