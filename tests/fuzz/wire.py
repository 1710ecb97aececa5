"""Targets for what a client sends: frames, and a session over the fake target."""

import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final
from unittest import mock

from gdbstub import rsp, slices
from gdbstub.agent import operations
from gdbstub.errors import MachineError, MemoryFault, NoSlot, NoSuchRegister, RegisterRefused
from gdbstub.protocol import incoming
from gdbstub.protocol.packets import PACKETS, PacketCache
from gdbstub.protocol.session import Session
from gdbstub.target import Exited, Signal, Stopped, StopReason
from tests.fuzz.source import Source
from tests.fuzz.target import INJECTED, fuzz_target, no_logged_failure
from tests.fuzz.whole_target import WholeTarget
from tests.pure.able_target import AbleTarget
from tests.pure.fake_target import HERE

#: Sizes of the largest packet: the real one, and two that short inputs exceed.
_SIZES: Final = (rsp.PACKET_SIZE, 16, 64)


def _events(chunks: Iterable[bytes]) -> list[rsp.Event]:
    connection, found = rsp.Connection(), list[rsp.Event]()
    for chunk in chunks:
        found += connection.receive(chunk)
        assert len(connection._buffer) <= rsp.PACKET_SIZE + 4
    return found


def cut(wire: bytes, lengths: Iterable[int]) -> Iterable[bytes]:
    """Cut *wire* into pieces of *lengths*, and the rest."""
    at = 0
    for length in lengths:
        yield wire[at : at + length]
        at += length
    yield wire[at:]


@fuzz_target("framing", 512)
def framing(data: bytes) -> None:
    """The same events however bytes are cut; bounded memory; a packet survives its encoding."""
    source = Source(data)
    size, cuts = source.choice(_SIZES), [source.number() for _ in range(source.below(8))]
    wire = source.rest()
    with mock.patch.object(rsp, "PACKET_SIZE", size):
        events = _events([wire])
        assert events == _events(wire[at : at + 1] for at in range(len(wire)))
        assert events == _events(cut(wire, cuts))
        for event in events:
            if isinstance(event, rsp.Packet):
                assert len(event.data) <= size
    for event in events:
        if isinstance(event, rsp.Packet):
            frame = rsp.encode(event.data)
            assert not set(frame[1:-3]) & set(b"$#*")
            assert _events([frame]) == [event]


@contextmanager
def standing_clocks() -> Iterator[None]:
    """Have nothing depend on how long it takes: a machine that fuzzes is busy."""
    with (
        mock.patch.object(incoming, "perf_counter", float),
        mock.patch.object(operations, "thread_time", float),
        mock.patch.object(slices, "perf_counter", float),
    ):
        yield


class Script:
    """Script of a session, a line for each event; see ``tests/fuzz/corpus/session``.

    ``$`` and a payload is a packet, ``~`` raw bytes, ``^`` is 0x03, ``>`` work on a long packet,
    ``.`` and two bytes a stop, ``x`` the guest's end, ``!`` what vCPUs do, a byte for each,
    ``=`` a system register that the guest sets, or a call of the target that fails, and anything
    else the client's end.
    """

    def __init__(self, text: bytes) -> None:
        self.lines = text.split(b"\n")[:64]

    def play(
        self,
        session: Session,
        stop: Callable[[bytes], None],
        pieces: Callable[[bytes], Iterable[bytes]],
    ) -> list[bytes]:
        """Play it; return what was sent for each line. *pieces* cuts bytes, *stop* stops."""
        sent = []
        for line in self.lines:
            kind, rest = line[:1], line[1:]
            out: list[bytes] = []
            if kind == b"$":
                out += map(session.receive, pieces(rsp.encode(rest)))
            elif kind == b"~":
                out += map(session.receive, pieces(rest))
            elif kind == b"^":
                out.append(session.receive(b"\x03"))
            elif kind == b">":
                for _ in range(64):
                    if session.busy:
                        out += (session.keep_alive(), session.advance())
            elif kind == b"=":
                stop(line)
            elif kind in (b".", b"x", b"!"):
                stop(line)
                out.append(session.target_stopped())
            elif kind:
                session.close()
            sent.append(_AGAIN.sub(rb"\1", b"".join(out)) if b"-" in line else b"".join(out))
        session.close()
        return sent


_FRAME: Final = re.compile(rb"\$([^$#*]*)#([0-9a-f]{2})")
_ESCAPED: Final = re.compile(rb"\}.", re.DOTALL)


def check_replies(sent: Iterable[bytes]) -> None:
    """Check that all that was sent is whole frames with right checksums, ``+`` and ``-``."""
    for data in sent:
        assert not _FRAME.sub(_checked, data).strip(b"+-"), data


def _checked(frame: "re.Match[bytes]") -> bytes:
    assert sum(frame[1]) % 256 == int(frame[2], 16), frame
    assert len(_ESCAPED.sub(b".", frame[1])) <= rsp.PACKET_SIZE
    return b""


#: Offset of the instruction at which a continued thread stays.
_LOOP: Final = 0x40
_REASONS: Final = tuple(StopReason)
_TROUBLES: Final[tuple[Callable[[str], Exception], ...]] = (
    *(MachineError, MemoryFault, NoSuchRegister, RegisterRefused, NoSlot, MemoryError, OSError),
)
#: A frame that is sent again. Several ``-`` that come at once are answered once, so the number
#: depends on how bytes are cut.
_AGAIN: Final = re.compile(rb"(\$[^#]*#..)\1+", re.DOTALL)


def _run(script: Script, cache: int, pieces: Callable[[bytes], Iterable[bytes]]) -> object:
    able = AbleTarget if script.lines[0][:1] == b"%" else WholeTarget
    target = able(lively=script.lines[0][:1] != b"#", file="/boot/vmlinux")
    target.memory[_LOOP : _LOOP + 4] = HERE.to_bytes(4, "little")  # few NOPs: they take time
    session = Session(target, cache=PacketCache(cache))

    def stop(line: bytes) -> None:
        source = Source(line[1:])
        if line[:1] == b"=":
            target.trouble = source.choice(_TROUBLES)(INJECTED)
        elif target.running:
            if line[:1] == b"x":
                target.stop(Exited(source.number()))
            else:
                signal = source.choice((Signal.TRAP, Signal.INT))
                target.stop(Stopped(1 + source.below(2), signal, source.choice(_REASONS)))

    sent = script.play(session, stop, pieces)
    assert session.over
    check_replies(sent)
    return sent, target.calls, target.inserted


def _pieces(wire: bytes) -> Iterable[bytes]:
    """Cut *wire* at two places that depend on its bytes: all of them, in many inputs."""
    places = zlib.crc32(wire)
    first, second = sorted((places % (len(wire) + 1), (places >> 16) % (len(wire) + 1)))
    return cut(wire, (first, second - first))


def packets() -> Iterable[bytes]:
    """Yield lines of a script that begin with the name of a packet."""
    return (b"\n$" + name for name in PACKETS)


@fuzz_target("session", 1024, packets)
def session(data: bytes) -> None:
    """No exception that is not foreseen; whole frames; all the same, cut or not, cached or not."""
    script = Script(data)
    with standing_clocks(), no_logged_failure():
        whole = _run(script, 256, lambda wire: [wire])
        assert whole == _run(script, 0, _pieces)
