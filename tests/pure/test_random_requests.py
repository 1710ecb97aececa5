"""Requests of a web page of a rebound name, made at random: none of their packets is obeyed.

The page chooses the method, the path, headers and the body; the head comes in one segment or more.
"""

import asyncio
import random
import string
from typing import Final

import pytest

from gdbstub import rsp
from tests.pure.fake_target import FakeTarget
from tests.pure.test_server import all_peers_leave, connect, serving

__all__ = ["all_peers_leave"]  # a fixture

#: Characters of a token (RFC 9110, 5.6.2).
TOKEN: Final = "!#$%&'*+.^_`|~-" + string.digits + string.ascii_letters
PACKETS: Final = [b"$k#6b", b"$c#63", b"$D#44", b"$g#67", b"+$k#6b", b"-$R00#b2"]
DATA: Final = [*PACKETS, rsp.encode(b"M40000000,4:deadbeef"), b"\x03", b"$", b"#00", b"\r\n", b"\0"]
PATH: Final = [b"$", b"a", b"%20", b"+", b"-", b"?", b"$k#6b", b"//", b"}", b"*", b":", b","]
#: Sizes of a segment: the least that each must take, and usual ones.
SEGMENTS: Final = [536, 1000, 1448, 65_536]


def token(draw: random.Random, least: int, most: int) -> bytes:
    return "".join(draw.choices(TOKEN, k=draw.randint(least, most))).encode()


def method(draw: random.Random) -> bytes:
    choices = [
        token(draw, 1, 20),
        draw.choice(PACKETS) + token(draw, 0, 8),
        b"+" * draw.randint(1, 700),
        b"$" + token(draw, 0, 600),
        b"$" * draw.randint(1, 4) + draw.choice(PACKETS),
        token(draw, 400, 700),
    ]
    return draw.choice(choices)


def request(draw: random.Random) -> bytes:
    path = b"/" + b"".join(draw.choices(PATH, k=draw.randint(0, 12)))
    values = [*PACKETS, b"$", b"a" * draw.randint(0, 3000)]
    headers = [b"X-%d: %b\r\n" % (n, draw.choice(values)) for n in range(draw.randint(0, 5))]
    body = b"".join(draw.choices(DATA, k=draw.randint(0, 10)))
    head = b"Host: localhost:1234\r\n" + b"".join(headers) + b"Content-Length: %d\r\n" % len(body)
    return b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method(draw), path, head, body)


@pytest.mark.timeout(120)
async def test_no_packet_of_a_request_is_obeyed() -> None:
    draw = random.Random(1)
    target = FakeTarget(lively=False, running=True)
    async with serving(target) as server:
        for _ in range(150):
            said, at = request(draw), 0
            peer = await connect(server)
            while at < len(said) and not peer.writer.is_closing():
                size = draw.choice(SEGMENTS)
                peer.writer.write(said[at : at + size])
                await asyncio.sleep(0)
                at += size
            assert await peer.ended() == b"", said
            assert target.calls == [], said
            assert target.running, said
