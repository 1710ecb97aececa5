"""The command line that one ``gdbstub`` writes for another, parsed without click."""

import os
from pathlib import Path
from typing import Any

import click
import pytest

from gdbstub.cli.commands.attach import attach
from gdbstub.cli.commands.launch import launch
from gdbstub.cli.commands.run import run
from gdbstub.cli.options import RUN, foreign_options, parse_written
from gdbstub.cli.settings.attach import (
    AttachSettings,
    kernel_command_line,
    read_attach_settings,
)
from gdbstub.errors import InputError
from gdbstub.foreign.process import VmmProcess

#: One of each kind: a guest, a choice, flags, counts, numbers, paths; with = and without.
WRITTEN = [
    *("--gdb", "10.0.2.15:0", "/root/guest", "--host=kvm", "--inner", "-v", "-v"),
    *("--smp=2", "--memory=512M", "--cpu=host,sve=off", "--initrd", "/root/initrd"),
    *("--append=console=ttyAMA0 -x", "--timeout=1.5", "--free-run"),
    *("--vmcore-on", "panic,timeout", "-", "--no-reboot", "--qmp=unix:q"),
]


@pytest.mark.parametrize("words", [WRITTEN, ["/root/guest", "--inner"]])
def test_it_means_what_it_means_to_click(words: list[str]) -> None:
    by_click = run.make_context("run", list(words)).params
    assert parse_written(words) == by_click


def test_an_option_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="--smpp=2: no such option"):
        parse_written(["guest", "--inner", "--smpp=2"])


@pytest.mark.parametrize("command", [attach, launch])
def test_a_session_with_a_foreign_guest_has_the_options_of_run(command: click.Command) -> None:
    names = {option.name for option in foreign_options()}
    by_run = {each.name: each for each in run.params if each.name in names}
    given = {each.name: each for each in command.params if each.name in names}
    assert {*by_run} == {*given} >= {"stop_on", "vmcore_on", "modules", "timeout"}
    for name, option in given.items():
        assert (option.opts, option.nargs) == (by_run[name].opts, by_run[name].nargs)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("-kernel nokaslr", ""),
        ("-append", ""),
        ("-append a,nokaslr -append b -nographic", "b"),
        ("--cmdline c", "c"),
    ],
)
def test_the_kernels_command_line_as_its_vmm_has_it(words: str, told: str) -> None:
    assert kernel_command_line(words.split()) == told


def test_help_has_each_option_for_people() -> None:
    said = run.get_help(click.Context(run))
    for option in RUN:
        assert (option.flag in said) == bool(option.help)


def _attach(vmm: VmmProcess | list[str], place: Path, **options: Path | str) -> AttachSettings:
    """Check *options* of a session with a guest of *vmm*; its socket is in *place*."""
    given: dict[str, Any] = dict.fromkeys(
        ("symbols", "modules", "stop_on", "vmcore_on", "script", "timeout", "record", "qmp",
         "program")
    )  # fmt: skip
    return read_attach_settings(
        vmm, halt=True, endpoint=f"unix:{place}/gdb", **given | dict(options)
    )


def test_debug_information_is_fetched_for_no_guest_of_another_vmm(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^--symbols debug is for gdbstub run; give the vmlinux"):
        _attach(["vmm"], tmp_path, symbols=Path("debug"))


def test_a_file_that_a_vmm_has_open_is_not_written(tmp_path: Path) -> None:
    disk, vmm = tmp_path / "disk", VmmProcess(os.getpid())
    disk.write_bytes(b"a guest's data")
    with disk.open("rb"):
        line = rf"^--record {disk}: is the file of process {vmm.pid}; expected another"
        with pytest.raises(InputError, match=line):
            _attach(vmm, tmp_path, record=str(disk))
    assert _attach(vmm, tmp_path, record=str(disk)).record == str(disk)


def test_a_word_of_a_vmm_that_is_no_file_keeps_none_from_being_written(tmp_path: Path) -> None:
    vmm = ["qemu-system-aarch64", "-name", str(tmp_path / "vm1")]
    assert _attach(vmm, tmp_path, record=str(tmp_path / "vm1")).record
