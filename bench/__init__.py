"""Benchmarks of this stub beside QEMU's own on the same emulated host; see ``__main__``."""
