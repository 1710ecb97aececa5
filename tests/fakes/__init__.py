"""Stand-ins that behave as the real parts do: see ``machine.py``."""
