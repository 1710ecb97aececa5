"""Target for a hostile Linux kernel: its tasks, modules, log, names and types, patched at will."""

import struct
from typing import Final

from gdbstub.aarch64.registers import CPSR, PC, SP_EL0, SP_EL1, X
from gdbstub.capabilities import Command, Timing, os_tables
from gdbstub.errors import StubError
from gdbstub.monitor import monitored_debugger
from gdbstub.slices import bounded
from tests.fuzz.source import Source
from tests.fuzz.target import fuzz_target, only
from tests.pure.hostile_guests import CODE, DATA, IMAGE, STRUCTURES, HostileMachine, at
from tests.pure.linux_images import btf_of
from tests.pure.test_linux_log import LAYOUT

_TASK, _MODULE = STRUCTURES["task_struct"][1], STRUCTURES["module"][1]
#: Offsets in RAM, and what is there.
_FIRST: Final = IMAGE + 0x2_0000
_HEAD: Final = _FIRST + 0x1000
_TASKS: Final = (_FIRST, DATA, DATA + 0x1000)
_MODULES: Final = (DATA + 0x2000, DATA + 0x3000)
_SECTIONS: Final = DATA + 0x4000
_SYMBOLS: Final = DATA + 0x5000
_RING: Final = DATA + 0x6000
_RECORDS: Final = DATA + 0x7000
_TEXT: Final = DATA + 0x8000
_NAMES: Final = DATA + 0x9000
_STACK: Final = DATA + 0xA000
_SIZE: Final = DATA + (64 << 10)
_STEPS: Final = 20_000
_LINES: Final = ("ps", "bt", "bt 1", "bt 2", "modules", "modules m0", "dmesg", "dmesg 3", "why")


def _ring(at_offset: int, places: "list[int]", number: int) -> tuple[int, int]:
    """Links of member *number* of a list: those of the next and of the one before."""
    links = [at(place + at_offset) for place in places]
    return links[(number + 1) % len(links)], links[number - 1]


def _task(number: int) -> bytes:
    task = bytearray(512)
    struct.pack_into("<QQ", task, _TASK["tasks"], *_ring(_TASK["tasks"], [*_TASKS], number))
    struct.pack_into("<I", task, _TASK["pid"], number)
    struct.pack_into("<16s", task, _TASK["comm"], b"swapper/0" if not number else b"task")
    struct.pack_into("<QQQ", task, _TASK["real_parent"], at(_FIRST), 0, at(_STACK))
    struct.pack_into("<QxxxxxxxxQ", task, _TASK["thread"] + 80, at(_STACK + 0x100), CODE)
    return bytes(task)


def _module(number: int) -> bytes:
    module, place = bytearray(400), _MODULES[number]
    links = [at(_HEAD), *(at(each + _MODULE["list"]) for each in _MODULES)]
    struct.pack_into("<QQ", module, _MODULE["list"], links[(number + 2) % 3], links[number])
    struct.pack_into("<8s", module, _MODULE["name"], b"m%d" % number)
    struct.pack_into("<QI", module, _MODULE["mem"], CODE + 0x1000 * number, 0x1000)
    struct.pack_into("<QI", module, _MODULE["mem"] + 24, at(place), 0x1000)
    struct.pack_into("<QQ", module, _MODULE["sect_attrs"], at(_SECTIONS), 0)
    struct.pack_into("<Q", module, _MODULE["kallsyms"], at(_SYMBOLS))
    return bytes(module)


def _sections() -> bytes:
    data = bytearray(0x200)
    struct.pack_into("<Q", data, 32, at(_SECTIONS + 0x60))  # attribute_group's list
    struct.pack_into("<QQ", data, 0x60, at(_SECTIONS + 0x70), 0)
    struct.pack_into("<Q", data, 0x70, at(_SECTIONS + 0x100))
    struct.pack_into("<Q", data, 0x70 + 24, CODE)
    struct.pack_into("<8s", data, 0x100, b".text")
    return bytes(data)


def _symbols() -> bytes:
    table = struct.pack("<QQQ", at(_SYMBOLS + 0x20), 3, at(_SYMBOLS + 0x80))
    rows = ((1, CODE), (7, CODE + 0x40), (1, CODE + 0x80))
    data = b"".join(struct.pack("<IBBHQQ", name, 2, 0, 1, gva, 8) for name, gva in rows)
    return (table.ljust(0x20, b"\0") + data).ljust(0x80, b"\0") + b"\0first\0$x\0"


def _log() -> dict[int, bytes]:
    ring = struct.pack("<I4xQQQQ", 2, at(_RECORDS), at(_RECORDS + 0x100), 3, 0).ljust(48, b"\0")
    rows = b"".join(struct.pack("<QQQ", 1 << 62 | n, 32 * n, 32 * n + 24) for n in range(4))
    infos = b"".join(struct.pack("<8xQHBB68x", n, 9, 0, 0) for n in range(4))
    return {
        _RING: ring + struct.pack("<I4xQ", 7, at(_TEXT)),
        _RING + 0x100: struct.pack("<Q", at(_RING)),
        _RECORDS: rows.ljust(0x100, b"\0") + infos,
        _TEXT: b"".join(b"\0" * 8 + b"line\n\tend".ljust(24) for _ in range(4)),
    }


