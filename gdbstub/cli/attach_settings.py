"""Settings of ``gdbstub attach`` and ``launch``, checked; made before a debugger is imported."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from gdbstub.cli.serve_settings import ServeSettings
from gdbstub.errors import InputError
from gdbstub.linux.kaslr import GuestProgram

if TYPE_CHECKING:
    from gdbstub.foreign.memory import MemorySlot
    from gdbstub.foreign.process import VmmProcess


class AttachSettings(NamedTuple):
    """The options of ``gdbstub attach``, checked."""

    #: The VMM, or the command line of one that is to be started.
    vmm: "VmmProcess | Sequence[str]"
    serve: ServeSettings
    program: GuestProgram
    ram: "tuple[MemorySlot, ...]" = ()
    record: str | None = None


def parse_rams(texts: Sequence[str]) -> "tuple[MemorySlot, ...]":
    """Parse the arguments of ``--ram``.

    Raises:
        InputError: one of them is malformed, or two overlap.
    """
    if not texts:
        return ()
    from gdbstub.foreign.slots import parse_ram

    slots = sorted(map(parse_ram, texts))
    for slot, following in itertools.pairwise(slots):
        if slot.end > following.ipa:
            raise InputError(f"--ram {slot} and {following} overlap")
    return tuple(slots)
