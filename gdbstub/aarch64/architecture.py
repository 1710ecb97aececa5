"""AArch64 as the protocol half needs to know it."""

from typing import Final

from gdbstub.aarch64.mte import GRANULE, LARGEST_TAG
from gdbstub.aarch64.registers import EXPEDITED, SYSTEM, X
from gdbstub.aarch64.target_xml import type_xml
from gdbstub.architecture import Architecture

AARCH64: Final = Architecture(
    "aarch64",
    "aarch64-unknown-none",
    instruction_set="A64",
    osabi="",
    breakpoint_kinds=(4,),
    instruction_alignment=4,
    expedited=EXPEDITED,
    frame_pointer=X[29],  # AAPCS64, 6.4.6
    type_xml=type_xml,
    system_features=(SYSTEM,),
    tag_granule=GRANULE,
    largest_tag=LARGEST_TAG,
)
