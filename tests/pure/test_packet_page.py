"""docs/packets.md is what the table of packets says."""

import pytest

from gdbstub.protocol.packets import PACKETS
from tests.packet_page import PAGE, page


def test_the_page_is_as_make_docs_would_write_it() -> None:
    assert PAGE.read_text() == page(), "docs/packets.md is old: make docs"


def test_every_row_says_what_the_packet_does() -> None:
    rows = page().splitlines()[-len(PACKETS) :]
    said = {row.split(" | ")[0].removeprefix("| ").strip("`"): row for row in rows}
    assert said.keys() == {name.decode() for name in PACKETS}
    for row in rows:
        assert row.split(" | ")[2].strip(), row


@pytest.mark.parametrize(
    ("packet", "seen"),
    [
        ("vRun;", "GDB 10 13 16-18 |"),
        ("vCont?", "GDB 10 13 16-18, LLDB 14-23 |"),
        ("k", "| GDB 10, LLDB 14-21 |"),
    ],
)
def test_every_client_of_every_session_is_named_once(packet: str, seen: str) -> None:
    row = next(line for line in page().splitlines() if line.startswith(f"| `{packet}`"))
    assert row.endswith(seen)
