"""vmcore: RAM and registers of a halted Linux guest as an ELF core file, as kdump makes it.

drgn and GDB open it. RAM is written as it is, with the debugger's breakpoints hidden.
Source: linux/Documentation/admin-guide/kdump, kernel/crash_core.c (crash_prepare_elf64_headers),
include/uapi/linux/elfcore.h (struct elf_prstatus).
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

from gdbstub.aarch64.mmu import Mapping, Regime, pieces, walk
from gdbstub.aarch64.registers import CPSR, PC, X, stack_pointer
from gdbstub.errors import MemoryFault, NotFound
from gdbstub.linux.core_file import CoreOutput
from gdbstub.linux.memory import LinuxKernel
from gdbstub.linux.vmcoreinfo import VmcoreInfo
from gdbstub.machine import Power, Vcpu
from gdbstub.slices import spend

#: Elf64_Ehdr of a core file for AArch64, after e_ident.
_EHDR: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_IDENT: Final = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
_ET_CORE: Final = 4
_EM_AARCH64: Final = 183
_PHDR: Final = struct.Struct("<IIQQQQQQ")
_PT_LOAD: Final = 1
_PT_NOTE: Final = 4
_RWX: Final = 7
_NOTE: Final = struct.Struct("<III")
_NT_PRSTATUS: Final = 1
#: struct elf_prstatus: pr_pid, then pr_reg (x0 to x30, sp, pc, pstate), then pr_fpvalid.
_PRSTATUS: Final = struct.Struct("<32xI76x34QI4x")
_CHUNK: Final = 1 << 20
_ALIGNMENT: Final = 64 << 10
#: Longest kernel image that is looked for behind its first byte.
_IMAGE: Final = 256 << 20
#: Pieces that such an image is mapped in: a kernel has it in one, or two.
_MOST_LOADS: Final = 1 << 10
_TOP: Final = 1 << 64
#: Level of the tables of pages.
_LAST_LEVEL: Final = 3


class Written(NamedTuple):
    """A core file that was written: its size, and a line on what is missing in it, if anything."""

    size: int
    missing: str


class _Load(NamedTuple):
    """One PT_LOAD: *size* bytes of RAM from *ipa* on, which are at *gva*."""

    gva: int
    ipa: int
    size: int


def write(kernel: LinuxKernel, output: CoreOutput) -> Written:
    """Write the core file by *output*.

    Raises:
        MachineError: the machine does not say where its RAM is.
        OSError: *output* failed.
    """
    ram = kernel.ram
    info, missing = _info(kernel)
    notes = b"".join(
        _note(b"CORE", _NT_PRSTATUS, _prstatus(vcpu, index))
        for index, vcpu in enumerate(kernel.machine.vcpus)
        if vcpu.power is Power.ON
    )
    if info is not None:
        notes += _note(b"VMCOREINFO", 0, info.text)
    loads = [
        *islice(_image(kernel, info, ram), _MOST_LOADS),
        *(_linear(kernel, info, each) for each in ram),
    ]
    start = _EHDR.size + _PHDR.size * (1 + len(loads))
    head = _headers(loads, start, len(notes), ram) + notes
    head += bytes(-len(head) % _ALIGNMENT)
    output.write(head)
    for each in ram:
        _write_ram(kernel, each, output)
    return Written(len(head) + sum(map(len, ram)), missing)


def vmcoreinfo_file(text: bytes) -> bytes:
    """Return a core file of nothing but VMCOREINFO; without a note if *text* is empty."""
    notes = _note(b"VMCOREINFO", 0, text) if text else b""
    start = _EHDR.size + _PHDR.size
    return _headers((), start, len(notes), ()) + notes


def _info(kernel: LinuxKernel) -> tuple[VmcoreInfo | None, str]:
    try:
        return kernel.info, ""
    except NotFound as why:
        return None, str(why)


def _headers(loads: Sequence[_Load], start: int, notes: int, ram: Sequence[range]) -> bytes:
    """Make the ELF header and the program headers; RAM begins at the next 64 KiB of the file."""
    header = _EHDR.pack(
        *(_IDENT, _ET_CORE, _EM_AARCH64, 1, 0, _EHDR.size, 0, 0),
        *(_EHDR.size, _PHDR.size, 1 + len(loads), 0, 0, 0),
    )
    rows = _PHDR.pack(_PT_NOTE, 0, start, 0, 0, notes, notes, 4)
    content = -(-(start + notes) // _ALIGNMENT) * _ALIGNMENT
    for load in loads:
        offset = content
        for each in ram:
            if load.ipa in each:
                offset += load.ipa - each.start
                break
            offset += len(each)
        rows += _PHDR.pack(*(_PT_LOAD, _RWX, offset, load.gva, load.ipa, load.size, load.size, 0))
    return header + rows


def _linear(kernel: LinuxKernel, info: VmcoreInfo | None, ram: range) -> _Load:
    """Return where the kernel's linear map has *ram*."""
    for area, ipa in kernel.linear_map(info) if info is not None else ():
        if ipa == ram.start:
            return _Load(area.start, ram.start, len(ram))
    return _Load(ram.start, ram.start, len(ram))


