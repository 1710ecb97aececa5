"""Text of breakpoints' commands that nobody takes."""

import asyncio

from gdbstub.agent.printed import MOST, PrintedText
from tests.pure.able_target import AbleTarget
from tests.pure.test_server import (
    all_peers_leave,
    connect,
    serving,
    stop_wait_timeout,
    until,
)

__all__ = ["all_peers_leave", "stop_wait_timeout"]  # fixtures


def test_it_is_taken_once_in_order() -> None:
    printed = PrintedText()
    printed.add(b"a")
    printed.add(b"b")
    assert printed.take() == b"ab"
    assert printed.take() == b""


def test_what_is_not_taken_is_bounded_and_the_loss_is_told() -> None:
    printed = PrintedText()
    lines = MOST // 50 + 100
    for number in range(lines):
        printed.add(b"%049d\n" % number)
    text = printed.take()
    assert len(text) < MOST + 100
    assert text.endswith(
        b"<dprintf: %d bytes were lost: the client took too few>\n"
        % (50 * lines - text.rindex(b"<"))
    )
    printed.add(b"more\n")
    assert printed.take() == b"more\n"


class Printing(AbleTarget):
    def print(self, text: bytes) -> None:
        self._conditions._printed.add(text)
        self.notify()


async def test_a_client_that_does_not_read_is_sent_no_more() -> None:
    target = Printing(lively=False)
    async with serving(target) as server:
        peer = await (await connect(server)).hello()
        peer.send(b"c")
        await until(lambda: target.running)
        client = server._current
        assert client is not None
        while client._writing:
            target.print(b"x" * 0x8000)
            await asyncio.sleep(0)
        transport = client._transport
        assert isinstance(transport, asyncio.Transport)
        sent = transport.get_write_buffer_size()
        for _ in range(100):
            target.print(b"x" * 0x8000)
            await asyncio.sleep(0)
        assert transport.get_write_buffer_size() <= sent
