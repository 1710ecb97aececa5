"""The parts of the lab, without building it: archives, modules, requirements, programs."""

import io
import lzma
import subprocess
from pathlib import Path

import pytest

from gdbstub.errors import LabError
from gdbstub.lab import cpio, image, kernel, progress, tools


def test_archives_join_at_multiples_of_four(tmp_path: Path) -> None:
    parts = [tmp_path / name for name in "abc"]
    for part, data in zip(parts, (b"12345", b"1234", b"1"), strict=True):
        part.write_bytes(data)
    cpio.join(parts, tmp_path / "all")
    assert (tmp_path / "all").read_bytes() == b"12345\0\0\0" + b"1234" + b"1\0\0\0"


def test_pack_keeps_links_and_modes_and_gives_all_to_root(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "bin").symlink_to("usr/bin")
    (tree / "usr/bin/a name").write_text("x")
    (tree / "usr/bin/run").touch(mode=0o755)
    cpio.pack(tree, tmp_path / "archive")
    with (tmp_path / "archive").open("rb") as archive:
        listing = subprocess.run(
            ["cpio", "-itv", "--numeric-uid-gid", "--quiet"],
            stdin=archive, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    rows = {row.split()[8]: row.split() for row in listing.splitlines()}
    assert set(rows) == {".", "bin", "usr", "usr/bin", "usr/bin/a", "usr/bin/run"}
    assert {(row[2], row[3]) for row in rows.values()} == {("0", "0")}
    assert rows["usr/bin/run"][0] == "-rwxr-xr-x"
    assert rows["bin"][8:] == ["bin", "->", "usr/bin"]


def test_modules_load_after_what_they_need(tmp_path: Path) -> None:
    needs = {
        "virtio-net": "net_failover,virtio",
        "net_failover": "failover",
        "virtio": "virtio_ring",
        "failover": "",
        "virtio_ring": "",
    }
    files = {}
    for name, depends in needs.items():
        data = b"\x7fELF\0depends=%s\0name=%s\0" % (depends.encode(), name.encode())
        path = tmp_path / f"{name}.ko"
        if name == "failover":  # as later releases ship all of them
            path, data = tmp_path / f"{name}.ko.xz", lzma.compress(data)
        path.write_bytes(data)
        files[kernel.stem(path)] = path
    (tmp_path / "unrelated.ko").touch()
    files["unrelated"] = tmp_path / "unrelated.ko"
    order = kernel.load_order(["virtio_net", "built_in"], files)
    assert sorted(order) == ["failover", "net_failover", "virtio", "virtio_net", "virtio_ring"]
    for name, depends in needs.items():
        for need in filter(None, depends.split(",")):
            assert order.index(need) < order.index(name.replace("-", "_"))


def test_the_lab_gets_what_the_project_declares() -> None:
    names = [spec.split(">")[0] for spec in image.requirements()]
    assert {"cffi", "pyelftools", "pytest", "hypothesis"} <= set(names)
    assert not {"mypy", "ruff", "qemu.qmp", "vmlinux-to-elf"} & set(names)


def test_missing_programs_name_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(LabError, match="cpio, ssh not found: apt-get install cpio openssh-client"):
        tools.require("cpio", "ssh")


def test_a_failed_program_is_one_line() -> None:
    with pytest.raises(LabError, match=r"^sh failed: E: the reason$"):
        tools.run(["sh", "-c", "(echo W: this; echo E: the reason; echo end) >&2; exit 3"])


def test_progress_is_plain_lines_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    with progress.Steps("preparing tea", 2, stream) as steps:
        steps.step("boiling water")
        steps.step("waiting")
    assert stream.getvalue() == (
        "gdbstub: preparing tea: boiling water\ngdbstub: preparing tea: waiting\n"
    )
