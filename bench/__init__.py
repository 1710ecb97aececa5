"""What this stub costs, measured beside QEMU's own on the same emulated host; see ``__main__``."""
