import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbstub.vmm import pl011
from gdbstub.vmm.pl011 import BACKLOG, FIFO_DEPTH, INT_RT, INT_RX, INT_TX, PL011


class Wired:
    """A UART with its ends in hand."""

    def __init__(self) -> None:
        self.sent = b""
        self.levels: list[bool] = []
        self.uart = PL011(self._transmit, self.levels.append)

    def _transmit(self, data: bytes) -> None:
        self.sent += data

    @property
    def line(self) -> bool:
        return bool(self.levels) and self.levels[-1]

    def get(self, register: int) -> int:
        return self.uart.read(register, 2)

    def put(self, register: int, value: int) -> None:
        self.uart.write(register, 2, value)

    def read_all(self) -> bytes:
        out = bytearray()
        while not self.get(pl011.FR) & pl011.FR_RXFE:
            out.append(self.get(pl011.DR))
        return bytes(out)


def test_reset_values() -> None:
    uart = Wired()
    assert uart.get(pl011.FR) == pl011.FR_TXFE | pl011.FR_RXFE == 0x90
    assert uart.get(pl011.CR) == 0x300
    assert uart.get(pl011.IFLS) == 0x12
    for register in (pl011.RSR_ECR, pl011.LCR_H, pl011.IMSC, pl011.RIS, pl011.MIS, 0x80, 0xFDC):
        assert uart.get(register) == 0
    ids = [uart.uart.read(at, 4) for at in range(0xFE0, 0x1000, 4)]
    assert ids == [0x11, 0x10, 0x14, 0x00, 0x0D, 0xF0, 0x05, 0xB1]


def test_registers_keep_as_many_bits_as_they_have() -> None:
    uart = Wired()
    for register, mask in ((pl011.IBRD, 0xFFFF), (pl011.FBRD, 0x3F), (pl011.LCR_H, 0xFF),
                           (pl011.IMSC, 0x7FF), (pl011.CR, 0xFFFF)):  # fmt: skip
        uart.uart.write(register, 4, 0xFFFF_FFFF)
        assert uart.uart.read(register, 4) == mask
    uart.put(pl011.FR, 0)
    assert uart.get(pl011.FR) == 0x90


def test_transmit_raises_its_interrupt_at_once() -> None:
    uart = Wired()
    uart.put(pl011.IMSC, INT_TX)
    assert not uart.line
    uart.uart.write(pl011.DR, 4, 0x1234_5678)
    assert uart.sent == b"\x78"
    assert uart.line
    assert uart.get(pl011.MIS) == INT_TX
    uart.put(pl011.ICR, INT_TX)
    assert uart.levels == [True, False]
    assert uart.get(pl011.RIS) == 0


def test_the_line_follows_the_mask_and_only_changes_are_told() -> None:
    uart = Wired()
    uart.put(pl011.DR, ord("a"))
    assert uart.levels == []
    uart.put(pl011.IMSC, INT_TX)
    uart.put(pl011.DR, ord("b"))
    uart.put(pl011.IMSC, 0)
    uart.put(pl011.IMSC, INT_RX)
    assert uart.levels == [True, False]
    assert uart.get(pl011.RIS) == INT_TX
    assert uart.get(pl011.MIS) == 0


def test_linux_reads_a_typed_line() -> None:
    """The accesses are those of amba-pl011.c: startup, then its interrupt handler."""
    uart = Wired()
    uart.put(pl011.LCR_H, pl011.LCR_H_FEN | 0x60)
    uart.put(pl011.ICR, 0x7F0)
    uart.put(pl011.CR, pl011.CR_UARTEN | pl011.CR_RXE | pl011.CR_TXE)
    uart.put(pl011.ICR, INT_RX | INT_RT)
    assert uart.read_all() == b""
    uart.put(pl011.IMSC, INT_RX | INT_RT)
    text, got = b"echo a line that is longer than the FIFO\r", b""
    assert uart.uart.receive(text) == len(text)
    while uart.line:
        status = uart.get(pl011.RIS) & (INT_RX | INT_RT)
        assert status
        uart.put(pl011.ICR, status & ~(INT_RX | INT_RT))
        got += uart.read_all()
    assert got == text
    assert uart.get(pl011.RIS) == 0


@pytest.mark.parametrize(("lcr_h", "depth"), [(0, 1), (pl011.LCR_H_FEN, FIFO_DEPTH)])
def test_the_fifo_is_as_deep_as_lcr_h_says(lcr_h: int, depth: int) -> None:
    uart = Wired()
    uart.put(pl011.LCR_H, lcr_h)
    uart.uart.receive(bytes(depth - 1))
    assert not uart.get(pl011.FR) & pl011.FR_RXFF
    uart.uart.receive(b"x")
    assert uart.get(pl011.FR) & pl011.FR_RXFF
    assert uart.read_all() == bytes(depth - 1) + b"x"


