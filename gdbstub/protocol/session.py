"""Session with one client: bytes in, bytes out, and a target that is resumed and stops.

It does no I/O and never waits. The server brings the bytes, and tells of stops.
"""

import logging
from collections.abc import Callable, Iterable
from time import perf_counter_ns
from typing import Final

from gdbstub import rsp
from gdbstub.capabilities import BreakpointConditions, breakpoint_conditions
from gdbstub.errors import Cancelled, PacketError
from gdbstub.protocol.incoming import Turn, incoming, keep
from gdbstub.protocol.packets import (
    ClientState,
    PacketCache,
    PacketDefinition,
    Reply,
    Work,
    console,
    dispatch,
    find,
    stop_replies,
)
from gdbstub.protocol.record import LoggedConnection, Recorder, new_connection
from gdbstub.protocol.states import MOVING, SessionEvent, SessionState
from gdbstub.protocol.target_calls import ENDING, failure, interrupt, log_failure, release
from gdbstub.protocol.waiting import WaitingEvents
from gdbstub.target import Exited, Resume, Target

_log = logging.getLogger(__name__)

# Names of their own, for packets' sake: before Python 3.12 ``Enum.MEMBER`` is slow.
_IDLE: Final = SessionState.IDLE
_WORKING: Final = SessionState.WORKING
_RUNNING: Final = SessionState.RUNNING
_RESUME: Final = SessionEvent.RESUME
_STOP: Final = SessionEvent.STOP


