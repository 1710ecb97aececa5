"""``--stop-on`` and ``--vmcore-on``: the reasons to stop a Linux guest for, checked.

What is done at one is in ``serving.ending`` and ``linux.stop_on``.
"""

import os
from typing import NamedTuple, Self

from gdbstub.errors import InputError
from gdbstub.linux.kaslr import GuestProgram
from gdbstub.linux.reasons import FUNCTIONS, parse_reasons
from gdbstub.vmm.files import check_output


class Reasons(NamedTuple):
    """The reasons of both options, and the file of the second; fields of ``ServeSettings``."""

    stop_on: tuple[str, ...] = ()
    vmcore_on: tuple[str, ...] = ()
    vmcore: str = ""

    @classmethod
    def parse(
        cls,
        stop_on: str | None,
        vmcore_on: tuple[str, str] | None,
        timeout: float | None,
        *,
        inner: bool,
    ) -> Self:
        """Parse the arguments of the options.

        Raises:
            InputError: a reason is unknown, or the file is there already or cannot be made.
        """
        stops = () if stop_on is None else parse_reasons(stop_on)
        if not vmcore_on:
            return cls(stops)
        text, file = vmcore_on
        reasons = parse_reasons(text, "--vmcore-on", "timeout")
        if "timeout" in reasons and timeout is None:
            raise InputError(f"--vmcore-on {text}: there is no end of the time without --timeout")
        if not inner:
            check_output(file, f"--vmcore-on {text}")
            if os.path.exists(file):
                raise InputError(
                    f"--vmcore-on {text} {file}: is there already; expected a new file"
                )
        return cls(stops, reasons, os.path.abspath(file))

    @property
    def need_kernel(self) -> bool:
        """True if one of them is a function of the kernel."""
        return any(each in FUNCTIONS for each in (*self.stop_on, *self.vmcore_on))

    def check(self, program: GuestProgram) -> None:
        """Check that they can come in *program*.

        Raises:
            InputError: no kernel is known.
        """
        for option, needing in (("--stop-on", self.stop_on), ("--vmcore-on", self.vmcore_on)):
            if program.kernel is None and any(each in FUNCTIONS for each in needing):
                raise InputError(
                    f"{option} {','.join(needing)} needs a Linux guest and the symbols of its "
                    "kernel: --symbols"
                )
