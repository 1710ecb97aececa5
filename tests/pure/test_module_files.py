"""Files of modules: found in a directory, unpacked, and described by their sections."""

import gzip
import lzma
import os
import struct
from contextlib import suppress
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from gdbstub.cli.settings.modules import read_modules
from gdbstub.errors import InputError
from gdbstub.linux import module_files
from gdbstub.linux.kaslr import LinkedKernel
from gdbstub.linux.module_files import (
    FileSection,
    ModuleFiles,
    describe,
    find,
    packed,
    parse_build_id,
    unpack,
)

ALLOC, EXEC = 2, 4
NOTE = struct.pack("<III4s", 4, 20, 3, b"GNU\0") + bytes(range(20))
BUILD_ID = bytes(range(20)).hex()

_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_SHDR = struct.Struct("<IIQQQQIIQQ")


def module(*sections: tuple[str, int, bytes], machine: int = 183) -> bytes:
    """A relocatable ELF file of *sections*: name, flags, contents."""
    rows = [("", 0, b""), *sections, (".shstrtab", 0, b"")]
    names = b"".join(name.encode() + b"\0" for name, _, _ in rows)
    contents = [*(data for _, _, data in rows[:-1]), names]
    data, headers, at = b"", b"", 0
    for (name, flags, _), content in zip(rows, contents, strict=True):
        headers += _SHDR.pack(
            at, 1, flags, 0, _EHDR.size + len(data), len(content), 0, 0, 1, 0
        )  # fmt: skip
        at += len(name) + 1
        data += content
    ident = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
    header = _EHDR.pack(
        ident, 1, machine, 1, 0, 0, _EHDR.size + len(data), 0, _EHDR.size, 0, 0,
        _SHDR.size, len(rows), len(rows) - 1,
    )  # fmt: skip
    return header + data + headers


PLAIN = module(
    (".text", ALLOC | EXEC, bytes(64)),
    (".comment", 0, bytes(8)),
    (".note.gnu.build-id", ALLOC, NOTE),
    (".bss", ALLOC, b""),
)


def test_sections_that_take_memory_in_their_order() -> None:
    file = describe(PLAIN, "/lib/a.ko")
    assert file.sections == (
        FileSection(".text", 64, True),
        FileSection(".note.gnu.build-id", len(NOTE), False),
        FileSection(".bss", 0, False),
    )
    assert (file.path, file.build_id) == ("/lib/a.ko", BUILD_ID)
    files = ModuleFiles(a=file)
    assert ModuleFiles.from_text(files.to_text()) == files


@pytest.mark.timeout(20)
def test_names_of_sections_that_are_very_long_are_damage() -> None:
    """60,000 sections have one name of 8 MB."""
    one = module((".text", ALLOC, b"x" * (8 << 20) + b"\0"))
    rows = struct.unpack_from("<Q", one, 40)[0]
    text = _SHDR.unpack_from(one, rows + _SHDR.size)
    row = _SHDR.pack(0, 1, ALLOC, 0, text[4], text[5], 0, 0, 1, 0)
    hostile = bytearray(one[:rows] + row * 60_000)
    struct.pack_into("<HH", hostile, 60, 60_000, 1)
    with pytest.raises(InputError, match=r"a\.ko: is a damaged ELF file"):
        describe(bytes(hostile), "a.ko")


def test_a_plain_file_is_read_as_far_as_a_packed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module_files, "_MOST", 100)
    for name in ("a.ko", "a.ko.gz"):
        data = bytes(1000)
        (tmp_path / name).write_bytes(gzip.compress(data) if packed(tmp_path / name) else data)
        assert len(unpack(tmp_path / name)) == 100


def test_another_architecture_and_no_elf_are_told() -> None:
    for data in (module(machine=62), b"text" * 20):
        with pytest.raises(InputError, match=r"a\.ko: is no module for AArch64"):
            describe(data, "a.ko")
    with pytest.raises(InputError, match=r"a\.ko: is a damaged ELF file"):
        describe(PLAIN[:100], "a.ko")


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(PLAIN)), st.binary(min_size=1, max_size=8))))
def test_a_damaged_file_is_no_more_than_a_line(writes: list[tuple[int, bytes]]) -> None:
    data = bytearray(PLAIN)
    for at, written in writes:
        data[at : at + len(written)] = written
    with suppress(InputError):
        describe(bytes(data), "a.ko")


@pytest.mark.parametrize("note", [b"", NOTE[:8], NOTE.replace(b"GNU", b"GNX"), bytes(40)])
def test_no_build_id(note: bytes) -> None:
    assert parse_build_id(note) == ""


