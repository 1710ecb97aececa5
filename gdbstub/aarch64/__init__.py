"""The AArch64 architecture as values and pure functions, without I/O."""
