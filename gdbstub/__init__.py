"""A GDB remote-stub server for KVM arm64 guests."""
