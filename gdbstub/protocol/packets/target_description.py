"""The target description, which tells a client which registers there are.

It is made of a target's rows and lists no register of its own.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby

from gdbstub.architecture import Architecture, Register


def target_xml(
    architecture: Architecture, registers: Sequence[Register], os_abi: str = ""
) -> bytes:
    """Describe *registers*, in the order of their numbers (GDB manual, G "Target Descriptions").

    *os_abi* is GDB's name of the OS ABI; with none, GDB finds one.
    """
    return _build(architecture, tuple(registers), os_abi)


@lru_cache(maxsize=8)
def _build(architecture: Architecture, registers: tuple[Register, ...], os_abi: str) -> bytes:
    return "".join(_lines(architecture, registers, os_abi)).encode()


def _lines(
    architecture: Architecture, registers: tuple[Register, ...], os_abi: str
) -> Iterator[str]:
    yield '<?xml version="1.0"?>\n<!DOCTYPE target SYSTEM "gdb-target.dtd">\n'
    yield '<target version="1.0">\n'
    yield f"<architecture>{architecture.name}</architecture>\n"
    if os_abi:
        yield f"<osabi>{os_abi}</osabi>\n"
    shown = (row for row in registers if row.feature)
    for name, rows in groupby(shown, lambda row: row.feature):
        yield from _feature(architecture, name or "", list(rows))
    yield "</target>\n"


def _feature(architecture: Architecture, name: str, rows: list[Register]) -> Iterator[str]:
    yield f'<feature name="{name}">\n'
    for type_, bits in {row.type: row.bits for row in rows}.items():
        yield architecture.type_xml(type_, bits)
    system = name in architecture.system_features
    more = ' group="system" save-restore="no"' if system else ""
    for row in rows:
        yield (
            f'<reg name="{row.name}" bitsize="{row.bits}" type="{row.type}" regnum="{row.number}"'
            f"{more}/>\n"
        )
    yield "</feature>\n"
