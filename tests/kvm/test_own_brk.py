"""A BRK of the guest's own goes to the guest's own handler, whatever a debugger has armed."""

import re

import pytest

from tests.kvm.conftest import Built
from tests.kvm.debugging import gdb
from tests.kvm.stub import Stub

NOTED = ("esr", "elr", "spsr", "far", "taken")


@pytest.mark.parametrize("kind", ["break", "hbreak"])
def test_the_handler_runs_as_if_nobody_debugged(own_brk: Built, kind: str) -> None:
    with Stub(own_brk.path) as stub:
        said = gdb(
            stub, own_brk.path,
            f"{kind} elsewhere", "continue", "continue",
            *(f'printf "{name} %#lx\\n", {name}' for name in NOTED),
            "kill",
        )  # fmt: skip
    seen = {
        name: int(value, 0) for name, value in re.findall(r"^(\w+) (0x[0-9a-f]+|0)$", said, re.M)
    }
    assert seen["esr"] == 0xF200_0800, said
    assert seen["elr"] == own_brk["brk_place"]
    # EL1h, D, I and F masked, A not; Z and C set by the comparison.
    assert seen["spsr"] == 0x6000_02C5
    assert seen["far"] == 0x1122_3344_5566_7788, "a BRK leaves FAR alone"
    assert seen["taken"] == 2


def test_stepping_onto_it_ends_in_the_vector(own_brk: Built) -> None:
    with Stub(own_brk.path) as stub:
        said = gdb(
            stub, own_brk.path,
            "break *brk_place", "continue", "delete", "stepi",
            "output/x $pc - (long)&vectors", "echo \\n",
            "kill",
        )  # fmt: skip
    assert "0x200" in said, said
