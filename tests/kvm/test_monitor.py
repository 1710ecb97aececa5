"""Monitor commands on a Linux kernel, typed in a real gdb."""

import re
from pathlib import Path

import pytest

from gdbstub.aarch64.sysreg import TCR
from tests.kvm.conftest import Built
from tests.kvm.debugging import gdb
from tests.kvm.stub import Stub

STEPS = Path(__file__).parent / "check_steps.py"
#: Physical address that the demo's kernel begins at (text_offset 0).
PHYSICAL = 0x4000_0000
#: From VBAR_EL1 to where an IRQ at EL1h goes (Arm ARM D1.3.1).
IRQ_EL1H = 0x280
SECOND = 10_000_000  # ticks that the counter of any CPU does at least


@pytest.fixture(scope="module")
def kernel(vmlinux: Path) -> str:
    """GDB's output on a kernel whose timer ticks, with interrupts enabled."""
    pause = "shell sleep 1"
    counter = ["maint flush register-cache", 'printf "counter %lu\\n", $CNTVCT_EL0']
    place = 'printf "vector+%ld\\n", (long) $pc - (long) $VBAR_EL1'
    with Stub() as stub:
        return gdb(
            stub, vmlinux, "break kernel_init", "continue", "delete",
            "monitor break list", "monitor regs SCTLR",
            'printf "TCR_EL1 %#lx\\n", (unsigned long) $TCR_EL1',
            "monitor walk $pc", "monitor phys $pc", "x/xw $pc", "monitor info",
            *counter, pause, *counter,
            "monitor time free", *counter, pause, *counter,
            "monitor step-irqs on", "stepi", place,
            "monitor step-irqs off", "break do_one_initcall", "continue", "delete", pause,
            f"@{STEPS}",
            "monitor stats",
            "monitor reset", "maint flush register-cache", "output/x $pc", "echo \\n",
            "hbreak start_kernel", "continue", "bt 1", "monitor quit",
        )  # fmt: skip


@pytest.fixture(scope="module")
def bits(kernel: str) -> int:
    """The width of the kernel's virtual addresses, as it has set it: the length of ``TTBR1``'s."""
    found = re.search(r"^TCR_EL1 (0x\w+)$", kernel, re.M)
    assert found, kernel
    return 64 - TCR(int(found[1], 16)).T1SZ


def test_where_the_kernel_lies(kernel: str, bits: int, vmlinux: Path) -> None:
    found = re.search(r"Breakpoint 1, (0x\w+) in kernel_init", kernel)
    assert found, kernel
    ipa = int(found[1], 16) - Built(vmlinux).start + PHYSICAL
    assert f"{found[1]} is physical {ipa:#x}, RAM\n" in kernel
    assert f"\nphysical {ipa:#x}, 0x" in kernel
    level = " 0" if bits <= 48 else "-1"  # Arm ARM D8.2.2: the first level of 4 KiB granules
    line = rf": TTBR1_EL1 = 0x[0-9a-f]+, 4 KiB granule, {bits} bits\nlevel {level} "
    assert re.search(line, kernel), kernel


def test_break_list_and_regs(kernel: str) -> None:
    # A comparator serves it: it was asked for before the MMU was on.
    assert re.search(r"^break +(0xf\w+) +4 +1 +0 +armed +comparator: not mapped$", kernel, re.M), (
        kernel
    )
    assert re.search(r"^SCTLR_EL1  0x\w+  M C SA ", kernel, re.M), kernel


def test_info(kernel: str, bits: int) -> None:
    assert re.search(r"^guest +Linux, ", kernel, re.M), kernel
    assert re.search(r"^host +KVM on Linux ", kernel, re.M), kernel
    line = rf"^vCPU 0 +EL1h at 0xf\w+, MMU on, 4 KiB granule, {bits} bits"
    assert re.search(line, kernel, re.M), kernel


def test_the_clock_stands_still_or_runs(kernel: str) -> None:
    counters = [int(number) for number in re.findall(r"counter (\d+)", kernel)]
    assert counters[0] == counters[1] <= counters[2]
    assert counters[3] - counters[2] >= SECOND
    # Turning it on is no leap.
    assert counters[2] - counters[1] < counters[3] - counters[2]


def test_a_step_ends_at_a_vector_if_it_may(kernel: str) -> None:
    assert re.findall(r"^vector\+(-?\d+)$", kernel, re.M) == [str(IRQ_EL1H)], kernel
    assert "20 steps were right" in kernel


def test_stats(kernel: str) -> None:
    for name in ("DEBUG", "KVM_RUN", "KVM_GET_ONE_REG", "KVM_SET_GUEST_DEBUG", "KVM_CREATE_VCPU"):
        assert re.search(rf"^{name} +[1-9]\d*$", kernel, re.M), kernel
    assert re.search(r"^vCont; +\d+ +\d+\.\d$", kernel, re.M), kernel
    assert re.search(r"^instructions +[1-9]\d* +[1-9]\d*$", kernel, re.M), kernel


def test_reset_and_quit(kernel: str) -> None:
    assert re.search(rf"^{PHYSICAL:#x}$", kernel, re.M), kernel
    assert re.search(r"in start_kernel \(\)", kernel), kernel
    assert "The guest has ended." in kernel
