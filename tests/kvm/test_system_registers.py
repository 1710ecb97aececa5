"""A Linux kernel's system registers in a real gdb, and what becomes of a write."""

import re
from pathlib import Path

import pytest

from gdbstub.aarch64.sysreg import SCTLR, TCR
from gdbstub.lab import demo
from tests.kvm.debugging import Interactive, gdb
from tests.kvm.stub import Stub

SHOWN = ("SCTLR_EL1", "TCR_EL1", "TTBR1_EL1", "VBAR_EL1", "MIDR_EL1", "MPIDR_EL1", "SPSR_EL1")
NO = "Could not write register"


def _read(said: str, name: str) -> int:
    found = re.search(rf"^(?:\(gdb\) )?{name} (0x[0-9a-f]+|0)$", said, re.M)
    assert found, said
    return int(found[1], 0)


def _print(*names: str) -> list[str]:
    return [f'printf "{name} %#lx\\n", (unsigned long) ${name}' for name in names]


@pytest.fixture(scope="module")
def kernel(vmlinux: Path) -> str:
    """GDB's output in ``start_kernel``, where the MMU is on."""
    with Stub() as stub:
        return gdb(
            stub, vmlinux, "print $SCTLR_EL1", "hbreak start_kernel", "continue",
            *_print(*SHOWN),
            "print $SCTLR_EL1", "print $VBAR_EL1",
            "output/x (long) $SP_EL1 - (long) $sp", "echo \\n",
            "info registers system",
            "set var $TPIDR_EL0 = 0x123456789abc", "flushregs", *_print("TPIDR_EL0"),
            "set var $MIDR_EL1 = 0", "set var $ID_AA64MMFR0_EL1 = 1L",
            'printf "again %#lx\\n", (unsigned long) $MIDR_EL1',
            "stepi", *_print("TPIDR_EL0"), "kill",
        )  # fmt: skip


def test_what_the_kernel_has_set(kernel: str) -> None:
    sctlr, tcr = SCTLR(_read(kernel, "SCTLR_EL1")), TCR(_read(kernel, "TCR_EL1"))
    assert (sctlr.M, sctlr.C, sctlr.I, sctlr.EE) == (1, 1, 1, 0)
    # 4 KiB pages; the addresses of as many bits as the kernel's own are in use.
    assert (tcr.TG1, tcr.TBI0) == (2, 1)
    assert tcr.T1SZ in (64 - 48, 64 - 52)
    assert _read(kernel, "VBAR_EL1") >> 64 - tcr.T1SZ == (1 << tcr.T1SZ) - 1
    assert 0x4000_0000 <= _read(kernel, "TTBR1_EL1") & (1 << 48) - 2 < 0x8000_0000
    assert _read(kernel, "MIDR_EL1") >> 16 & 0xF == 0xF
    assert _read(kernel, "MPIDR_EL1") & 0xFF_FFFF == 0
    assert re.search(r"^\$\d+ = \[ M C SA .*I .*\]$", kernel, re.M), kernel
    assert "<vectors>" in kernel


def test_all_are_shown(kernel: str) -> None:
    shown = set(re.findall(r"^(\w+) +0x[0-9a-f]+ ", kernel, re.M))
    assert len(shown) > 140
    assert {"CNTVCT_EL0", "CNTV_CVAL_EL0", "DBGBCR15_EL1", "ID_AA64MMFR2_EL1", "PAR_EL1"} <= shown


def test_a_write_sticks_and_a_refused_one_is_an_error(kernel: str) -> None:
    assert re.findall(r"^TPIDR_EL0 (\S+)$", kernel, re.M) == ["0x123456789abc"] * 2
    assert f'{NO} "MIDR_EL1"' in kernel
    assert f'{NO} "ID_AA64MMFR0_EL1"' in kernel
    assert _read(kernel, "again") == _read(kernel, "MIDR_EL1") != 0


def test_in_user_space(vmlinux: Path) -> None:
    with Stub() as stub:
        session = Interactive(stub, vmlinux)
        session.type("continue")
        stub.console.wait_for(re.escape(demo.INIT_LINE))
        session.interrupt()
        session.said.wait_for("Program received signal SIGINT")
        said = session.finish("print $VBAR_EL1", *_print("TTBR0_EL1", "CNTVCT_EL0"), "kill")
    assert "<vectors>" in said
    assert _read(said, "TTBR0_EL1") != 0
    assert _read(said, "CNTVCT_EL0") != 0
