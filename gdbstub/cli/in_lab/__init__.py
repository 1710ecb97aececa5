"""Sessions in the lab: the guest is served there, for clients and a script outside."""