def test_compressed_files(tmp_path: Path) -> None:
    for suffix, pack in (
        (".ko", bytes),
        (".ko.xz", lzma.compress),
        (".ko.gz", gzip.compress),
        (".ko.zst", zstandard.compress),
    ):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(pack(PLAIN))
        assert packed(path) is (suffix != ".ko")
        assert unpack(path) == PLAIN
        if packed(path):
            path.write_bytes(b"junk" + path.read_bytes()[4:])
            with pytest.raises(InputError, match=f"a{suffix}: "):
                unpack(path)


def test_the_files_of_one_kernel(tmp_path: Path) -> None:
    for release in ("6.1.0", "6.12.0"):
        kernel = tmp_path / "lib/modules" / release / "kernel/net"
        kernel.mkdir(parents=True)
        (kernel / "net-failover.ko.xz").touch()
        (kernel / "notes.ko.txt").touch()
    updates = tmp_path / "lib/modules/6.1.0/updates"
    updates.mkdir()
    newer = updates / "net_failover.ko"
    newer.touch()
    assert find(tmp_path, "6.1.0") == {"net_failover": newer}
    assert find(tmp_path / "lib/modules", "6.1.0") == {"net_failover": newer}
    assert find(newer.parent, "6.1.0") == {"net_failover": newer}
    assert find(tmp_path, "6.12.0") == {
        "net_failover": tmp_path / "lib/modules/6.12.0/kernel/net/net-failover.ko.xz"
    }


def test_no_directory_and_no_modules(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: is no directory; expected one with a kernel's"):
        find(tmp_path / "nowhere", "6.1.0")
    with pytest.raises(InputError, match="a: is no directory; expected one with a kernel's"):
        find(tmp_path / ("a" * 300), "6.1.0")
    with pytest.raises(InputError, match=r"has no module .* of the kernel bbb"):
        find(tmp_path, "b" * 300)
    with pytest.raises(InputError, match=r"has no module .* of the kernel 6\.1\.0"):
        find(tmp_path, "6.1.0")


@pytest.mark.parametrize("text", ["", "[]", "5", "{", '{"a": 1}', '{"a": [1]}', "[" * 100_000])
def test_an_index_that_is_none(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"."):
        ModuleFiles.from_text(text)
    (tmp_path / "index").write_text(text)
    with pytest.raises(InputError, match="is a file; expected a directory"):
        read_modules(tmp_path / "index", KERNEL, inner=True)


def test_a_file_in_place_of_a_directory_is_not_read(tmp_path: Path) -> None:
    """The file may have no end, or be the memory of a process."""
    (tmp_path / "a.ko").write_text("{}")  # an index of no modules
    for name in (str(tmp_path / "a.ko"), "/proc/self/mem"):
        with pytest.raises(InputError, match=f"^--modules {name}: is no directory; expected one"):
            read_modules(Path(name), KERNEL)


def test_names_that_are_not_unicode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    directory = tmp_path / os.fsdecode(b"a\xff")
    directory.mkdir()
    name = os.fsdecode(b"b\xff")
    (directory / f"{name}.ko.gz").write_bytes(gzip.compress(PLAIN))
    (directory / "c.ko").write_bytes(PLAIN)
    found = read_modules(directory, KERNEL)
    assert Path(found[name].path).read_bytes() == PLAIN
    assert found["c"].path == str(directory / "c.ko")


def test_a_file_of_a_module_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "one.ko.gz").write_bytes(gzip.compress(PLAIN))
    (tmp_path / "two").hardlink_to(tmp_path / "one.ko.gz")
    with pytest.raises(
        InputError, match=r"^--record .*/two: is the file of --modules; expected an"
    ):
        read_modules(tmp_path, KERNEL, {"--record": str(tmp_path / "two")})


KERNEL = LinkedKernel(0, (), 0, "Linux version 6.1.0-9-arm64 (x)", None)


@pytest.mark.parametrize("name", ["modules.json", "one.ko"])
@pytest.mark.parametrize("size", [None, 0, 1, 20])
def test_a_damaged_index_of_modules_is_made_again(
    name: str, size: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "one.ko.gz").write_bytes(gzip.compress(PLAIN))
    made = Path(read_modules(tmp_path, KERNEL)["one"].path)
    damaged = made.with_name(name)
    if size is None:
        damaged.unlink()
    else:
        os.truncate(damaged, size)
    assert read_modules(tmp_path, KERNEL)["one"].path == str(made)
    assert made.read_bytes() == PLAIN
