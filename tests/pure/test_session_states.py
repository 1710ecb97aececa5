"""The states of a session: every transition of the table, and whatever sequence of events."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from gdbstub import rsp
from gdbstub.protocol.packets import ClientState, PacketCache, client_state
from gdbstub.protocol.session import Session
from gdbstub.protocol.states import (
    ATTACHED,
    AWAITING_PACKET,
    MOVING,
    OVER,
    SESSION,
    SessionEvent,
    SessionState,
)
from gdbstub.states import Transitions
from gdbstub.target import Exited, Signal, Stopped
from tests.pure.patient_target import PatientTarget

SEARCH = b"qSearch:memory:0;ffffffffffffffff;needle"
NO_ACKS = rsp.encode(b"QStartNoAckMode")
S, E = SessionState, SessionEvent

#: Steps, and the state after them. ``running`` begins with a target that runs; other words are
#: events, and what is left are packets.
ROUTES = [
    ("qC", S.IDLE),
    (f"{SEARCH.decode()}", S.WORKING),
    (f"{SEARCH.decode()} advance", S.WORKING),
    (f"{SEARCH.decode()} ^C", S.IDLE),
    (f"{SEARCH.decode()} exit", S.ENDED),
    (f"! {SEARCH.decode()} exit", S.GONE),
    (f"{SEARCH.decode()} vKill;1", S.ENDED),
    (f"{SEARCH.decode()} close", S.CLOSED),
    ("c", S.RUNNING),
    ("c ^C", S.RUNNING),
    ("c stop", S.IDLE),
    ("vRun;", S.IDLE),
    ("D", S.CLOSED),
    ("! D", S.DETACHED),
    ("! D D ?", S.DETACHED),
    ("vKill;1", S.ENDED),
    ("! vKill;1", S.GONE),
    ("exit", S.ENDED),
    ("! exit", S.GONE),
    ("! qRcmd,6162", S.ENDED),
    ("close", S.CLOSED),
    ("c exit", S.ENDED),
    ("! c exit", S.GONE),
    ("c k", S.CLOSED),
    ("c k exit", S.ENDED),
    ("c vKill;1", S.ENDED),
    ("c vKill;1 exit", S.ENDED),
    ("c close", S.CLOSED),
    ("running", S.HALTING),
    ("running stop", S.IDLE),
    ("running ? stop", S.IDLE),
    ("running exit", S.ENDED),
    ("running ? exit", S.ENDED),
    ("running k", S.CLOSED),
    ("running vKill;1", S.ENDED),
    ("running close", S.CLOSED),
    ("! D close", S.CLOSED),
    ("! D exit", S.ENDED),
    ("! D vKill;1", S.GONE),
    ("! D vKill;1 exit", S.GONE),
    ("! D vKill;1 vRun;", S.KILLING),
    ("! D vKill;1 vRun; stop", S.IDLE),
    ("! D vAttach;1", S.ATTACHING),
    ("! D vAttach;1 ^C", S.ATTACHING),
    ("! D vAttach;1 stop", S.IDLE),
    ("! D vAttach;1 exit", S.GONE),
    ("! D vAttach;1 k", S.KILLING),
    ("! D vAttach;1 close", S.CLOSED),
    ("! D vRun;61;62 stop", S.DETACHED),
    ("! D vRun;61;62 stop vAttach;1", S.ATTACHING),
    ("! D vRun;61;62 stop vAttach;1 stop", S.IDLE),
    ("! c D vAttach;1 stop", S.ATTACHING),
    ("! c D vAttach;1 stop stop", S.IDLE),
    ("! c vKill;1", S.KILLING),
    ("! c vKill;1 k", S.KILLING),
    ("! c vKill;1 stop", S.GONE),
    ("! c vKill;1 exit", S.GONE),
    ("! c vKill;1 close", S.ENDED),
    ("! vKill;1 k", S.GONE),
    ("! vKill;1 vRun;", S.IDLE),
    ("! vKill;1 close", S.ENDED),
]


@contextmanager
def recorded_transitions() -> Iterator[set[tuple[SessionState, SessionEvent]]]:
    """Record the transitions that sessions make."""
    made: set[tuple[SessionState, SessionEvent]] = set()
    enter = ClientState.enter

    def enter_and_record(self: ClientState, event: SessionEvent) -> None:
        before = self.state
        enter(self, event)
        made.add((before, event))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClientState, "enter", enter_and_record)
        yield made


def follow(route: str) -> tuple[Session, PatientTarget]:
    """Take the steps of *route*."""
    first, *others = route.split(" ")
    target = PatientTarget(running=first == "running")
    session = Session(target)
    session.receive(NO_ACKS)
    for step in others if target.running else (first, *others):
        match step:
            case "^C":
                session.receive(b"\x03")
            case "advance":
                session.advance()
            case "close":
                session.close()
            case "exit":
                target.stop(Exited())
                session.target_stopped()
            case "stop":
                # A killed target may still stop for another reason that came first.
                target.stop(Stopped(1))
                session.target_stopped()
            case packet:
                session.receive(rsp.encode(packet.encode()))
    return session, target


@pytest.mark.parametrize(("route", "state"), ROUTES)
def test_the_state_after_a_route(route: str, state: SessionState) -> None:
    session, target = follow(route)
    assert session.state is state
    assert session.over is (state in OVER)
    assert session.busy is (state is S.WORKING)
    session.close()
    session.close()
    assert session.state in OVER
    assert target.left


def test_the_routes_make_every_transition_of_the_table() -> None:
    with recorded_transitions() as made:
        for route, _ in ROUTES:
            follow(route)[0].close()
    assert made == SESSION.rows.keys()


def without(patch: pytest.MonkeyPatch, state: SessionState, event: SessionEvent) -> None:
    """Have sessions follow a table that lacks one transition."""
    rows = {key: after for key, after in SESSION.rows.items() if key != (state, event)}
    patch.setattr(client_state, "_after", Transitions("session", rows).after)


def test_a_bug_in_the_table_does_not_reach_the_client(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    illegal_transitions: list[BaseException],
) -> None:
    without(monkeypatch, S.RUNNING, E.STOP)
    session, target = follow("c stop")
    assert session.state is S.CLOSED
    assert "no transition for the event STOP in the state RUNNING" in caplog.text
    assert target.calls[-1] == "release"
    assert session.receive(rsp.encode(b"qC")) == b""
    assert illegal_transitions
    illegal_transitions.clear()


def test_a_bug_in_a_handlers_transition_is_an_error_reply(
    monkeypatch: pytest.MonkeyPatch, illegal_transitions: list[BaseException]
) -> None:
    without(monkeypatch, S.IDLE, E.DETACH)
    session = Session(PatientTarget())
    assert session.receive(NO_ACKS + rsp.encode(b"D")) == b"+$OK#9a" + rsp.encode(b"E05")
    assert session.state is S.IDLE
    assert len(illegal_transitions) == 1
    illegal_transitions.clear()


#: Packets with one reply each, and those that have one even while the target moves.
PACKETS = [b"qC", b"?", b"g", b"m0,4", b"Hg1", b"c", b"vCont;s:1", b"vCont;c", SEARCH, b"!", b"D"]
PACKETS += [b"vAttach;1", b"vRun;", b"vRun;61;62", b"nonsense", b"vKill;1"]
ALWAYS = (b"vKill;1", b"k")


class AnySession(RuleBasedStateMachine):
    """One client after another over one target, in any sequence of events."""

    @initialize(running=st.booleans(), extended=st.booleans())
    def begin(self, running: bool, extended: bool) -> None:
        self.target = PatientTarget(running=running)
        self.connect(kill=False, cached=True, extended=extended)

    def connect(self, *, kill: bool, cached: bool, extended: bool) -> None:
        """Begin a session of a new client."""
        cache = PacketCache() if cached else PacketCache(0)
        self.session = Session(self.target, kill_on_disconnect=kill, cache=cache)
        self.extended = extended
        self.expected = 1 + extended  # replies to come
        self.heard(self.session.receive(NO_ACKS))
        if extended:
            self.heard(self.session.receive(rsp.encode(b"!")))

    def heard(self, data: bytes) -> list[bytes]:
        """Check *data* as a client would; count the replies."""
        events = list(rsp.Connection().receive(data))
        packets = [event.data for event in events if isinstance(event, rsp.Packet)]
        acks = [event for event in events if event is rsp.ControlByte.ACK]
        assert len(packets) + len(acks) == len(events)
        assert data.replace(b"+$", b"$").strip(b"+") == b"".join(map(rsp.encode, packets))
        self.expected -= len(packets)
        assert self.expected >= 0, packets
        return packets

    def is_over(self) -> bool:
        return self.session.over

    @precondition(lambda self: not self.is_over())
    @rule(packets=st.lists(st.sampled_from(PACKETS), min_size=1, max_size=3))
    def packets_arrive(self, packets: list[bytes]) -> None:
        for packet in packets:
            before = self.session.state
            if before in OVER:
                return
            if packet == b"vKill;1" and before is S.RUNNING:
                self.expected -= not self.target.trouble  # its stop is not told any more
            self.expected += 1
            said = self.heard(self.session.receive(rsp.encode(packet)))
            if packet not in ALWAYS and (before in MOVING or before is S.WORKING):
                assert said == []

    @precondition(lambda self: self.session.state is S.IDLE and self.extended)
    @rule(packets=st.sampled_from([[b"D"], [b"D", b"vAttach;1"], [b"c", b"vKill;1"]]))
    def guest_is_left_or_killed(self, packets: list[bytes]) -> None:
        self.packets_arrive(packets)

    @precondition(lambda self: self.session.state in (S.DETACHED, S.GONE))
    @rule(packet=st.sampled_from([b"vAttach;1", b"vRun;", b"vRun;61;62", b"k"]))
    def without_a_guest(self, packet: bytes) -> None:
        if packet == b"k":
            self.client_quits()
        else:
            self.packets_arrive([packet])

    @precondition(lambda self: self.session.state in (S.ATTACHING, S.KILLING))
    @rule(packet=st.sampled_from([b"vKill;1", b"qC"]))
    def while_attaching_or_killing(self, packet: bytes) -> None:
        self.packets_arrive([packet])

    @precondition(lambda self: not self.is_over())
    @rule()
    def client_quits(self) -> None:
        self.target.trouble = None
        if self.session.state is S.WORKING:
            self.heard(self.session.receive(b"\x03"))
            return
        if self.session.state is S.RUNNING:
            self.expected -= 1
        assert self.heard(self.session.receive(rsp.encode(b"k"))) == []

    @precondition(lambda self: not self.is_over())
    @rule()
    def interrupt_arrives(self) -> None:
        before = self.session.state
        interrupts = self.target.calls.count("interrupt")
        said = self.heard(self.session.receive(b"\x03"))
        if before in MOVING:
            assert said == []
            if not self.target.trouble:
                assert self.target.calls.count("interrupt") in (interrupts, interrupts + 1)
        elif before is S.WORKING:
            assert said[:1] == [b"E04"]
        else:
            assert said == []

    @rule()
    def slice_of_work(self) -> None:
        if self.session.state is not S.WORKING:
            assert self.session.advance() == b""
        else:
            self.heard(self.session.advance())

    @precondition(lambda self: self.target.running)
    @rule(report=st.sampled_from([Stopped(1), Stopped(2, Signal.INT), None]))
    def target_stops(self, report: Stopped | None) -> None:
        before = self.session.state
        self.target.come_to_rest(report)
        said = self.heard(self.session.target_stopped())
        assert bool(said) >= (before is S.RUNNING)
        if before is S.RUNNING:
            assert said[0][:1] in (b"T", b"W", b"E")

    @rule()
    def guest_ends(self) -> None:
        before = self.session.state
        self.target.stop(Exited(3))
        said = self.heard(self.session.target_stopped())
        if before is S.RUNNING:
            assert said[0] in (b"W03", b"E05")

    @precondition(lambda self: self.target.news is None)
    @rule()
    def nothing_to_tell(self) -> None:
        if self.session.state in MOVING and not self.target.running:
            return  # as good as a stop
        assert self.heard(self.session.target_stopped()) == [] or self.session.state is not S.IDLE

    @rule()
    def something_fails(self) -> None:
        self.target.trouble = ZeroDivisionError("as the test wants it")

    @rule(kill=st.booleans(), cached=st.booleans(), extended=st.booleans())
    def client_goes_and_another_comes(self, kill: bool, cached: bool, extended: bool) -> None:
        self.target.trouble = None
        before, calls = self.session.state, len(self.target.calls)
        self.session.close()
        made = self.target.calls[calls:]
        assert made in (["release"], ["kill"]) if before in ATTACHED else made == []
        assert self.session.over
        assert self.session.receive(rsp.encode(b"qC")) == b""
        if self.target.ended:
            self.target = PatientTarget()
        self.connect(kill=kill, cached=cached, extended=extended)

    @invariant()
    def each_packet_has_its_reply_when_nothing_goes_on(self) -> None:
        if self.session.state in AWAITING_PACKET:
            assert self.expected == 0
        if self.session.state is S.RUNNING:
            assert self.expected > 0
        assert self.session.guest_gone is (self.session.state in (S.KILLING, S.GONE, S.ENDED))

    def teardown(self) -> None:
        if hasattr(self, "session"):
            self.session.close()
            assert self.session.over


TestAnySession = AnySession.TestCase
TestAnySession.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


def test_an_interrupt_before_many_waiting_packets_keeps_their_order() -> None:
    session = Session(PatientTarget())
    session.receive(rsp.encode(b"QStartNoAckMode") + b"+")
    session.receive(rsp.encode(b"qSearch:memory:40000000;ffffffffffff;needle"))
    assert session.busy
    out = session.receive(b"".join(rsp.encode(b"m40000000,1") for _ in range(600)))
    assert not out
    out = session.receive(b"\x03" + rsp.encode(b"qC"))
    while session.busy:
        out += session.advance()
    replies = out.split(b"$")[1:]
    assert len(replies) == 602
    assert replies[-1].startswith(b"QC"), [n for n, r in enumerate(replies) if r.startswith(b"QC")]
