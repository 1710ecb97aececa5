"""Capabilities are opted into: what a target's methods happen to be called offers nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

import pytest

from gdbstub import capabilities
from gdbstub.capabilities import (
    AddressBits,
    Capability,
    HasGuestThreads,
    HasLibraries,
    InterruptsInSteps,
    Library,
    MemoryMapping,
    MemoryRegion,
    OsTable,
    OsTables,
    Relocatable,
    Relocation,
)
from gdbstub.protocol.packets import ClientState, dispatch
from gdbstub.target import Target, Thread
from tests.pure.able_target import AbleTarget


@dataclass
class Everything(
    AbleTarget,
    Relocatable,
    MemoryMapping,
    InterruptsInSteps,
    AddressBits,
    OsTables,
    HasLibraries,
    HasGuestThreads,
):
    """A target with every capability, except those that a test withholds."""

    step_irqs: bool = False
    file: str = "/guest.elf"
    withheld: list[type[Capability]] = field(default_factory=list)

    def relocation(self) -> Relocation | None:
        return Relocation(0, 0x10000)

    @property
    def os_tables(self) -> Sequence[OsTable]:
        return ()

    def guest_threads(self) -> Sequence[Thread]:
        return ()

    def libraries(self) -> Sequence[Library]:
        return ()

    def address_bits(self, thread: int) -> tuple[int, int] | None:
        return 48, 47

    def region(self, thread: int, gva: int) -> MemoryRegion:
        return MemoryRegion(0, 1 << 64)

    def offers(self, capability: type[Capability]) -> bool:
        return capability not in self.withheld


class Lookalike:
    """All methods and attributes of ``Everything``, and none of its base classes."""

    def __init__(self) -> None:
        self._other = Everything()

    def __getattr__(self, name: str) -> object:
        return getattr(self._other, name)


#: By capability: the function that asks for it, and a packet that only such a target knows.
ASKED: dict[type[Capability], tuple[Callable[[Target], object | None], bytes]] = {
    capabilities.Monitor: (capabilities.monitor_commands, b"qRcmd,68656c70"),
    capabilities.PhysicalMemory: (capabilities.physical_memory, b"qqemu.Supported"),
    capabilities.Restartable: (capabilities.restartable, b"vRun;"),
    capabilities.TaggedTarget: (capabilities.memory_tags, b"qMemTags:40000000,10:1"),
    capabilities.HasExecFile: (capabilities.exec_file, b"qXfer:exec-file:read::0,100"),
    capabilities.HasLibraries: (capabilities.has_libraries, b""),
    capabilities.HasGuestThreads: (capabilities.has_guest_threads, b""),
    capabilities.Relocatable: (capabilities.relocatable, b"qOffsets"),
    capabilities.BreakpointConditions: (capabilities.breakpoint_conditions, b""),
    capabilities.AddressBits: (capabilities.address_bits, b""),
    capabilities.OsTables: (capabilities.os_tables, b""),
    capabilities.MemoryMapping: (capabilities.memory_mapping, b"qMemoryRegionInfo"),
    capabilities.InterruptsInSteps: (capabilities.interrupts_in_steps, b"qqemu.sstepbits"),
}
FEATURES = {
    capabilities.TaggedTarget: b"memory-tagging+",
    capabilities.HasExecFile: b"qXfer:exec-file:read+",
    capabilities.BreakpointConditions: b"ConditionalBreakpoints+",
}
each_capability = pytest.mark.parametrize("capability", ASKED, ids=lambda each: each.__name__)


def offered(target: Target, capability: type[Capability]) -> bool:
    """Return True if *target* offers *capability*. Its signs must agree."""
    ask, packet = ASKED[capability]
    client = ClientState(target, 0x1000)
    signs = {ask(target) is not None}
    if packet:
        signs.add(dispatch(client, packet) != b"")
    if feature := FEATURES.get(capability):
        signs.add(feature in cast("bytes", dispatch(client, b"qSupported")).split(b";"))
    (sign,) = signs
    return sign


def test_every_capability_is_asked_for_here() -> None:
    ours = {each for each in vars(capabilities).values() if isinstance(each, type)}
    assert {each for each in ours if issubclass(each, Capability)} - {Capability} == ASKED.keys()


@each_capability
def test_a_target_that_derives_from_it_offers_it(capability: type[Capability]) -> None:
    assert offered(Everything(), capability)


@each_capability
def test_methods_of_the_same_names_offer_nothing(capability: type[Capability]) -> None:
    lookalike = Lookalike()
    for name in vars(capability):
        assert name.startswith("_") or hasattr(lookalike, name)
    assert not offered(cast("Target", lookalike), capability)


@each_capability
def test_a_target_may_withhold_it(capability: type[Capability]) -> None:
    assert not offered(Everything(withheld=[capability]), capability)


@each_capability
def test_it_is_not_complete_without_its_methods(capability: type[Capability]) -> None:
    incomplete = type("Incomplete", (capability,), {})
    with pytest.raises(TypeError, match="abstract"):
        incomplete()
