"""The wheel's build hook: on arm64 a wheel has the native core, elsewhere it is pure.

hatchling calls it, before any dependency of the project is installed.
"""

import sys
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

#: The oldest C library that has what the core calls (glibc 2.17).
TAG = "py3-none-manylinux_2_17_aarch64"


class NativeCore(BuildHookInterface):
    """Compiles ``gdbstub/kvm/core`` by this machine's compiler."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, object]) -> None:
        """Compile it in place, and have the wheel take it."""
        sys.path.insert(0, self.root)
        from gdbstub.kvm import compiler

        if not compiler.is_native():
            return
        place = Path(self.root, "gdbstub/kvm") / compiler.LIBRARY
        part = place.with_suffix(".part")
        compiler.build(part)
        part.replace(place)
        build_data["artifacts"] = [f"/gdbstub/kvm/{compiler.LIBRARY}"]
        build_data["pure_python"] = False
        build_data["tag"] = TAG
