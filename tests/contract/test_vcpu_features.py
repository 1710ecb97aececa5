"""KVM's own: what vCPUs are made with, and the registers that come and go with it.

A host without a feature is asked for it, too: it must say so.
"""

import random
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from gdbstub.aarch64.registers import (
    CCSIDR_EL1,
    CPSR,
    CSSELR_EL1,
    FPSIMD,
    GENERAL,
    PAC_MASKS,
    SYSTEM_REGISTERS,
    TPIDR,
    X,
)
from gdbstub.aarch64.sve import VG, VLS, sve_registers, vector_lengths
from gdbstub.aarch64.sysreg import CPACR, PSTATE, SCTLR, TCR
from gdbstub.architecture import Register
from gdbstub.debug.debugger import Debugger
from gdbstub.errors import InputError, RegisterRefused
from gdbstub.kvm import abi
from gdbstub.kvm.features import CpuOptions
from gdbstub.kvm_backend import KvmMachine
from gdbstub.machine import DebugRegisters
from tests.contract.kvm_machine import kvm_machine
from tests.contract.programs import BASE, SIGNS, SPIN, VECTORS_OF_SVE, at
from tests.contract.recorder import StopRecorder

pytestmark = pytest.mark.own_kvm

BARE = CpuOptions(sve=False, pauth=False, pmu=False)
# The classes of KVM's ids (linux/arch/arm64/include/uapi/asm/kvm.h, KVM_REG_ARM_*).
_DEMUX, _SYSREG = 0x11, 0x13
_FIRMWARE = {0x14, 0x16}
#: op0, op1 and CRn of the registers that identify a CPU.
_IDENTIFICATION = 3 << 14 >> 7


def _lengths() -> tuple[int, ...]:
    """The vector lengths of this host; none without SVE."""
    with closing(kvm_machine(SPIN.image)) as machine:
        return vector_lengths(machine.vcpus[0].get(VLS)) if machine.features.sve else ()


def _has(*capabilities: int) -> bool:
    with closing(kvm_machine(SPIN.image, cpu=BARE)) as machine:
        return all(machine.extension(each) > 0 for each in capabilities)


def _names(machine: KvmMachine) -> set[str]:
    return {row.name for row in Debugger(machine).registers}


def _value(debugger: Debugger, row: Register, thread: int = 1) -> int:
    return int.from_bytes(debugger.read_registers(thread, (row,)), "little")


def _write(debugger: Debugger, row: Register, value: int, thread: int = 1) -> None:
    debugger.write_register(thread, row, value.to_bytes(row.size, "little"))


def test_all_that_the_host_has_is_there_unless_it_is_switched_off() -> None:
    with closing(kvm_machine(SPIN.image)) as machine:
        features = machine.features
        assert features.sve == _has(abi.CAP_ARM_SVE)
        assert features.pauth == _has(abi.CAP_ARM_PTRAUTH_ADDRESS)
        assert features.pmu == _has(abi.CAP_ARM_PMU_V3)
        everything = _names(machine)
    assert ("ZCR_EL1" in everything) == ("z31" in everything) == features.sve
    assert ("APIAKeyLo_EL1" in everything) == ("pauth_cmask" in everything) == features.pauth
    assert ("PMCR_EL0" in everything) == ("PMCCNTR_EL0" in everything) == features.pmu
    with closing(kvm_machine(SPIN.image, cpu=BARE)) as machine:
        bare = _names(machine)
    assert everything - bare == {
        name for name in everything if name.startswith(("z", "p", "vg", "ffr", "ZCR", "AP", "PM"))
    } - {"pc"}
    assert {"v0", "fpsr", "tpidr"} <= bare


@pytest.mark.parametrize(
    ("cpu", "capability"),
    [
        (CpuOptions(sve=True), abi.CAP_ARM_SVE),
        (CpuOptions(pauth=True), abi.CAP_ARM_PTRAUTH_ADDRESS),
        (CpuOptions(pmu=True), abi.CAP_ARM_PMU_V3),
        (CpuOptions(aarch32=True), abi.CAP_ARM_EL1_32BIT),
    ],
    ids=str,
)
def test_what_is_asked_for_is_had_or_refused(cpu: CpuOptions, capability: int) -> None:
    if _has(capability):
        kvm_machine(SPIN.image, cpu=cpu).close()
    else:
        with pytest.raises(InputError, match=f"^--cpu {cpu}: KVM on this host has no "):
            kvm_machine(SPIN.image, cpu=cpu)


