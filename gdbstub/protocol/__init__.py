"""The protocol half: packets, the session of one client, and the server; it serves any target."""
