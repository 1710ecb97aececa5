import io
import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbstub.protocol.record import Recorder, printable


@given(st.binary())
def test_what_is_printed_can_be_read_back(data: bytes) -> None:
    text = printable(data)
    assert text.isascii()
    assert text.isprintable()
    read = re.sub(
        r"\\(x..|\\)", lambda match: chr(int(match[1][1:], 16)) if match[1] != "\\" else "\\", text
    )
    assert read.encode("latin-1") == data


def test_one_line_each() -> None:
    log = io.StringIO()
    recorder = Recorder(log)
    recorder.note("a client\nconnected")
    recorder.received("^C")
    recorder.sent("$OK")
    assert log.getvalue() == "# a client\\x0aconnected\n<- ^C\n-> $OK\n"


def test_every_line_is_flushed() -> None:
    raw = io.BytesIO()
    recorder = Recorder(io.TextIOWrapper(raw))
    recorder.sent("$OK")
    assert raw.getvalue() == b"-> $OK\n"


def test_a_full_disk_ends_the_log_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    with open("/dev/full", "w") as full:
        recorder = Recorder(full)
        with caplog.at_level(logging.WARNING):
            recorder.sent("$OK")
            recorder.sent("$OK")
        assert caplog.text.count("no longer recorded") == 1
        with pytest.raises(OSError, match="No space"):
            full.close()
