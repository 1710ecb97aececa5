"""Target for the devices of the machine: any accesses of a guest, and any input."""

import logging

from gdbstub.vmm.bus import REMEMBERED, Bus
from gdbstub.vmm.layout import PAGE, UART_BASE
from gdbstub.vmm.pl011 import BACKLOG, DR, FR, FR_RXFE, IMSC, INT_RT, INT_RX, MIS, PL011, RIS
from tests.fuzz.source import Source
from tests.fuzz.target import fuzz_target

_SIZES = (1, 2, 4, 8)


@fuzz_target("devices", 512)
def devices(data: bytes) -> None:
    """Any access has a value of its size; no byte of input is lost; the interrupt follows MIS."""
    source = Source(data)
    sent, levels = bytearray(), [False]
    uart = PL011(sent.extend, levels.append)
    bus = Bus()
    bus.attach(UART_BASE, PAGE, uart)
    taken, seen, written = bytearray(), bytearray(), bytearray()
    log = logging.getLogger("gdbstub.vmm")
    disabled, log.disabled = log.disabled, True
    try:
        while source:
            _act(source, bus, uart, taken, seen, written)
            assert taken.startswith(seen)
            assert sent == written
            assert levels[-1] == bool(uart.read(MIS, 4))
            waiting = len(taken) - len(seen)
            assert bool(uart.read(FR, 4) & FR_RXFE) or waiting
            assert not uart.read(RIS, 4) & (INT_RX | INT_RT) or waiting
            assert len(uart._fifo) <= 16
            assert len(uart._backlog) <= BACKLOG
            assert len(bus._warned) <= REMEMBERED + 1
    finally:
        log.disabled = disabled
    uart.write(0x30, 4, 1 << 9)  # CR.RXE: all that was taken can be read
    while not uart.read(FR, 4) & FR_RXFE:
        seen.append(uart.read(DR, 4) & 0xFF)
    assert seen == taken


def _act(
    source: Source, bus: Bus, uart: PL011, taken: bytearray, seen: bytearray, written: bytearray
) -> None:
    kind, size = source.below(4), source.choice(_SIZES)
    if kind == 0:
        given = source.take(source.below(40))
        taken += given[: uart.receive(given)]
        return
    offset = source.number() << 2 if kind == 1 else source.number(2)
    ipa = UART_BASE + offset
    if source.below(2):
        value = source.number(4) if size > 1 else source.number()
        bus.write(ipa, size, value)
        if offset == DR:
            written.append(value & 0xFF)
        elif offset == IMSC:
            assert uart.read(IMSC, 4) == value & 0x7FF
        return
    empty = bool(uart.read(FR, 4) & FR_RXFE)
    value = bus.read(ipa, size)
    assert 0 <= value < 1 << 8 * size
    if offset & ~3 == DR and not empty:
        got = bytes(taken[len(seen) : len(seen) + 1])
        seen += got
        assert offset & 3 or value & 0xFF == got[0]
