"""One client's conversation: bytes in, bytes out, and a target that is set going and stops.

It does no I/O and never waits; the server brings what arrived and says when to look again.
"""

import logging
from collections import deque
from collections.abc import Callable
from time import perf_counter_ns
from typing import Final

from gdbstub import rsp
from gdbstub.capabilities import breakpoint_conditions
from gdbstub.errors import Cancelled, MachineError, PacketError, StubError, reply_for
from gdbstub.protocol.packets import ClientState, Work, console, dispatch, find, stop_replies
from gdbstub.protocol.record import Recorder, printable
from gdbstub.target import Exited, Resume, Target

_log = logging.getLogger(__name__)

#: The most that a client may send ahead while the target runs, in bytes and in packets.
_AHEAD: Final = 4 * rsp.PACKET_SIZE
_AHEAD_COUNT: Final = 1024


class Session:
    """One client, from its connection to its end.

    While the target runs, packets wait and 0x03 interrupts. Each resume gets exactly one
    stop reply. A client that connects to a running target halts it.
    """

    def __init__(
        self,
        target: Target,
        recorder: Recorder | None = None,
        *,
        kill_on_disconnect: bool = False,
        encode: Callable[[bytes], bytes] = rsp.encode,
    ) -> None:
        """Greet a client; a running target is interrupted."""
        self._target = target
        self._recorder = recorder
        self._logged = recorder is not None or _log.isEnabledFor(logging.DEBUG)
        self._connection = rsp.Connection(encode)
        self._client = ClientState(target, rsp.PACKET_SIZE, kill_on_disconnect=kill_on_disconnect)
        self._waiting: deque[rsp.Event] = deque()
        self._waiting_bytes = 0
        self._owed = False  # a stop reply
        self._work: Work | None = None
        self._conditions = breakpoint_conditions(target)
        self._running = False
        if target.running:
            self._halt()

    @property
    def over(self) -> bool:
        """Whether nothing more will be said: detached, killed, or the guest's end was told."""
        return self._client.over or (self._client.guest_gone and not self._client.extended)

    @property
    def busy(self) -> bool:
        """Whether a packet's work is not done: ``advance`` wants to be called."""
        return self._work is not None

    @property
    def idle(self) -> bool:
        """Whether the next thing to happen is that the client sends something."""
        return not (self._running or self._work or self.over)

    @property
    def awaits_stop(self) -> bool:
        """Whether the client has been promised a stop reply."""
        return self._owed

    @property
    def guest_gone(self) -> bool:
        """Whether the guest was killed or has ended of itself."""
        return self._client.guest_gone

    def receive(self, data: bytes) -> bytes:
        """Take what arrived; return what is to be sent. Never raises."""
        out: list[bytes] = []
        connection = self._connection
        for event in connection.receive(data):
            if self._client.over:
                break
            if self._logged:
                self._log_received(event)
            if connection.acks and (answer := connection.answer(event)):
                if self._recorder:
                    self._recorder.sent(printable(answer))
                out.append(answer)
            self._take(event, out)
        return out[0] if len(out) == 1 else b"".join(out)

    def target_stopped(self) -> bytes:
        """After ``Target.notify``: return what is to be sent, perhaps nothing. Never raises."""
        out: list[bytes] = []
        start = perf_counter_ns()
        try:
            self._pass_on_output(out)
            report = self._target.take_report()
            if isinstance(report, Exited):
                self._end_of_guest()
            if self._client.over or not self._running:
                return b""
            if report is None and (self._owed or self._target.running):
                return b"".join(out)  # a stop reply must say why: another notify will
            self._running = False
            if self._owed and report is not None:
                self._send(stop_replies(self._client, report), out)
                self._owed = False
                self._client.stops.count += 1
                self._client.stops.nanoseconds += perf_counter_ns() - start
        except Exception as error:
            _log.exception("cannot tell why the target stopped")
            owed, self._running, self._owed = self._owed, False, False
            if owed:
                self._send(self._failure(error), out)
            self._halt_if_running()
        self._resume_waiting(out)
        return b"".join(out)

    def _pass_on_output(self, out: list[bytes]) -> None:
        """Send what breakpoints' commands have printed; only a resume's reply may be preceded."""
        if self._conditions and (output := self._conditions.take_output()) and self._owed:
            self._send(tuple(console(output, self._client.packet_size)), out)

    def advance(self) -> bytes:
        """Do a slice of a packet's work; return what is to be sent, perhaps nothing. Never raises.

        Meanwhile packets wait, and 0x03 ends the work with an error.
        """
        out: list[bytes] = []
        self._advance(out)
        self._resume_waiting(out)
        return b"".join(out)

    def keep_alive(self) -> bytes:
        """What says to a client that its reply will come, or nothing.

        GDB waits 2 s from one byte to the next, and passes over what is before a frame.
        """
        return b"+" if self.busy else b""

    def close(self) -> None:
        """The client is gone. Never raises."""
        self._waiting.clear()
        self._drop_work()
        if self._client.over:
            return
        self._client.over = True
        if not self._client.attached:
            return
        try:
            if self._client.kill_on_disconnect:
                self._client.guest_gone = True
                self._target.kill()
            else:
                self._target.release()
        except Exception:
            _log.exception("cannot leave the target as a client should")

    def _take(self, event: rsp.Event, out: list[bytes]) -> None:
        """Handle one event now, or put it where it waits for the target to stop."""
        if isinstance(event, rsp.Packet) or event is rsp.ControlByte.OVERSIZED:
            if not (self._running or self._work):
                if self._halts(event):
                    self._halt()
                    self._wait(event)
                else:
                    self._handle(event, out)
            elif self._always(event):
                self._cancel(out)
                self._handle(event, out)
            else:
                self._wait(event)
        elif event is rsp.ControlByte.INTERRUPT and (self._running or self.busy):
            was_busy = self.busy
            self._stop_what_goes_on(out)
            if self._waiting:
                self._wait(event)  # it may be meant for what the packets before it start
            if was_busy:
                self._resume_waiting(out)

    def _resume_waiting(self, out: list[bytes]) -> None:
        """Handle what waited, as far as the target stays at rest and no work goes on."""
        while self._waiting and not self._client.over:
            event = self._waiting[0]
            if event is rsp.ControlByte.INTERRUPT:
                self._stop_what_goes_on(out)
            elif self._running or self.busy:
                return
            else:
                self._handle(event, out)
            self._waiting.popleft()
            self._waiting_bytes -= _size(event)

    def _wait(self, event: rsp.Event) -> None:
        self._waiting.append(event)
        self._waiting_bytes += _size(event)
        if self._waiting_bytes > _AHEAD or len(self._waiting) > _AHEAD_COUNT:
            _log.warning("the client sends without waiting for replies; it is let go")
            self.close()

    @staticmethod
    def _always(event: rsp.Event) -> bool:
        row = find(event.data) if isinstance(event, rsp.Packet) else None
        return row is not None and row.always

    def _halts(self, event: rsp.Event) -> bool:
        """Whether the target must be halted first: it runs, as the client has left it alone."""
        if not isinstance(event, rsp.Packet) or event.data in self._client.calls:
            return False
        row = find(event.data)
        return row is not None and row.halts and self._target.running

    def _handle(self, event: rsp.Event, out: list[bytes]) -> None:
        """Answer one packet, or set the target going, and note how long it took."""
        start = perf_counter_ns()
        self._answer(event, out)
        self._client.last.nanoseconds += perf_counter_ns() - start

    def _answer(self, event: rsp.Event, out: list[bytes]) -> None:
        try:
            if not isinstance(event, rsp.Packet):
                raise PacketError("the packet is longer than PacketSize")
            match dispatch(self._client, event.data):
                case Resume() as resume:
                    self._client.last_resume = resume
                    self._resume(resume)
                    return
                case bytes() | tuple() | None as reply:
                    pass
                case work:
                    self._work = work
                    self._advance(out)
                    return
        except Exception as error:
            reply = self._failure(error)
        self._send(reply, out)
        self._connection.acks = self._client.acks

    def _resume(self, resume: Resume) -> None:
        try:
            self._target.resume(resume)
        except Exception:
            self._halt_if_running()
            raise
        self._running = self._owed = True

    def _advance(self, out: list[bytes]) -> None:
        try:
            if self._work:
                next(self._work)
            return
        except StopIteration as done:
            reply: bytes = done.value
        except Exception as error:
            reply = self._failure(error)
        self._work = None
        self._send(reply, out)

    def _cancel(self, out: list[bytes]) -> None:
        if self._drop_work():
            self._send(self._failure(Cancelled("interrupted")), out)

    def _drop_work(self) -> bool:
        work, self._work = self._work, None
        if work:
            work.close()
        return work is not None

    def _failure(self, error: Exception) -> bytes:
        """What a client is told of *error*; one that nobody meant is logged in full."""
        if not isinstance(error, StubError):
            _log.error("a packet's handler failed", exc_info=error)
            error = MachineError("internal error in the stub; its log says more")
        return reply_for(error, textual=b"error-message" in self._client.features)

    def _send(self, reply: bytes | tuple[bytes, ...] | None, out: list[bytes]) -> None:
        if not isinstance(reply, bytes):
            for each in reply or ():
                self._send(each, out)
            return
        if self._logged:
            self._log_sent(reply)
        out.append(self._connection.send(reply))

    def _log_sent(self, reply: bytes) -> None:
        if self._recorder:
            self._recorder.sent(f"${printable(reply)}")
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("-> $%s", printable(reply))

    def _log_received(self, event: rsp.Event) -> None:
        if self._recorder:
            self._recorder.received(_spell(event))
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("<- %s", _spell(event))

    def _stop_what_goes_on(self, out: list[bytes]) -> None:
        """0x03: the target runs, or a packet's work is under way, or neither."""
        if self._running:
            self._interrupt()
        self._cancel(out)

    def _halt(self) -> None:
        """Halt a target that runs for nobody; packets wait until it is at rest."""
        self._running = True
        self._interrupt()

    def _halt_if_running(self) -> None:
        """After an error that a client takes for the end of what it set going."""
        if self._target.running:
            self._halt()

    def _end_of_guest(self) -> None:
        """The guest is gone, of itself or because the client wished it."""
        if self._client.guest_gone:
            self._owed = False  # killed while it ran: the client expects no stop any more
        elif not (self._client.attached or self._waiting):
            self._client.over = True  # left alone, and gone: as if there were no client
        self._client.guest_gone = True

    def _interrupt(self) -> None:
        try:
            self._target.interrupt()
        except Exception:
            _log.exception("cannot interrupt the target")


class Refusal:
    """The conversation with a client for whom there is no room: GDB is told why.

    It shows the text of an error as the reply to ``qSupported``, its first packet. LLDB begins with
    another and shows none.
    """

    def __init__(self, why: str) -> None:
        """Say nothing yet."""
        self._error = reply_for(PacketError(why), textual=True)
        self._connection = rsp.Connection()
        self.over = False

    def receive(self, data: bytes) -> bytes:
        """Take what arrived; return what is to be sent. Never raises."""
        out = b""
        for event in () if self.over else self._connection.receive(data):
            out += self._connection.answer(event) or b""
            if isinstance(event, rsp.Packet):
                self.over = True
                known = event.data.startswith(b"qSupported")
                return out + self._connection.send(self._error) if known else out
        return out


def _spell(event: rsp.Event) -> str:
    return f"${printable(event.data)}" if isinstance(event, rsp.Packet) else event.value


def _size(event: rsp.Event) -> int:
    return len(event.data) if isinstance(event, rsp.Packet) else 0
