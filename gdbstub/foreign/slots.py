"""The place of a guest's RAM in its VMM: as the user says, as QEMU says, or found and validated.

No ioctl lists the slots of a VM. What is found must prove itself by the guest's registers: its
translation tables lead to each vCPU's instruction, or a Linux Image lies at its beginning.
Source: linux/Documentation/arch/arm64/booting.rst (the Image's magic number).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from gdbstub.aarch64.mmu import Regime, pa_bits, translate
from gdbstub.aarch64.registers import (
    ID_AA64MMFR0_EL1,
    PC,
    SCTLR_EL1,
    TCR_EL1,
    TTBR0_EL1,
    TTBR1_EL1,
    VBAR_EL1,
)
from gdbstub.aarch64.sysreg import SCTLR, TCR
from gdbstub.errors import InputError, MemoryFault, StubError
from gdbstub.foreign.memory import MemorySlot
from gdbstub.foreign.process import ProcessMapping, VmmProcess
from gdbstub.machine import Power, Vcpu
from gdbstub.numbers import parse_number

_FORM: Final = re.compile(r"(?P<ipa>\w+)=(?P<size>\w+)@(?P<hva>\w+)")
_UNITS: Final = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}

#: Addresses at which RAM begins: of QEMU's virt board and cloud-hypervisor, and of the others.
_BASES: Final = (0x4000_0000, 0x8000_0000)
_HIGH_BASE_VMMS: Final = ("firecracker", "crosvm", "lkvm", "kvmtool")
#: kvmtool maps so much more than the RAM, which begins at the first multiple in the area, for the
#: sake of huge pages. Source: kvmtool, arm/kvm.c (kvm__init_ram).
_ALIGNMENT: Final = 2 << 20
_ALIGNING_VMMS: Final = ("lkvm", "kvmtool")
#: The least RAM that is looked for.
_LEAST: Final = 1 << 20
_CANDIDATES: Final = 8

_MAGIC: Final = b"ARM\x64"
_MAGIC_OFFSET: Final = 56
#: Places of an Image from the beginning of RAM.
_TEXT_OFFSETS: Final = (0, 0x8_0000, 0x20_0000)

Read = Callable[[int, int], bytes]


class Verdict(NamedTuple):
    """Judgement of slots by a guest's registers."""

    #: Each vCPU's code is there, or that of its vectors.
    possible: bool
    #: Evidence that they are the guest's, for a person; empty without any.
    evidence: str = ""


class Found(NamedTuple):
    """Slots, and the evidence for them; without ``valid`` they may be wrong, or there are none."""

    slots: tuple[MemorySlot, ...]
    evidence: str
    valid: bool


def parse_ram(text: str) -> MemorySlot:
    """Parse an argument of ``--ram``: ``IPA=SIZE@HVA``, such as ``0x40000000=512M@0x7f0000000000``.

    Raises:
        InputError: it is not of that form.
    """
    match = _FORM.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        slot = MemorySlot(_number(match["ipa"]), _size(match["size"]), _number(match["hva"]))
    except ValueError:
        raise InputError(
            f"--ram {text!r}: expected IPA=SIZE@HVA, such as 0x40000000=512M@0x7f2e80000000"
        ) from None
    if not slot.size or any(number % 4096 for number in slot):
        raise InputError(f"--ram {text}: expected multiples of 4K, and a size above 0")
    if max(slot.ipa, slot.hva) + slot.size > 1 << 64:
        raise InputError(f"--ram {text}: ends above 64 bits of address")
    return slot


def _size(text: str) -> int:
    unit = text[-1:].upper() if text[-1:].upper() in _UNITS and text[:2] != "0x" else ""
    return _number(text[: len(text) - len(unit)]) << _UNITS[unit]


def _number(text: str) -> int:
    if (value := parse_number(text)) is None:
        raise ValueError
    return value


def candidates(process: VmmProcess) -> Iterator[MemorySlot]:
    """List places that may be the guest's RAM, the most likely first."""
    bases: Sequence[int] = _BASES
    if process.name.startswith(_HIGH_BASE_VMMS):
        bases = _BASES[::-1]
    areas = [each for each in process.mappings() if _may_be_ram(each)]
    areas.sort(key=lambda each: -each.size)
    for area in areas[:_CANDIDATES]:
        if process.name.startswith(_ALIGNING_VMMS) and area.size > _ALIGNMENT:
            area = _aligned(area)
        for base in bases:
            yield MemorySlot(base, area.size, area.start)


