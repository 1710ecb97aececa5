"""Architecture: the facts about an instruction set that the protocol half needs, as one value.

It knows no instruction set: each target brings the value of its own, and the rows of its registers.
"""

from collections.abc import Callable, Sequence
from typing import Final

#: Makes the XML of a register type, given the type's name and the width of its registers in bits.
TypeXml = Callable[[str, int], str]


def _predefined(_name: str, _bits: int) -> str:
    return ""


class Register:
    """One row of a target's registers, which is equal to no other row.

    ``number`` is a client's number for it. ``feature`` is the part of the target description that
    shows it; None hides a register from clients. ``type`` is a type of the target description (GDB
    manual, G.3 "Predefined Target Types") or one that ``Architecture.type_xml`` defines; the pc is
    the first register of type ``code_ptr``. ``id`` is for the target alone: clients never see it.
    """

    __slots__ = ("bits", "feature", "id", "leads", "moving", "name", "number", "type")

    def __init__(
        self,
        name: str,
        bits: int,
        id: int = 0,
        type: str = "int",
        feature: str | None = None,
        number: int = -1,
        moving: int = 0,
        leads: bool = False,
    ) -> None:
        self.name: Final = name
        self.bits: Final = bits
        self.id: Final = id
        self.type: Final = type
        self.feature: Final = feature
        self.number: Final = number
        #: Mask of the bits that change by themselves, so that they need not read as written.
        self.moving: Final = moving
        #: True if other rows' meaning depends on it: of several, it is written first.
        self.leads: Final = leads

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self.bits // 8


class Architecture:
    """One instruction set as clients and packets need to know it, which is equal to no other."""

    def __init__(
        self,
        name: str,
        triple: str = "",
        *,
        instruction_set: str = "",
        pointer_size: int = 8,
        osabi: str = "none",
        breakpoint_kinds: Sequence[int] = (),
        instruction_alignment: int = 1,
        watchpoints_stop_after: bool = False,
        expedited: Sequence[Register] = (),
        frame_pointer: Register | None = None,
        type_xml: TypeXml | None = None,
        system_features: Sequence[str] = (),
        tag_granule: int = 16,
        largest_tag: int = 0xF,
    ) -> None:
        """Describe an instruction set; only *name* is needed to be served to GDB."""
        #: GDB's name, as ``set architecture`` takes it, ``i386:x86-64`` for example.
        self.name: Final = name
        #: LLDB's target triple; LLDB is told none if it is empty.
        self.triple: Final = triple
        #: The name of the instructions in messages.
        self.instruction_set: Final = instruction_set or name
        #: Size of a pointer in bytes.
        self.pointer_size: Final = pointer_size
        #: GDB's name of the OS ABI. With "none", GDB looks for no signal frames of an OS's. Empty:
        #: GDB finds one itself, GNU/Linux as a rule, unless its version is one that had better not.
        self.osabi: Final = osabi
        #: Values of ``kind`` that a breakpoint may have (GDB manual, E.5); empty: any.
        self.breakpoint_kinds: Final = tuple(breakpoint_kinds)
        #: The addresses of instructions are multiples of it.
        self.instruction_alignment: Final = instruction_alignment
        #: True if a watchpoint stops its thread after the access, as on x86; GDB knows that by the
        #: architecture's name, LLDB is told.
        self.watchpoints_stop_after: Final = watchpoints_stop_after
        #: Registers that stop replies carry. Empty: the pointers among the general registers.
        self.expedited: Final = tuple(expedited)
        #: The register with the address of the innermost frame record, which is two pointers: the
        #: caller's record, and the return address. None: frames are not sent along to LLDB.
        self.frame_pointer: Final = frame_pointer
        #: Definition of a type of registers, by its name and width; empty for a predefined one.
        self.type_xml: Final[TypeXml] = type_xml or _predefined
        #: Features of system registers: GDB shows them as a group, and does not restore them after
        #: it has called a function of the program's.
        self.system_features: Final = tuple(system_features)
        #: Bytes that share one memory tag.
        self.tag_granule: Final = tag_granule
        #: The largest value of a memory tag.
        self.largest_tag: Final = largest_tag
