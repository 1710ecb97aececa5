import logging

import pytest

from gdbstub.vmm.bus import REMEMBERED, Bus


class Memory:
    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []

    def read(self, offset: int, size: int) -> int:
        self.calls.append((offset, size))
        return 0x55

    def write(self, offset: int, size: int, value: int) -> None:
        self.calls.append((offset, size, value))


def test_a_device_sees_offsets_from_its_base() -> None:
    bus, first, second = Bus(), Memory(), Memory()
    bus.attach(0x1000, 0x2000, first)
    bus.attach(0x3000, 0x1000, second)
    assert bus.read(0x2FFC, 4) == 0x55
    bus.write(0x3000, 1, 7)
    assert first.calls == [(0x1FFC, 4)]
    assert second.calls == [(0, 1, 7)]


def test_attach_refuses_what_cannot_be_told_apart() -> None:
    bus = Bus()
    bus.attach(0x2000, 0x1000, Memory())
    for base, size in ((0x1000, 0x2000), (0x2800, 0x1000), (0x4000, 0x10), (0x4000, 0)):
        with pytest.raises(ValueError, match=r"whole pages|there already"):
            bus.attach(base, size, Memory())
    bus.clear()
    bus.attach(0x1000, 0x2000, Memory())


def test_nothing_reads_zero_with_one_warning_an_address(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bus = Bus()
    for _ in range(3):
        assert bus.read(0xDEAD000, 8) == 0
        bus.write(0xBEEF000, 4, 1)
        bus.read(0xBEEF000, 4)
    assert [(r.name, r.levelno, r.getMessage()) for r in caplog.records] == [
        ("gdbstub.vmm", logging.WARNING,
         "a read of 8 bytes at 0xdead000, where nothing is, gives 0"),
        ("gdbstub.vmm", logging.WARNING,
         "a write of 4 bytes at 0xbeef000, where nothing is, is ignored"),
    ]  # fmt: skip


def test_a_hostile_guest_fills_neither_log_nor_memory(caplog: pytest.LogCaptureFixture) -> None:
    bus = Bus()
    for ipa in range(0, 8 * 10 * REMEMBERED, 8):
        bus.write(ipa, 8, 0)
    assert len(caplog.records) == REMEMBERED + 1
    assert caplog.records[-1].getMessage().endswith("no more warnings")
    assert len(bus._warned) == REMEMBERED + 1
    caplog.clear()
    bus.clear()
    bus.read(0, 4)
    assert len(caplog.records) == 1
