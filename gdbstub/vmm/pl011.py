"""The guest's serial port: an Arm PrimeCell UART (PL011), revision r1p5.

It knows no baud rate, no modem line, no DMA and no loopback; bytes move at once.
Source: PrimeCell UART (PL011) Technical Reference Manual, DDI 0183, chapter 3.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

#: Register offsets, by the manual's names without the UART in front ("Summary of registers").
DR: Final = 0x00
RSR_ECR: Final = 0x04
FR: Final = 0x18
ILPR: Final = 0x20
IBRD: Final = 0x24
FBRD: Final = 0x28
LCR_H: Final = 0x2C
CR: Final = 0x30
IFLS: Final = 0x34
IMSC: Final = 0x38
RIS: Final = 0x3C
MIS: Final = 0x40
ICR: Final = 0x44
DMACR: Final = 0x48

#: Flag register FR.
FR_RXFE: Final = 1 << 4
FR_RXFF: Final = 1 << 6
FR_TXFE: Final = 1 << 7
#: Line control register LCR_H: FIFOs on; without it each is one character deep.
LCR_H_FEN: Final = 1 << 4
#: Control register CR.
CR_UARTEN: Final = 1 << 0
CR_TXE: Final = 1 << 8
CR_RXE: Final = 1 << 9
#: The interrupts, in IMSC, RIS, MIS and ICR alike: receive, transmit, receive timeout.
INT_RX: Final = 1 << 4
INT_TX: Final = 1 << 5
INT_RT: Final = 1 << 6

#: Peripheral and PrimeCell identification ("UARTPeriphID0-3", "UARTPCellID0-3"). Revision 1
#: in PeriphID2: by it Linux takes the FIFOs for 16 characters deep, which they are.
_ID_BASE: Final = 0xFE0
_IDS: Final = (0x11, 0x10, 0x14, 0x00, 0x0D, 0xF0, 0x05, 0xB1)

FIFO_DEPTH: Final = 16
#: The most input that waits behind the FIFO for a guest that does not read, in bytes.
BACKLOG: Final = 64 << 10

#: Registers that merely keep what is written: their width as a mask, and the reset value.
_PLAIN: Final = {
    ILPR: (0xFF, 0),
    IBRD: (0xFFFF, 0),
    FBRD: (0x3F, 0),
    LCR_H: (0xFF, 0),
    CR: (0xFFFF, CR_RXE | CR_TXE),
    IFLS: (0x3F, 0x12),
    IMSC: (0x7FF, 0),
    DMACR: (0x7, 0),
}


class PL011:
    """One UART; every method may be called from any thread.

    Bytes that the guest sends go to *transmit* at once. *set_irq* is called with the level of
    UARTINTR when it changes, under the UART's lock: it must not call back into the UART.

    Simpler than the manual, as the same in QEMU: the transmitter works whatever CR says,
    since simple guests never set it up; and one character raises the receive interrupt
    whatever IFLS says, since none has to be waited for to fill a FIFO.
    """

    def __init__(self, transmit: Callable[[bytes], None], set_irq: Callable[[bool], None]) -> None:
        self._transmit = transmit
        self._set_irq = set_irq
        self._lock = threading.Lock()
        self._plain = {offset: reset for offset, (_, reset) in _PLAIN.items()}
        self._ris = 0
        self._level = False
        #: The receive FIFO, and what it has no room for yet.
        self._fifo: deque[int] = deque()
        self._backlog: deque[int] = deque()
        #: DR was read since ICR was last written.
        self._read_one = False

    def receive(self, data: bytes) -> int:
        """Take input for the guest; return how many bytes there was room for.

        A full FIFO or a receiver switched off only delays it: nothing taken is lost.
        """
        with self._lock:
            taken = data[: BACKLOG - len(self._backlog)]
            self._backlog.extend(taken)
            self._fill_fifo()
            # Again, even when the FIFO was full before: a guest that cleared the interrupt
            # without reading would never hear of it otherwise.
            if self._fifo and taken:
                self._ris |= INT_RX | INT_RT
            self._update()
        return len(taken)

    def read(self, offset: int, size: int) -> int:
        """Load from a register; there are no byte lanes, so part of DR takes a whole character."""
        register = offset & ~3
        with self._lock:
            if register == DR:
                value = self._take()
            elif register == FR:
                value = self._flags()
            elif register == RIS:
                value = self._ris
            elif register == MIS:
                value = self._ris & self._plain[IMSC]
            elif register in self._plain:
                value = self._plain[register]
            elif register >= _ID_BASE:
                value = _IDS[(register - _ID_BASE) >> 2]
            else:
                value = 0
        return value >> 8 * (offset & 3) & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """Store to a register; a store that does not begin where the register does is ignored."""
        if offset == DR:
            # Outside the lock: it may block, and the order of one vCPU's bytes is kept anyhow.
            self._transmit(bytes((value & 0xFF,)))
        with self._lock:
            if offset == DR:
                # The FIFO is empty again already, which is below any trigger level.
                self._ris |= INT_TX
            elif offset == ICR:
                self._clear(value)
            elif offset in self._plain:
                self._plain[offset] = value & _PLAIN[offset][0]
                self._fill_fifo()
            else:
                return
            self._update()

    def _clear(self, interrupts: int) -> None:
        self._ris &= ~interrupts
        # Simple handlers take one character and clear. At a real line's pace the next one
        # arrives after that; here it is there before, so it has to arrive once more.
        if self._read_one and self._fifo:
            self._ris |= INT_RX | INT_RT
        self._read_one = False

    def _take(self) -> int:
        """Pop the receive FIFO; errors, in bits 8 to 11, never occur."""
        if not self._fifo:
            return 0
        value = self._fifo.popleft()
        self._read_one = True
        if not self._fifo:
            self._ris &= ~(INT_RX | INT_RT)
        self._fill_fifo()
        self._update()
        return value

    def _fill_fifo(self) -> None:
        """Move waiting input into the FIFO, as far as there is room and the receiver is on."""
        if not self._plain[CR] & CR_RXE:
            return
        depth = self._depth()
        while self._backlog and len(self._fifo) < depth:
            self._fifo.append(self._backlog.popleft())
            self._ris |= INT_RX | INT_RT

    def _depth(self) -> int:
        return FIFO_DEPTH if self._plain[LCR_H] & LCR_H_FEN else 1

    def _flags(self) -> int:
        flags = FR_TXFE
        if not self._fifo:
            flags |= FR_RXFE
        elif len(self._fifo) >= self._depth():
            flags |= FR_RXFF
        return flags

    def _update(self) -> None:
        level = bool(self._ris & self._plain[IMSC])
        if level != self._level:
            self._level = level
            self._set_irq(level)
