"""A GDB remote-stub server for KVM arm64 guests."""

__version__ = "0.1.0"
