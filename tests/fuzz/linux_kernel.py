"""A sound Linux kernel in little RAM, with all that readers of Linux look at."""

import struct
from typing import Final

from tests.pure.hostile_guests import CODE, IMAGE, START, STRUCTURES, at, vmcoreinfo
from tests.pure.linux_images import btf_of
from tests.tables import Tables

_STRUCTURES: Final = STRUCTURES | {"mm_struct": (64, {"task_size": 8, "pgd": 16})}
_TASK, _MODULE = _STRUCTURES["task_struct"][1], _STRUCTURES["module"][1]
#: Offsets in RAM, and what is there: little, since each input has all of it searched.
_TYPES: Final = IMAGE + 0x4000
_IMAGE_SIZE: Final = 0x8000
_DATA: Final = IMAGE + 0x1_0000
FIRST: Final = IMAGE + 0x1000
_HEAD: Final = FIRST + 0x1000
_TASKS: Final = (FIRST, _DATA, _DATA + 0x1000)
_MODULES: Final = (_DATA + 0x2000, _DATA + 0x3000)
_SECTIONS: Final = _DATA + 0x4000
_SYMBOLS: Final = _DATA + 0x5000
_RING: Final = _DATA + 0x6000
_RECORDS: Final = _DATA + 0x7000
_TEXT: Final = _DATA + 0x8000
_NAMES: Final = _DATA + 0x9000
STACK: Final = _DATA + 0xA000
_MM: Final = _DATA + 0xB000
TABLES: Final = _DATA + 0x1_0000
SIZE: Final = _DATA + (128 << 10)
#: Addresses of the kernel's code, of its stack as it is mapped, and of a program.
KERNEL_TEXT: Final = at(IMAGE) + 0x3000
STACK_GVA: Final = 0xFFFF_8000_8000_0000
PROGRAM: Final = 0x40_0000


def _ring(at_offset: int, places: "list[int]", number: int) -> tuple[int, int]:
    """Links of member *number* of a list: those of the next and of the one before."""
    links = [at(place + at_offset) for place in places]
    return links[(number + 1) % len(links)], links[number - 1]


def _task(number: int) -> bytes:
    task = bytearray(512)
    struct.pack_into("<QQ", task, _TASK["tasks"], *_ring(_TASK["tasks"], [*_TASKS], number))
    struct.pack_into("<I", task, _TASK["pid"], number)
    struct.pack_into("<16s", task, _TASK["comm"], b"swapper/0" if not number else b"task")
    stack = STACK_GVA if number else at(STACK)
    struct.pack_into("<Q", task, _TASK["real_parent"], at(FIRST))
    struct.pack_into("<QQ", task, _TASK["mm"], at(_MM) if number else 0, stack)
    struct.pack_into("<QxxxxxxxxQ", task, _TASK["thread"] + 80, stack + 0x100, CODE)
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
    struct.pack_into("<IxxxxQ", data, 0, 2, KERNEL_TEXT)
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
_ADDRESSES: Final = {
    **{"swapper_pg_dir": TABLES, "prb": _RING + 0x100},
    **{f"kallsyms_{name}": _NAMES + place for name, place in _KALLSYMS.items()},
}
_INFO: Final = "".join(f"SYMBOL({name})={at(place):x}\n" for name, place in _ADDRESSES.items())


def _frames() -> dict[int, bytes]:
    """Frames in modules and in the kernel, of a stack that is mapped twice."""
    rows = (at(STACK + 0x110), CODE + 0x44), (STACK_GVA + 0x120, CODE + 0x1044)
    ends = (at(STACK + 0x130), KERNEL_TEXT + 0x44), (0, KERNEL_TEXT + 4)
    return {STACK + 0x100: b"".join(struct.pack("<QQ", *row) for row in (*rows, *ends))}


def _tables() -> dict[int, bytes]:
    """Tables of the kernel and of a program alike, and the addresses that they map."""
    tables = Tables(base=START + TABLES)
    tables.map(STACK_GVA, START + STACK)
    for page in range(2):
        tables.map(PROGRAM + 0x1000 * page, START + _NAMES + 0x1000 * page)
    return {place - START: data for place, data in tables.content().items()}


#: Contents of a sound kernel, by offsets in RAM.
SOUND: Final[dict[int, bytes]] = {
    0: vmcoreinfo(_INFO),
    IMAGE: struct.pack("<16xQ32x4s4x", _IMAGE_SIZE, b"ARM\x64"),
    _TYPES: btf_of(_STRUCTURES),
    **{place: _task(number) for number, place in enumerate(_TASKS)},
    _HEAD: struct.pack("<QQ", at(_MODULES[0] + _MODULE["list"]), at(_MODULES[1] + _MODULE["list"])),
    **{place: _module(number) for number, place in enumerate(_MODULES)},
    **{_SECTIONS: _sections(), _SYMBOLS: _symbols(), _NAMES: _kallsyms()},
    **_log(),
    **_frames(),
    _MM: struct.pack("<16xQ", at(TABLES)),
    **_tables(),
}
VALUES: Final = (
    *(0, 1, (1 << 64) - 1, 1 << 63, at(SIZE) - 4, at(SIZE), at(0), CODE, at(IMAGE)),
    *(at(place) for place in SOUND),
)