@pytest.mark.parametrize(
    "cpu", [CpuOptions(), BARE, CpuOptions(sve=False), CpuOptions(pmu=False)], ids=str
)
def test_every_register_of_kvm_with_a_name_is_shown(cpu: CpuOptions) -> None:
    with closing(kvm_machine(SPIN.image, cpu=cpu)) as machine:
        shown = {row.id for row in Debugger(machine).registers}
        listed = machine.vcpus[0].listed()
        vectors = {row.id for row in FPSIMD} | {VLS.id}
        # One register, selected by CSSELR_EL1.
        caches = {id_ for id_ in listed if id_ >> 16 & 0xFFF == _DEMUX}
    assert caches
    assert CCSIDR_EL1.id in shown
    rest = {id_ for id_ in listed - shown - vectors - caches if id_ >> 16 & 0xFFF not in _FIRMWARE}
    # What is left are places that the architecture keeps for further ID registers.
    reserved = {
        id_ for id_ in rest if id_ >> 16 & 0xFFF == _SYSREG and id_ >> 7 & 0x1FF == _IDENTIFICATION
    }
    assert {hex(id_) for id_ in rest - reserved} == set()
    assert len(shown) > 140


def test_no_length_but_the_hosts() -> None:
    lengths = _lengths()
    for bits in set(range(128, 2049, 128)) - set(lengths):
        with pytest.raises(InputError, match=r"^--cpu host,sve=\d+: SVE vectors on|no SVE"):
            kvm_machine(SPIN.image, cpu=CpuOptions(sve=True, vector_length=bits))
    if lengths:
        with closing(kvm_machine(SPIN.image)) as machine:
            assert machine.vector_length == lengths[-1]


def _sve() -> Iterator[Debugger]:
    """A debugger over two vCPUs, for each vector length of the host."""
    for bits in _lengths():
        cpu = CpuOptions(sve=True, vector_length=bits)
        with closing(kvm_machine(VECTORS_OF_SVE.image, vcpus=2, cpu=cpu)) as machine:
            assert machine.vector_length == bits
            yield Debugger(machine)


def test_what_is_written_is_read_at_every_vector_length() -> None:
    for debugger in _sve():
        bits = _value(debugger, VG) * 64
        rows = sve_registers(bits)
        assert tuple(debugger.registers[: len(GENERAL) + len(rows) + 1]) == (
            *GENERAL, *rows, (PAC_MASKS[0] if PAC_MASKS[0] in debugger.registers else TPIDR),
        )  # fmt: skip
        for thread in 1, 2:
            values = {
                row: random.Random(row.number * thread).getrandbits(row.bits) | 1 << row.bits - 1
                for row in rows
                if row.name not in ("fpsr", "fpcr", "ffr", "vg")
            }
            for row, value in values.items():
                _write(debugger, row, value, thread)
            assert {row: _value(debugger, row, thread) for row in values} == values
            whole = debugger.read_registers(thread, rows)
            assert len(whole) == 32 * bits // 8 + 8 + 17 * bits // 64 + 8


def test_the_length_of_the_vectors_cannot_be_written() -> None:
    for debugger in _sve():
        granules = _value(debugger, VG)
        _write(debugger, VG, granules)
        with pytest.raises(RegisterRefused):
            _write(debugger, VG, granules + 2)
        assert _value(debugger, VG) == granules


