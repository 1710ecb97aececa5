"""Packets that are legal in form and made to cost much, and the limits that bound them."""

import json

import pytest

from gdbstub import rsp
from tests.pure.able_target import AbleTarget
from tests.pure.fake_target import FakeTarget
from tests.pure.transcript import Stage

ZEROS = b"0" * 100_000


@pytest.mark.parametrize("clause", [b";%b", b";cmds:1,%b"])
def test_the_conditions_of_a_breakpoint_are_few(clause: bytes) -> None:
    stage = Stage(AbleTarget())
    for count, reply in ((128, b"$OK#9a"), (129, b"$E16#ac"), (20_000, b"$E16#ac")):
        assert stage.send(b"Z0,40000010,4" + clause % (b"X1,27" * count)) == reply


def test_the_error_says_how_many_conditions_there_may_be() -> None:
    stage = Stage(AbleTarget())
    stage.send(b"qSupported:error-message+")
    assert b"128" in stage.send(b"Z0,40000010,4;" + b"X3,220127" * 1000)


@pytest.mark.parametrize("action", [b";c", b";c:1", b";t", b";s:2", b";r0,4:1"])
def test_the_actions_of_a_resume_are_few(action: bytes) -> None:
    stage = Stage(FakeTarget(cpus=2))
    assert stage.send(b"vCont;s:1" + action * 7).startswith(b"$T05")
    assert stage.send(b"vCont;s:1" + action * 10_000) == b"$E16#ac"


@pytest.mark.parametrize(
    ("packet", "reply"),
    [
        (b"m%b40000000,%b4", b"$1f2003d5#"),
        (b"Z0,%b40000010,%b4", b"$OK#"),
        (b"vCont;r%b40000000,%b40000004:1", b"$T05"),
        (b"m%b,%b4", b"$E0e#"),
        (b"Hg%b", b"$OK#"),
        (b"Hgp%b.%b", b"$OK#"),
        (b"vCont;s:p%b.%b1", b"$T05"),
        (b"m%bx%b", b"$E16#"),
        (b"m0,%b%bx", b"$E16#"),
        (b"Z0,40000000,%b%by", b"$E16#"),
        (b"Hgp1.%b%bx", b"$E16#"),
        (b"vCont;r0,%b%bx", b"$E16#"),
    ],
)
def test_numbers_may_have_any_number_of_zeros_in_front(packet: bytes, reply: bytes) -> None:
    assert Stage().send(packet.replace(b"%b", ZEROS[:50_000])).startswith(reply)


@pytest.mark.parametrize("digits", [b"0", b"00", b"0" * 17, b"f" * 16, b"0" * 99 + b"f" * 16])
def test_a_number_has_sixty_four_bits(digits: bytes) -> None:
    assert Stage().send(b"m" + digits + b",1").startswith(b"$E0e#")
    assert Stage().send(b"m1" + digits + b"0,1").startswith((b"$E16#", b"$E0e#"))


@pytest.mark.parametrize("digits", [b"", b"g", b"1" * 17, b"0x4", b"-4", b" 4"])
def test_what_is_no_number(digits: bytes) -> None:
    assert Stage().send(b"m" + digits + b",1") == b"$E16#ac"


def test_a_line_for_the_target_is_short() -> None:
    stage = Stage(AbleTarget())
    stage.send(b"qSupported:error-message+")
    assert stage.send(b"qRcmd," + b"61" * 1024) != stage.send(b"qRcmd," + b"61" * 1025)
    assert b"1025 bytes" in stage.send(b"qRcmd," + b"61" * 1025)


@pytest.mark.parametrize("clauses", [b";" + b"X1000,%b" * 3, b";X2000,%b;cmds:0,X1,27"])
def test_the_code_of_a_breakpoint_is_short(clauses: bytes) -> None:
    stage = Stage(AbleTarget())
    stage.send(b"qSupported:error-message+")
    size = 2 * int(clauses[2:6], 16)
    assert b"8192" in stage.send(b"Z0,40000010,4" + clauses.replace(b"%b", b"27" * (size // 2)))
    assert not stage.target.inserted
    assert stage.send(b"Z0,40000010,4;X2000," + b"27" * 0x2000) == b"$OK#9a"


def test_a_breakpoint_request_of_no_text_is_refused() -> None:
    """A lone surrogate, which JSON can spell."""
    stage = Stage(AbleTarget())
    sent = stage.send(rb'jMultiBreakpoint:{"breakpoint_requests":["Z0,\ud800","Z0,40000000,4"]}')
    assert b'{"results":["E16","OK"]}' in sent


def test_an_error_does_not_echo_a_name_of_any_length() -> None:
    stage = Stage(AbleTarget())
    stage.send(b"qSupported:error-message+")
    sent = stage.send(b"qXfer:osdata:read:" + b"x" * 100_000 + b":0,100")
    assert sent.startswith(b"$E.there is no table xxx")
    assert b"expected types or threads" in sent
    assert len(sent) < 200


@pytest.mark.parametrize("asked", [b"", b"qSupported:error-message+", b"QEnableErrorStrings"])
def test_the_results_of_many_breakpoint_requests_fit_in_a_packet(asked: bytes) -> None:
    stage = Stage(AbleTarget())
    stage.send(asked)
    for count in (1, 2000, 10_000):
        listed = b",".join([b'""'] * count)
        sent = stage.send(b'jMultiBreakpoint:{"breakpoint_requests":[%b]}' % listed)
        (event,) = rsp.Connection().receive(sent)
        assert isinstance(event, rsp.Packet)
        assert len(event.data) <= rsp.PACKET_SIZE
        results = json.loads(event.data)["results"]
        assert len(results) == count
        assert all(each.startswith(("E16", "E.expected Z")) for each in results)


def test_more_breakpoint_requests_than_fit_are_refused() -> None:
    stage = Stage(AbleTarget())
    stage.send(b"qSupported:error-message+")
    listed = b",".join([b'"Z0,40000010,4"', *[b'""'] * 30_000])
    sent = stage.send(b'jMultiBreakpoint:{"breakpoint_requests":[%b]}' % listed)
    assert sent.startswith(b"$E.30001 breakpoint requests, where at most ")
    assert not stage.target.inserted
