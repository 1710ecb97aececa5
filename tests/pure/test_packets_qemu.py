"""QEMU's packets that tools on top of GDB tell a whole machine by."""

from dataclasses import dataclass

from gdbstub.capabilities import InterruptsInSteps
from tests.pure.fake_target import FakeTarget
from tests.pure.transcript import conversation


@dataclass
class Stepping(FakeTarget, InterruptsInSteps):
    step_irqs: bool = False


def test_the_bits_of_steps() -> None:
    target = Stepping()
    conversation(
        """
        <- $Qqemu.sstepbits
        -> $ENABLE=1,NOIRQ=2
        <- $qqemu.sstepbits
        -> $ENABLE=1,NOIRQ=2
        <- $qqemu.sstep
        -> $0x3
        <- $Qqemu.sstep=1
        -> $OK
        <- $Qqemu.sstep
        -> $0x1
        <- $Qqemu.sstep=5
        -> $E16
        <- $Qqemu.sstep=2
        -> $E16
        """,
        target,
    )
    assert target.step_irqs


def test_a_target_without_the_choice_has_no_bits() -> None:
    conversation("<- $Qqemu.sstepbits\n-> $")