def test_the_guest_has_what_a_debugger_wrote_and_the_other_way_round() -> None:
    for bits in _lengths():
        cpu = CpuOptions(sve=True, vector_length=bits)
        with closing(kvm_machine(VECTORS_OF_SVE.image, cpu=cpu)) as machine:
            debugger, recorder = Debugger(machine), StopRecorder(machine)
            rows = {row.name: row for row in debugger.registers}
            machine.arm(DebugRegisters(enabled=True))
            _write(debugger, rows["CPACR_EL1"], CPACR.of(FPEN=3, ZEN=3))
            _write(debugger, rows["ZCR_EL1"], 0xF)
            z = random.Random(bits).getrandbits(bits) | 1 << bits - 1
            p, ffr = z & (1 << bits // 8) - 1, (1 << bits // 16) - 1
            for name, value in (("z0", z), ("p0", p), ("ffr", ffr)):
                _write(debugger, rows[name], value)
            assert recorder.debug().esr.comment == 1
            assert machine.vcpus[0].get(X[0]) == bits // 8
            read = {name: _value(debugger, rows[name]) for name in ("z0", "z1", "p1", "p2", "ffr")}
            assert read == {"z0": z, "z1": z, "p1": p, "p2": ffr, "ffr": ffr}


def test_features_survive_a_reset() -> None:
    with closing(kvm_machine(SPIN.image)) as machine:
        before, names = machine.features, _names(machine)
        machine.reset()
        assert machine.features == before
        assert _names(machine) == names
        debugger = Debugger(machine)
        for row in debugger.registers:
            assert len(debugger.read_registers(1, (row,))) == row.size


def test_the_pac_is_where_the_mask_says() -> None:
    if not _has(abi.CAP_ARM_PTRAUTH_ADDRESS):
        return
    for tcr in (
        TCR.of(T0SZ=16, T1SZ=16, TBI0=1, TBI1=1),
        TCR.of(T0SZ=25, T1SZ=25),
        TCR.of(T0SZ=28, T1SZ=16, TBI0=1, TBI1=1, TBID0=1, TBID1=1),
    ):
        for pointer, mask in (
            (0x0000_0000_4001_2340, "pauth_cmask"),
            (
                0xFFFF_FFFF_F801_2340,
                "pauth_cmask_high",
            ),
        ):
            seen = 0
            with closing(kvm_machine(SIGNS.image)) as machine:
                debugger, recorder = Debugger(machine), StopRecorder(machine)
                rows = {row.name: row for row in debugger.registers}
                vcpu = machine.vcpus[0]
                sctlr = SCTLR(vcpu.get(rows["SCTLR_EL1"]))
                vcpu.set(rows["SCTLR_EL1"], sctlr | SCTLR.of(EnIA=1))
                vcpu.set(rows["TCR_EL1"], tcr)
                for key in range(1, 9):  # enough that each bit of the PAC is 1 once
                    for half in "Lo", "Hi":
                        value = random.Random(f"{half}{key}").getrandbits(64)
                        vcpu.set(rows[f"APIAKey{half}_EL1"], value)
                    vcpu.set(rows["pc"], at(0))
                    vcpu.set(X[0], pointer)
                    recorder.step()
                    seen |= vcpu.get(X[0]) ^ pointer
                    recorder.step()
                    recorder.step()
                    assert vcpu.get(X[0]) == pointer
                # The MMU is off while the guest signs: it has no tables.
                assert _value(debugger, rows[mask]) == 0
                vcpu.set(rows["SCTLR_EL1"], sctlr | SCTLR.of(EnIA=1, M=1))
                found = _value(debugger, rows[mask])
                vcpu.set(rows["SCTLR_EL1"], sctlr)
            assert hex(seen) == hex(found)


def test_a_mask_cannot_be_written() -> None:
    with closing(kvm_machine(SPIN.image)) as machine:
        debugger = Debugger(machine)
        for row in set(PAC_MASKS).intersection(debugger.registers):
            _write(debugger, row, 0)
            with pytest.raises(RegisterRefused):
                _write(debugger, row, 1 << 54)


def test_tpidr_is_tpidr_el0() -> None:
    with closing(kvm_machine(SPIN.image)) as machine:
        debugger = Debugger(machine)
        _write(debugger, TPIDR, 0x1234_5678_9ABC)
        assert _value(debugger, SYSTEM_REGISTERS["TPIDR_EL0"]) == 0x1234_5678_9ABC


def test_ccsidr_is_the_one_that_csselr_selects() -> None:
    with closing(kvm_machine(SPIN.image)) as machine:
        debugger = Debugger(machine)
        values: dict[int, int] = {}
        for id_ in machine.vcpus[0].listed():
            if id_ >> 16 & 0xFFF == _DEMUX:
                selector = id_ & 0xFF
                _write(debugger, CSSELR_EL1, selector)
                values[selector] = before = _value(debugger, CCSIDR_EL1)
                _write(debugger, CCSIDR_EL1, before)
                # Newer kernels, in which all caches look alike at first, let it be written.
                with suppress(RegisterRefused):
                    _write(debugger, CCSIDR_EL1, changed := before ^ selector + 1 << 13)
                    values[selector] = changed
        for selector, value in values.items():
            _write(debugger, CSSELR_EL1, selector)
            assert _value(debugger, CCSIDR_EL1) == value
        assert len(set(values.values())) > 1
        _write(debugger, CSSELR_EL1, 0xE)
        assert _value(debugger, CCSIDR_EL1) == 0


def test_aarch32_at_el1() -> None:
    if not _has(abi.CAP_ARM_EL1_32BIT):
        return
    words = (0xE3A0_002A, 0xE280_0001, 0xEAFF_FFFE)  # mov r0, #42; add r0, r0, #1; b .
    program = b"".join(word.to_bytes(4, "little") for word in words)
    with closing(kvm_machine(program, cpu=CpuOptions(aarch32=True))) as machine:
        recorder = StopRecorder(machine)
        vcpu = machine.vcpus[0]
        pstate = PSTATE(vcpu.get(CPSR))
        assert pstate.nRW
        for _ in range(2):
            recorder.step()
        assert vcpu.get(X[0]) == 43
        assert _value(Debugger(machine), GENERAL[32]) == BASE + 8