def _image(kernel: LinuxKernel, info: VmcoreInfo | None, ram: Sequence[range]) -> Iterator[_Load]:
    """Yield the pieces of the kernel's own mapping, of which its symbols are addresses."""
    if info is None:
        return
    try:
        offset = info.number("NUMBER", "kimage_voffset")
        start = (info.number("SYMBOL", "_stext") % _TOP - _ALIGNMENT) & -_ALIGNMENT
        if not 0 <= start <= _TOP - _IMAGE - _ALIGNMENT:
            return
        regime = kernel.regime()
    except NotFound:
        return
    whole = range(start, start + _IMAGE)
    first = last = start
    for gva, mapping in _mapped(regime, whole, kernel.machine.read_memory):
        ipa = (gva - offset) % _TOP
        area = next((each for each in ram if ipa in each), None)
        if area is None or mapping.ipa != ipa:  # of something else, as a module
            continue
        if gva != last:
            if last > first:
                yield _Load(first, (first - offset) % _TOP, last - first)
            first = gva
        last = gva + min(mapping.size, area.stop - ipa, whole.stop - gva)
    if last > first:
        yield _Load(first, (first - offset) % _TOP, last - first)


def _mapped(
    regime: Regime, addresses: range, read: Callable[[int, int], bytes]
) -> Iterator[tuple[int, Mapping]]:
    """Yield what is mapped of *addresses*: each address with its place."""
    gva = addresses.start
    while gva < addresses.stop:
        spend()
        try:
            for mapping in pieces(regime, gva, addresses.stop - gva, read):
                spend()
                yield gva, mapping
                gva += mapping.size
        except MemoryFault:
            hole = walk(regime, gva, read)
            if not hole.steps:  # there are no tables
                return
            bits = hole.granule + (_LAST_LEVEL - hole.steps[-1].level) * (hole.granule - 3)
            gva = (gva >> bits) + 1 << bits


def _write_ram(kernel: LinuxKernel, ram: range, output: CoreOutput) -> None:
    """Write all bytes of *ram*; what has a breakpoint in it is read here, which hides that."""
    first = ram.start
    for ipa in range(ram.start, ram.stop, _CHUNK):
        size = min(_CHUNK, ram.stop - ipa)
        if kernel.has_breakpoints(ipa, size):
            _write_piece(kernel, range(first, ipa), output)
            _write_bytes(kernel, range(ipa, ipa + size), output)
            first = ipa + size
    _write_piece(kernel, range(first, ram.stop), output)


def _write_piece(kernel: LinuxKernel, ram: range, output: CoreOutput) -> None:
    if ram and not output.take_ram(ram.start, len(ram)):
        _write_bytes(kernel, ram, output)


def _write_bytes(kernel: LinuxKernel, ram: range, output: CoreOutput) -> None:
    """Read and write *ram*; what the host cannot read is zeroes."""
    for ipa in range(ram.start, ram.stop, _CHUNK):
        size = min(_CHUNK, ram.stop - ipa)
        try:
            data = kernel.read_physical(ipa, size)
        except MemoryFault:
            data = b""
        output.write(data.ljust(size, b"\0"))


def _note(name: bytes, kind: int, content: bytes) -> bytes:
    padded = name + b"\0"
    header = _NOTE.pack(len(padded), len(content), kind)
    return header + _padded(padded) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _prstatus(vcpu: Vcpu, index: int) -> bytes:
    """Make a vCPU's struct elf_prstatus; its pid is the number of its thread in clients."""
    pstate = vcpu.get(CPSR)
    sp = vcpu.get(stack_pointer(pstate))
    return _PRSTATUS.pack(index + 1, *(vcpu.get(row) for row in X), sp, vcpu.get(PC), pstate, 0)
