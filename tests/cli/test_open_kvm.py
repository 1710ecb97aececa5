"""The KVM device when it cannot be had: who may use it is said by name."""

import grp
import os
from pathlib import Path

import pytest

from gdbstub.errors import InputError
from gdbstub.kvm.device import open_kvm


def drop_privileges() -> None:
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


def test_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"/kvm does not exist: .*; use --host lab$"):
        open_kvm(str(tmp_path / "kvm"))


def test_something_else_has_its_name(tmp_path: Path) -> None:
    (tmp_path / "kvm").touch()
    before = os.listdir("/proc/self/fd")
    with pytest.raises(InputError, match=r"/kvm is not a KVM device of API version 12$"):
        open_kvm(str(tmp_path / "kvm"))
    assert os.listdir("/proc/self/fd") == before
    with pytest.raises(InputError, match="cannot be opened: Is a directory"):
        open_kvm(str(tmp_path))


def refusal(name: str) -> str:
    """Return the text of the InputError from opening *name* in a process without root's rights."""
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        try:
            drop_privileges()
            open_kvm(name)
        except InputError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


def test_it_is_for_a_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # whose parents are nobody else's business
    tmp_path.chmod(0o755)
    device = tmp_path / "kvm"
    device.touch()
    device.chmod(0o060)
    group = grp.getgrgid(device.stat().st_gid).gr_name
    assert refusal("kvm") == (
        f"kvm is not for this user: join the group {group!r} (usermod -aG {group} $USER, "
        "then log in again), or use --host lab"
    )
    device.chmod(0o600)
    assert refusal("kvm") == (
        f"kvm is not for this user: let the group {group!r} use it (as root: chmod g+rw kvm) "
        "and join that, or use --host lab"
    )


def test_it_is_for_a_group_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = os.stat_result((0o020660, *tmp_path.stat()[1:5], 4711, *tmp_path.stat()[6:]))

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        patch.setattr(os, "stat", lambda _: odd)
        with pytest.raises(InputError, match="join the group '4711' "):
            open_kvm("kvm")