def _aligned(area: ProcessMapping) -> ProcessMapping:
    start = -(-area.start // _ALIGNMENT) * _ALIGNMENT
    return area._replace(start=start, end=start + area.size - _ALIGNMENT)


def _may_be_ram(area: ProcessMapping) -> bool:
    special = area.name.startswith("[") and not area.name.startswith("[anon")
    return area.flags.startswith("rw") and area.size >= _LEAST and not special


def validate(slots: Iterable[MemorySlot], vcpus: Sequence[Vcpu], read: Read) -> Verdict:
    """Judge by the registers of *vcpus*, all parked, whether RAM at *slots* is the guest's.

    *read* reads the VMM's memory.
    """
    known = tuple(slots)

    def read_ram(ipa: int, length: int) -> bytes:
        for slot in known:
            if slot.ipa <= ipa < slot.end:
                with suppress(OSError):
                    data = read(slot.hva + ipa - slot.ipa, min(length, slot.end - ipa))
                    if len(data) == length:
                        return data
        raise MemoryFault(f"no RAM at {ipa:#x}")

    walked = 0
    for vcpu in vcpus:
        if vcpu.power is Power.OFF:
            continue
        sctlr = SCTLR(vcpu.get(SCTLR_EL1))
        regime = _regime(vcpu, sctlr)
        # A process's page may be still to come, that of the vectors which will ask for it may not.
        if not (
            _leads_to_code(regime, vcpu.get(PC), read_ram)
            or (sctlr.M and _leads_to_code(regime, vcpu.get(VBAR_EL1), read_ram))
        ):
            return Verdict(possible=False)
        walked += bool(sctlr.M)
    if walked:
        evidence = f"the tables of {walked} vCPU{'s' * (walked > 1)} lead to the guest's code"
        return Verdict(True, evidence)
    for slot in known:
        for offset in _TEXT_OFFSETS:
            with suppress(MemoryFault):
                if read_ram(slot.ipa + offset + _MAGIC_OFFSET, 4) == _MAGIC:
                    return Verdict(True, f"a Linux Image lies at {slot.ipa + offset:#x}")
    return Verdict(possible=True)


def _leads_to_code(regime: Regime, gva: int, read_ram: Read) -> bool:
    try:
        return any(read_ram(translate(regime, gva, read_ram).ipa, 4))
    except StubError:
        return False


def _regime(vcpu: Vcpu, sctlr: SCTLR) -> Regime:
    bits = pa_bits(vcpu.get(ID_AA64MMFR0_EL1))
    ttbrs = vcpu.get(TTBR0_EL1), vcpu.get(TTBR1_EL1)
    return Regime(sctlr, TCR(vcpu.get(TCR_EL1)), *ttbrs, bits)


def find(
    process: VmmProcess, given: Sequence[MemorySlot], vcpus: Sequence[Vcpu], read: Read
) -> Found:
    """Find the RAM of a guest whose *vcpus* are parked.

    *given* are the slots of ``--ram``, or what QEMU has said; they are taken as they are.
    """
    if given:
        evidence = validate(given, vcpus, read).evidence
        evidence = evidence or "not confirmed by the guest's registers"
        return Found(tuple(given), f"as given; {evidence}", True)
    possible = []
    for slot in candidates(process):
        verdict = validate([slot], vcpus, read)
        if verdict.evidence:
            return Found((slot,), f"found at {slot.hva:#x}; {verdict.evidence}", True)
        if verdict.possible:
            possible.append(slot)
    if not possible:
        why = (
            "no area of the VMM's memory has the code that the guest's registers lead to; "
            "give it with --ram IPA=SIZE@HVA"
        )
        return Found((), why, False)
    first = possible[0]
    why = (
        f"taken to be at {first.hva:#x}, which the guest's registers do not confirm; "
        "give it with --ram IPA=SIZE@HVA"
    )
    return Found((first,), why, False)
