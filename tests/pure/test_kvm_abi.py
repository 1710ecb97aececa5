"""Names of KVM's numbers, as ``monitor stats`` shows them, and the generated declarations."""

import runpy
from pathlib import Path

from gdbstub.kvm import abi

GENERATOR = Path(__file__).parents[2] / "scripts" / "generate_cdef.py"


def test_requests_and_exits_have_their_names() -> None:
    requests = abi.names()
    assert requests[0xAE80] == "KVM_RUN"
    assert requests[0x4208_AE9B] == "KVM_SET_GUEST_DEBUG"
    assert not any(name.startswith(("KVM_CAP_", "KVM_EXIT_")) for name in requests.values())
    assert abi.names("EXIT_")[4] == "DEBUG"


def test_the_declarations_are_those_of_the_header() -> None:
    made = runpy.run_path(str(GENERATOR))
    for place in made["PLACES"]:
        assert place.read_text() == made["text"](place), f"{place} is old: make generate"
