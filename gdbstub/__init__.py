"""A GDB remote-stub server for KVM arm64 guests."""

from typing import Final

__version__: Final = "0.1.0"