def _kallsyms() -> bytes:
    data = bytearray(0x800)
    struct.pack_into("<IxxxxQ", data, 0, 2, CODE)
    struct.pack_into("<II", data, 0x20, 0, 0x40)
    data[0x40:0x48] = b"\x03Tab\x03Tcd"
    texts = [bytes((n,)) if 32 < n < 127 else b"" for n in range(256)]
    place = 0x400
    for number, text in enumerate(texts):
        struct.pack_into("<H", data, 0x100 + 2 * number, place - 0x400)
        data[place : place + len(text) + 1] = text + b"\0"
        place += len(text) + 1
    return bytes(data)


_KALLSYMS: Final = {
    **{"num_syms": 0, "relative_base": 8, "offsets": 0x20, "names": 0x40},
    **{"token_table": 0x400, "token_index": 0x100},
}
_INFO: Final = f"SYMBOL(prb)={at(_RING + 0x100):x}\n" + "".join(
    f"SYMBOL(kallsyms_{name})={at(_NAMES + place):x}\n" for name, place in _KALLSYMS.items()
)
#: Contents of a sound kernel, by offsets in RAM.
_SOUND: Final[dict[int, bytes]] = {
    IMAGE: struct.pack("<16xQ32x4s4x", 0x4_0000, b"ARM\x64"),
    IMAGE + 0x1_0000: btf_of(STRUCTURES),
    **{place: _task(number) for number, place in enumerate(_TASKS)},
    _HEAD: struct.pack("<QQ", at(_MODULES[0] + _MODULE["list"]), at(_MODULES[1] + _MODULE["list"])),
    **{place: _module(number) for number, place in enumerate(_MODULES)},
    **{_SECTIONS: _sections(), _SYMBOLS: _symbols(), _NAMES: _kallsyms()},
    **_log(),
    _STACK + 0x100: struct.pack("<QQQQ", at(_STACK + 0x110), CODE + 0x44, 0, CODE + 0x1044),
}
_VALUES: Final = (
    *(0, 1, (1 << 64) - 1, 1 << 63, at(_SIZE) - 4, at(_SIZE), at(0), CODE, at(IMAGE)),
    *(at(place) for place in _SOUND),
)
#: Numbers that VMCOREINFO may give, and what they are of.
_NUMBERS: Final = (0, -23, 1 << 20, 1 << 62, -(1 << 62))
_NUMBERED: Final = tuple(
    name for name, _, _ in (line.partition("=") for line in LAYOUT.splitlines()) if "(" in name
)


def make_sound(machine: HostileMachine) -> None:
    """Have a sound kernel in *machine*, and its vCPU in a function of a module."""
    machine.size = _SIZE
    machine.write_info(_INFO)
    machine.written |= _SOUND
    vcpu = machine.vcpus[0]
    vcpu.set(SP_EL0, at(_FIRST))
    vcpu.set(SP_EL1, at(_STACK + 0x200))
    vcpu.set(PC, CODE + 0x44)
    vcpu.set(X[29], at(_STACK + 0x100))
    vcpu.set(X[30], CODE + 0x84)


def _patched(source: Source) -> HostileMachine:
    machine = HostileMachine()
    make_sound(machine)
    places = sorted(machine.written)
    for _ in range(source.below(6)):
        place = source.choice(places)
        data = bytearray(machine.written[place])
        offset = source.number(2) % len(data)
        width = source.below(9)
        if width == 8:
            value = source.choice(_VALUES).to_bytes(8, "little")
            offset &= -8
        else:
            value = source.take(width)
        data[offset : offset + len(value)] = value
        machine.written[place] = bytes(data)
    for _ in range(source.below(3)):
        number = source.choice(_NUMBERS) - source.below(2)
        line = f"{source.choice(_NUMBERED)}={number}\n".encode()
        machine.written[0] = machine.written[0].rstrip(b"\0") + line + b"\0"
    return machine


@fuzz_target("linux", 64)
def linux(data: bytes) -> None:
    """Any damage gives text or one line, within a bound of steps; sound kernels give their rows."""
    source = Source(data)
    lines = [source.choice(_LINES) for _ in range(1 + source.below(3))]
    state, table = source.number(), source.below(4)
    machine = _patched(source)
    if state & 1:
        machine.vcpus[0].set(CPSR, 0)
    debugger = monitored_debugger(machine)
    before = {**machine.written}
    for line in lines:
        with only(StubError), bounded(_STEPS):
            shown = debugger.monitor(Command(1, line, frozenset(), {}, Timing()))
            assert all(each.replace("\t", " ").isprintable() for each in shown.split("\n"))
            assert len(shown) <= 9 << 20
    capability = os_tables(debugger)
    assert capability is not None
    for each in capability.os_tables[:table]:
        with only(StubError), bounded(_STEPS):
            for row in each.rows():
                assert all(text.isprintable() for text in row.values())
    assert machine.written == before
