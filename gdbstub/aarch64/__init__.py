"""What the AArch64 architecture says, as values and pure functions; no I/O."""
