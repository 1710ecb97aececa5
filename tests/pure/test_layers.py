"""The import table of docs/architecture.md, enforced."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "gdbstub"

# Room -> the rooms that it may import. A folder is one room.
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "bits": set(),
    "rsp": set(),
    "record": set(),
    "endpoint": {"errors"},
    "aarch64": {"bits", "errors"},
    "target": {"aarch64", "agent", "errors"},
    "program": {"target"},
    "conditions": {"agent", "errors", "target"},
    "sliced": {"aarch64", "agent", "conditions", "target"},
    "machine": {"aarch64"},
    "agent": {"errors"},
    "packets": {"target", "errors", "aarch64", "agent", "program"},
    "session": {"rsp", "packets", "target", "errors", "record"},
    "server": {"session", "target", "endpoint", "errors", "record", "rsp"},
    "library": {"server", "target", "endpoint", "record"},
    "swbp": set(),
    "watchpoints": {"aarch64", "target"},
    "hwbp": {"errors", "aarch64", "machine", "target", "watchpoints"},
    "virtual_memory": {"errors", "aarch64", "machine", "swbp"},
    "virtual_tags": {"aarch64", "machine", "virtual_memory"},
    "guest_exception": {"aarch64", "errors", "machine"},
    "stepping": {"machine", "aarch64"},
    "breakpoints": {
        "errors", "aarch64", "agent", "target", "machine", "swbp", "hwbp", "virtual_memory",
        "watchpoints",
    },
    "verdicts": {
        "aarch64", "breakpoints", "client_registers", "errors", "machine", "swbp", "target",
        "watchpoints",
    },
    "fetch": {"errors", "machine", "virtual_memory"},
    "courses": {
        "aarch64", "fetch", "guest_exception", "machine", "stepping", "target", "verdicts",
    },
    "client_registers": {"errors", "aarch64", "machine"},
    "turns": {"target"},
    "debugger": {
        "errors", "aarch64", "agent", "target", "machine", "breakpoints", "client_registers",
        "courses", "turns", "verdicts",
        "virtual_tags",
    },
    "monitor": {
        "errors", "aarch64", "bits", "target", "machine", "breakpoints", "debugger", "linux",
        "program", "virtual_memory",
    },
    "kvm_cdef": set(),
    "kvm_abi": {"kvm_cdef"},
    "kvm_gate": set(),
    "kvm_guest_debug": {"kvm_abi", "machine", "errors"},
    "kvm_one_reg": {"kvm_abi", "errors", "aarch64"},
    "kvm_vcpu": {
        "kvm_abi", "kvm_gate", "kvm_guest_debug", "kvm_one_reg", "machine", "errors", "aarch64",
    },
    "host_memory": {"kvm_abi", "errors"},
    "host_frame": {"host_memory", "kvm_abi", "rsp"},
    "kvm_memory": {"host_memory", "kvm_abi", "errors"},
    "kvm_tags": {"aarch64", "errors", "kvm_abi"},
    "kvm_features": {"kvm_abi", "kvm_vcpu", "errors", "aarch64"},
    "kvm_backend": {
        "kvm_abi", "kvm_features", "kvm_gate", "kvm_memory", "kvm_one_reg", "kvm_tags", "kvm_vcpu",
        "machine", "errors",
        "aarch64",
    },
    "elf": {"errors"},
    "linux": {"elf", "errors", "program"},
    "vmm": {"kvm_abi", "kvm_backend", "kvm_features", "elf", "errors", "aarch64"},
    "script": set(),
    "signals": set(),
    "lab": {"signals"},
}  # fmt: skip

# Where all meet: these may import anything, and nothing may import them.
MEETING = {"cli", "run", "run_in_lab", "doctor", "__main__", "__init__"}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    rooms: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: absolute imports only"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        rooms |= {n.split(".")[1] for n in names if n.startswith("gdbstub.")}
    return rooms


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_room_imports_only_what_the_table_allows(path: Path) -> None:
    room = room_of(path)
    imported = imports_of(path) - {room}
    if room in MEETING:
        return
    assert room in ROOMS, f"{path} stands in no room of the table"
    assert imported <= ROOMS[room], f"{path} imports {imported - ROOMS[room]}"


def test_every_room_of_the_table_exists() -> None:
    assert set(ROOMS) <= {room_of(path) for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_is_longer_than_400_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
