"""Completion in a shell, as the script that click makes asks for it."""

import pytest

from tests.cli.program import Place

ASKED = {
    "gdbstub do": ["plain,doctor"],
    "gdbstub run --ho": ["plain,--host"],
    "gdbstub run --host ": ["plain,auto", "plain,kvm", "plain,lab"],
    "gdbstub lab d": ["plain,down"],
    "gdbstub run ": ["file,"],
    "gdbstub run Im": ["file,Im"],
    "gdbstub run --initrd in": ["file,in"],
}


@pytest.mark.parametrize("line", ASKED)
def test_what_may_follow(place: Place, line: str) -> None:
    words = line.split(" ")
    place.environment |= {
        "_GDBSTUB_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    assert place.call().stdout.splitlines() == ASKED[line]
