"""The build hook: what is made for a wheel, and for a source distribution.

Both have the commit that they are made of. A wheel has man pages and shell completions, and on
arm64 the native core; elsewhere it is pure. hatchling calls the hook, before any dependency of the
project is installed.
"""

import sys
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

#: The oldest C library that has what the core calls (glibc 2.17).
TAG = "py3-none-manylinux_2_17_aarch64"


class Made(BuildHookInterface):
    """Writes commit and manual; compiles ``gdbstub/kvm/core`` by this machine's compiler."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, list[str] | bool | str]) -> None:
        """Make them in place, and have the distribution take them."""
        sys.path.insert(0, self.root)
        artifacts = [] if version == "editable" else self._commit()
        build_data["artifacts"] = artifacts
        if self.target_name == "wheel":
            from scripts import manual

            manual.write(Path(self.root, "build"))
            artifacts += self._core(build_data)

    def _commit(self) -> list[str]:
        """Write the commit; in a source distribution it is there already."""
        from gdbstub.cli.version import COMMIT, from_git

        place = Path(self.root, "gdbstub/cli", COMMIT)
        if Path(self.root, ".git").exists() and (commit := from_git(Path(self.root))):
            place.write_text(f"{commit}\n")
        return [f"/gdbstub/cli/{COMMIT}"] if place.exists() else []

    def _core(self, build_data: dict[str, list[str] | bool | str]) -> list[str]:
        """Compile the core."""
        from gdbstub.kvm import compiler

        if not compiler.is_native():
            return []
        place = Path(self.root, "gdbstub/kvm") / compiler.LIBRARY
        part = place.with_suffix(".part")
        compiler.build(part)
        part.replace(place)
        build_data["pure_python"] = False
        build_data["tag"] = TAG
        return [f"/gdbstub/kvm/{compiler.LIBRARY}"]