def test_a_guest_that_clears_before_it_reads_hears_of_the_next_key() -> None:
    uart = Wired()
    uart.put(pl011.IMSC, INT_RX)
    uart.uart.receive(b"ab")
    uart.put(pl011.ICR, INT_RX)
    assert not uart.line
    uart.uart.receive(b"c")
    assert uart.line
    assert uart.read_all() == b"abc"
    assert not uart.line


@pytest.mark.parametrize("lcr_h", [0, pl011.LCR_H_FEN])
def test_a_handler_of_one_character_gets_a_whole_paste(lcr_h: int) -> None:
    uart, got = Wired(), bytearray()
    uart.put(pl011.LCR_H, lcr_h)
    uart.put(pl011.IMSC, INT_RX)
    uart.uart.receive(b"paste" * 9)
    while uart.line:
        got.append(uart.get(pl011.DR))
        uart.put(pl011.ICR, 0x7FF)
    assert got == b"paste" * 9


def test_a_handler_that_only_clears_is_not_called_for_ever() -> None:
    uart = Wired()
    uart.put(pl011.IMSC, INT_RX)
    uart.uart.receive(b"ab")
    uart.get(pl011.DR)
    uart.put(pl011.ICR, INT_RX)
    uart.put(pl011.ICR, INT_RX)
    assert not uart.line


def test_input_waits_for_a_receiver_that_is_off() -> None:
    uart = Wired()
    uart.put(pl011.IMSC, INT_RX)
    uart.put(pl011.CR, pl011.CR_UARTEN | pl011.CR_TXE)
    assert uart.uart.receive(b"hi") == 2
    assert uart.get(pl011.FR) & pl011.FR_RXFE
    assert not uart.line
    uart.put(pl011.CR, pl011.CR_UARTEN | pl011.CR_RXE)
    assert uart.line
    assert uart.read_all() == b"hi"


def test_the_backlog_is_bounded_and_says_what_it_took() -> None:
    uart = Wired()
    flood = bytes(n % 256 for n in range(2 * BACKLOG))
    taken = uart.uart.receive(flood)
    assert taken == BACKLOG
    assert uart.uart.receive(flood[taken:]) == 1  # the FIFO, one deep here, took one
    assert uart.uart.receive(b"z") == 0
    assert uart.read_all() == flood[: BACKLOG + 1]
    assert uart.uart.receive(b"z") == 1


def test_narrow_and_wide_accesses() -> None:
    uart = Wired()
    uart.put(pl011.IBRD, 0x1234)
    assert uart.uart.read(pl011.IBRD, 1) == 0x34
    assert uart.uart.read(pl011.IBRD + 1, 1) == 0x12
    assert uart.uart.read(pl011.IBRD, 8) == 0x1234
    uart.uart.write(pl011.DR + 1, 1, 0x41)
    uart.uart.write(pl011.IBRD + 2, 2, 0x41)
    assert uart.sent == b""
    assert uart.get(pl011.IBRD) == 0x1234
    uart.uart.write(pl011.DR, 1, 0x41)
    assert uart.sent == b"A"


ACCESS = st.tuples(
    st.booleans(), st.integers(0, 0xFFF), st.sampled_from([1, 2, 4, 8]), st.integers(0, 2**64 - 1)
)


@given(st.lists(st.one_of(ACCESS, st.binary(max_size=40)), max_size=40))
def test_whatever_a_guest_does_the_line_is_ris_and_imsc(
    actions: list[tuple[bool, int, int, int] | bytes],
) -> None:
    uart = Wired()
    for action in actions:
        if isinstance(action, bytes):
            uart.uart.receive(action)
        elif action[0]:
            _, offset, size, value = action
            uart.uart.write(offset, size, value & (1 << 8 * size) - 1)
        else:
            _, offset, size, _ = action
            assert 0 <= uart.uart.read(offset, size) < 1 << 8 * size
        assert uart.line == bool(uart.get(pl011.RIS) & uart.get(pl011.IMSC))
    assert all(a != b for a, b in zip([False, *uart.levels], uart.levels, strict=False))


def test_two_threads_lose_nothing() -> None:
    uart, text = Wired(), bytes(range(256)) * 40
    uart.put(pl011.LCR_H, pl011.LCR_H_FEN)

    def type_it() -> None:
        for at in range(0, len(text), 7):
            uart.uart.receive(text[at : at + 7])

    typist = threading.Thread(target=type_it)
    typist.start()
    got = b""
    while typist.is_alive() or not uart.get(pl011.FR) & pl011.FR_RXFE:
        got += uart.read_all()
    typist.join()
    assert got == text
