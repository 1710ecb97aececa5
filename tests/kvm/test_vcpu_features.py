"""Vectors, predicates and PAC masks in a real gdb; what ``--cpu`` gives a guest."""

import re
from pathlib import Path

import pytest

from gdbstub.aarch64.sysreg import TCR
from tests.kvm.client import Client
from tests.kvm.conftest import Built
from tests.kvm.debugging import gdb
from tests.kvm.stub import Stub

WRITTEN = 0x0123_4567_89AB_CDEF
#: Quadwords in a vector, by the length that ``--cpu`` gives; the lab's longest has sixteen.
QUADWORDS = {"sve=128": 1, "sve=256": 2, "sve=512": 4, "host": 16}


@pytest.mark.sve
@pytest.mark.parametrize("cpu", QUADWORDS)
def test_sve_in_gdb(bare: Built, cpu: str) -> None:
    vq = QUADWORDS[cpu]
    last = 2 * vq - 1
    with Stub(bare.path, "--cpu", cpu) as stub:
        said = gdb(
            stub, bare.path,
            "output $vg", "echo \\n",
            "ptype $z3.d.u", "ptype $p1", "ptype $ffr",
            f"set var $z3.d.u[{last}] = {WRITTEN}", "set var $z3.d.u[0] = 7",
            f"set var $p1[{2 * vq - 1}] = 0xa5", "set var $ffr[0] = 0x3f",
            "set var $fpcr = 0x03000000",
            "flushregs",
            f"print/x $z3.d.u[{last}]", "print $z3.d.u[0]", "print $v3.d.u[0]",
            f"print/x $p1[{2 * vq - 1}]", "print/x $ffr[0]", "print/x $fpcr", "print $z4.b.u[0]",
            # By its other name, as far as SIMD sees it.
            "set var $v5.s.u[3] = 9", "flushregs", "print $z5.s.u[3]",
            "set var $vg = 1", "print $vg",
            "info registers z3 p1 ffr vg",
            "stepi", f"print/x $z3.d.u[{last}]",
        )  # fmt: skip
    assert re.search(rf"^{2 * vq}$", said, re.M), said
    assert f"type = uint64_t __attribute__ ((vector_size({2 * vq})))" in said
    assert said.count(f"type = uint8_t __attribute__ ((vector_size({2 * vq})))") == 2
    values = re.findall(r"^\$\d+ = (.*)$", said, re.M)
    assert values == [
        hex(WRITTEN), "7", "7", "0xa5", "0x3f", "0x3000000", "0",
        "9", str(2 * vq), hex(WRITTEN),
    ]  # fmt: skip
    assert 'Could not write register "vg"' in said
    assert re.search(r"^z3 +\{d = \{f = \{", said, re.M), said


def test_simd_without_sve(bare: Built) -> None:
    with Stub(bare.path, "--cpu", "sve=off,pauth=off") as stub:
        said = gdb(
            stub, bare.path, "set var $v31.d.u[1] = 5", "flushregs", "print $v31.d.u[1]",
            "print $z0", "print $vg", "print $pauth_cmask", "set var $tpidr = 0x1234", "flushregs",
            "print/x (long) $TPIDR_EL0",
        )  # fmt: skip
    assert re.findall(r"^\$\d+ = (.*)$", said, re.M) == ["5", "void", "void", "void", "0x1234"]


@pytest.mark.sve
def test_what_the_packets_carry(bare: Built) -> None:
    with Stub(bare.path, "--cpu", "sve=256") as stub, Client(stub) as client:
        assert len(client.ask("g")) == 2 * (33 * 8 + 4)
        description = client.ask("qXfer:features:read:target.xml:0,20000")
        assert description.count("org.gnu.gdb.aarch64.sve") == 1
        assert "org.gnu.gdb.aarch64.fpu" not in description
        numbers = dict(re.findall(r'<reg name="(\w+)" [^>]*regnum="(\d+)"', description))
        sizes = {name: len(client.ask(f"p{int(numbers[name]):x}")) // 2 for name in numbers}
    assert (sizes["z0"], sizes["p0"], sizes["ffr"], sizes["vg"]) == (32, 4, 4, 8)


@pytest.mark.sve
def test_a_linux_guest_uses_them(vmlinux: Path) -> None:
    with Stub("--cpu", "sve=256") as stub:
        said = gdb(
            stub, vmlinux, "print/x $pauth_cmask_high", "hbreak start_kernel", "continue",
            "print/x $pauth_cmask", "print/x $pauth_cmask_high", "print/x $pauth_dmask_high",
            'printf "TCR_EL1 %#lx\\n", (unsigned long) $TCR_EL1',
            # The kernel has found the PMU, and it works.
            "delete", "hbreak armpmu_register", "continue",
        )  # fmt: skip
    assert re.search(r"^Breakpoint 2, .*armpmu_register", said, re.M), said
    # Arm ARM D8.10, "Pointer authentication": from the addresses' width up to bit 54, and the top
    # byte, too, where it is not ignored: at user space's and the kernel's data it is.
    found = re.search(r"^TCR_EL1 (0x\w+)$", said, re.M)
    assert found, said
    tcr = TCR(int(found[1], 16))
    low, high = ((1 << 55) - (1 << 64 - size) for size in (tcr.T0SZ, tcr.T1SZ))
    assert re.findall(r"^\$\d+ = (.*)$", said, re.M) == [
        f"{mask:#x}" for mask in (0, low, high | 0xFF << 56, high)
    ]