class Session:
    """Session with one client, from its connection to its end; ``state`` is a ``SessionState``.

    While the target runs, packets wait and 0x03 interrupts. Each resume gets exactly one
    stop reply. A target that runs when the client connects is halted.
    """

    def __init__(
        self,
        target: Target,
        recorder: Recorder | None = None,
        *,
        kill_on_disconnect: bool = False,
        encode: Callable[[bytes], bytes] = rsp.encode,
        cache: PacketCache | None = None,
    ) -> None:
        """Begin a session; a target that runs is interrupted.

        *encode* frames replies as ``rsp.encode`` does. *cache* is for this session alone.
        """
        self._target = target
        self._connection = new_connection(encode, recorder)
        self._logged = isinstance(self._connection, LoggedConnection)
        self._client = ClientState(
            target, rsp.PACKET_SIZE, kill_on_disconnect=kill_on_disconnect, cache=cache
        )
        self._cache = self._client.cache
        self._waiting = WaitingEvents()
        self._work: Work | None = None  # what is worked on in the state WORKING
        self._behind = False  # packets wait for the client to take the replies to those before
        self._in_frame = False  # a part of a packet has arrived
        self._conditions = breakpoint_conditions(target)
        if target.running:
            self._halt()

    @property
    def state(self) -> SessionState:
        """State of the session."""
        return self._client.state

    @property
    def over(self) -> bool:
        """True if nothing more is sent: the client detached or is gone, or the guest has ended."""
        return self._client.over

    @property
    def busy(self) -> bool:
        """True while packets are to be answered: ``advance`` is to be called, in another turn."""
        return self._client.state is _WORKING or (self._behind and not self._client.over)

    @property
    def at_rest(self) -> bool:
        """True if all packets are answered, and the target is halted."""
        return self._client.state is _IDLE and not self._behind

    @property
    def guest_gone(self) -> bool:
        """True if the guest was killed or has ended."""
        return self._client.guest_gone

    def receive(self, data: bytes) -> bytes:
        """Take bytes that arrived; return bytes to send. Never raises."""
        out: list[bytes] = []
        try:
            known = self._cache.packets.get(data)
            connection, client = self._connection, self._client
            if known is None or client.state is not _IDLE or self._in_frame or self._behind:
                self._receive_events(data, out)
            else:
                self._cache.hits += 1
                if connection.acks or self._logged:
                    out.append(connection.answer(rsp.Packet(known.data)))
                client.last_timing = known.timing
                client.last_timing.count += 1
                self._obey(known.call, out)
        except ENDING as error:
            self._give_up(error)
        return out[0] if len(out) == 1 else b"".join(out)

    def _receive_events(self, data: bytes, out: list[bytes]) -> None:
        connection = self._connection
        if self._behind:
            if not keep(connection, data):
                self._close()
            return
        (events, arrived), turn = incoming(connection, data), Turn(out)
        for event in events:
            if self._client.over:
                return
            if (self._logged or connection.acks) and (answer := connection.answer(event)):
                out.append(answer)
            if self._behind:  # an interrupt before it had packets handled that waited
                self._wait(event)
            else:
                self._take(event, out, arrived)
            if turn.over() or (self._behind and turn.events > 1):
                self._behind = True
                break
        self._in_frame = connection.in_frame

    def target_stopped(self) -> bytes:
        """Ask the target, after ``Target.notify``; return bytes to send, if any. Never raises."""
        out: list[bytes] = []
        start = perf_counter_ns()
        client, before = self._client, self._client.state
        try:
            try:
                if self._conditions:
                    self._send_output(self._conditions, out)
                report = self._target.take_report()
                if isinstance(report, Exited):
                    self._guest_ended(report, out)
                elif before not in MOVING:
                    return b""
                elif report is None and (before is _RUNNING or self._target.running):
                    return b"".join(out)  # a stop reply needs a reason: another notify will come
                else:
                    client.enter(_STOP)
                    if before is _RUNNING and report is not None:
                        self._send(stop_replies(client, report), out)
                        client.stop_timing.count += 1
                        client.stop_timing.nanoseconds += perf_counter_ns() - start
            except Exception as error:
                self._stop_failed(before, error, out)
            if self._waiting:
                self._resume_waiting(out)
        except ENDING as error:
            self._give_up(error)
        return out[0] if len(out) == 1 else b"".join(out)

    def _guest_ended(self, report: Exited, out: list[bytes]) -> None:
        """Tell the client, if a stop reply is owed; close the session, unless it can go on."""
        client, before = self._client, self._client.state
        if before is _IDLE or before is _WORKING:
            # The report may be of a guest that was killed, and that was started again since.
            if not isinstance(self._target.report(), Exited):
                return
            self._cancel(out)
        client.enter(SessionEvent.EXIT)
        if before is _RUNNING:
            self._send(stop_replies(client, report), out)
            client.stop_timing.count += 1
        self._resume_waiting(out)
        # In extended mode the client can start the guest again, if it has not left it.
        if client.state is SessionState.GONE and (
            before is SessionState.DETACHED or not client.extended
        ):
            client.enter(SessionEvent.CLOSE)

    def _stop_failed(self, before: SessionState, error: Exception, out: list[bytes]) -> None:
        log_failure("cannot tell why the target stopped", error)
        if before not in MOVING:
            return
        if self._client.state is before:
            self._client.enter(_STOP)
        if before is _RUNNING:
            self._send((failure(error, self._client.error_reply),), out)
        if self._target.running:
            self._halt()

    def _send_output(self, conditions: BreakpointConditions, out: list[bytes]) -> None:
        """Send what breakpoints' commands have printed, if a stop reply is still to come."""
        if (output := conditions.take_output()) and self._client.state is _RUNNING:
            self._send(console(output, self._client.packet_size), out)

    def advance(self) -> bytes:
        """Do a slice of a packet's work, or answer some packets; return bytes to send, if any.

        Never raises. Packets wait during the work, and 0x03 ends it with an error.
        """
        out: list[bytes] = []
        try:
            self._advance(out)
            self._behind = False
            self._resume_waiting(out)
            self._receive_events(b"", out)
        except ENDING as error:
            self._give_up(error)
        return b"".join(out)

    def keep_alive(self) -> bytes:
        """Return bytes that have the client wait on for a reply. GDB waits 2 s for a byte."""
        return b"+" if self._client.state in (_WORKING, SessionState.HALTING) else b""

    def close(self) -> None:
        """End the session: the client is gone. Never raises."""
        try:
            self._close()
        except ENDING as error:
            self._give_up(error)

    def _close(self) -> None:
        self._waiting.clear()
        self._drop_work()
        client = self._client
        if client.over:
            return
        attached = client.attached
        if attached and client.kill_on_disconnect:
            client.enter(SessionEvent.KILL)
        client.enter(SessionEvent.CLOSE)
        if attached:
            release(self._target, kill=client.kill_on_disconnect)

    def _give_up(self, error: Exception) -> None:
        """Log *error*, one of ``ENDING``, and close the session in any state."""
        log_failure("the session is closed", error)
        self._work = None
        self._waiting.clear()
        if not self._client.over:
            self._client.state = SessionState.CLOSED
            release(self._target, kill=self._client.kill_on_disconnect)

    def _take(self, event: rsp.Event, out: list[bytes], arrived: bytes) -> None:
        """Handle one event now, or have it wait until the target is at rest."""
        moving = (state := self._client.state) in MOVING
        if event is rsp.ControlByte.FOREIGN:
            _log.warning("disconnecting a client that speaks HTTP or TLS")
            self._close()
        elif isinstance(event, rsp.Packet) or event is rsp.ControlByte.OVERSIZED:
            if moving or state is _WORKING:
                if (row := _row(event)) and row.while_running:
                    self._cancel(out)
                    self._handle(event, out)
                    self._resume_waiting(out)
                else:
                    self._wait(event)
            elif state is not _IDLE and self._halts(event):
                self._halt()
                self._wait(event)
            else:
                self._handle(event, out, arrived)
        elif event is rsp.ControlByte.INTERRUPT and (moving or state is _WORKING):
            self._interrupt_or_cancel(out)
            if self._waiting:
                self._wait(event)  # it may be meant for what the packets before it start
            if state is _WORKING:
                self._resume_waiting(out)

    def _resume_waiting(self, out: list[bytes]) -> None:
        """Handle the events that wait, until the target moves or a packet is worked on."""
        client, turn = self._client, Turn(out)
        while self._waiting and not client.over:
            if turn.over():
                self._behind = True
                return
            event = self._waiting[0]
            if event is rsp.ControlByte.INTERRUPT:
                self._interrupt_or_cancel(out)
            elif client.state in MOVING or client.state is _WORKING:
                return
            elif client.state is not _IDLE and self._halts(event):
                self._halt()
                return
            else:
                self._handle(event, out)
            self._waiting.popleft()

    def _wait(self, event: rsp.Event) -> None:
        self._waiting.append(event)
        if self._waiting.full:
            _log.warning("disconnecting the client, which awaits no reply: %s", self._waiting)
            self._close()

    def _halts(self, event: rsp.Event) -> bool:
        """Return True if the target runs detached and must be halted for this packet."""
        return bool((row := _row(event)) and row.must_halt(self._target))

    def _handle(self, event: rsp.Event, out: list[bytes], arrived: bytes = b"") -> None:
        """Obey one packet."""

        def call() -> Reply:
            if not isinstance(event, rsp.Packet):
                raise PacketError(f"the packet is longer than PacketSize, {rsp.PACKET_SIZE} bytes")
            return dispatch(self._client, event.data, arrived)

        self._obey(call, out)

    def _obey(self, call: Callable[[], Reply], out: list[bytes]) -> None:
        """Send the reply, resume the target, or begin the work, as a packet's handler says.

        The time that it takes is noted.
        """
        start = perf_counter_ns()
        try:
            result = call()
        except Exception as error:
            result = failure(error, self._client.error_reply)
        match result:
            case bytes() as reply:
                out.append(self._connection.send(reply))
            case Resume() as resume:
                self._resume(resume, out)
            case tuple() as replies:
                self._send(replies, out)
            case None:
                pass
            case work:
                self._client.enter(SessionEvent.WORK)
                self._work = work
                self._advance(out)
        self._connection.acks = self._client.acks
        self._client.last_timing.nanoseconds += perf_counter_ns() - start

    def _resume(self, resume: Resume, out: list[bytes]) -> None:
        self._client.last_resume = resume
        try:
            self._target.resume(resume)
        except Exception as error:
            if self._target.running:  # the reply tells the client that its resume has ended
                self._halt()
            self._send((failure(error, self._client.error_reply),), out)
        else:
            self._client.enter(_RESUME)

    def _advance(self, out: list[bytes]) -> None:
        if self._work is None:
            return
        try:
            if (ahead := next(self._work)) is not None:
                self._send((ahead,), out)
            return
        except StopIteration as done:
            reply: bytes = done.value
        except Exception as error:
            reply = failure(error, self._client.error_reply)
        self._drop_work()
        self._send((reply,), out)

    def _cancel(self, out: list[bytes]) -> None:
        if self._drop_work():
            self._send((failure(Cancelled("interrupted"), self._client.error_reply),), out)

    def _drop_work(self) -> bool:
        """End the work on a packet; return True if there was any."""
        work, self._work = self._work, None
        if work is None:
            return False
        self._client.enter(SessionEvent.DONE)
        work.close()
        return True

    def _send(self, replies: Iterable[bytes], out: list[bytes]) -> None:
        out.extend(map(self._connection.send, replies))

    def _interrupt_or_cancel(self, out: list[bytes]) -> None:
        """Obey 0x03: interrupt a target that moves, or cancel the work on a packet."""
        if self._client.state in MOVING:
            interrupt(self._target)
        self._cancel(out)

    def _halt(self) -> None:
        """Halt a target that the client has not resumed; packets wait until it is at rest."""
        self._client.enter(SessionEvent.HALT)
        interrupt(self._target)


def _row(event: rsp.Event) -> PacketDefinition | None:
    return find(event.data) if isinstance(event, rsp.Packet) else None
