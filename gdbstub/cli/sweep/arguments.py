"""Arguments of ``gdbstub sweep`` that ``gdbstub run`` does not have: directory, command, images."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from gdbstub.errors import InputError
from gdbstub.sweep import junit, store
from gdbstub.sweep.plan import GUEST, SweepPlan
from gdbstub.vmm.files import check_apart


def directory(text: str) -> Path:
    """Return the argument of --out.

    Raises:
        InputError: it is empty, which would be this directory.
    """
    if not text:
        raise InputError("--out '': expected a directory for the results")
    return Path(text)


def command_words(text: str) -> tuple[str, ...]:
    """Return the words of --command, whose first is a program by its absolute path or on PATH.

    Raises:
        InputError: it cannot be split into words, or there is no such program.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError(f"--command {text!r}: {error}; quote it as for a shell") from None
    if not words:
        return ()
    program = str(Path(words[0]).absolute()) if "/" in words[0] else words[0]
    if shutil.which(program) is None:
        raise InputError(f"--command {words[0]}: no program is there; expected one to be executed")
    return program, *words[1:]


def carried(names: Sequence[str]) -> tuple[str, ...]:
    """Return the arguments of --carry as paths from this directory.

    Raises:
        InputError: one is no file, or not below this directory, where the script would not find it.
    """
    found = []
    for name in names:
        if not name:
            raise InputError("--carry: a file's name is missing")
        path = os.path.relpath(name)
        if path.split(os.sep)[0] == os.pardir:
            raise InputError(f"--carry {name}: expected a file in this directory or below it")
        if not os.path.isfile(path):
            raise InputError(f"--carry {name}: expected a file; directories are not carried")
        found.append(path)
    return tuple(dict.fromkeys(found))


def read_files(plan: SweepPlan, rows: Iterable[Mapping[str, str]]) -> set[tuple[str, str]]:
    """Return the files that runs with the parameters *rows* read, each with its option."""
    found = {("--carry", os.path.join(plan.directory, path)) for path in plan.carried}
    found |= {(GUEST.upper(), image) for image in plan.images}
    for row in rows:
        for name in plan.files:
            if path := row.get(name):
                found.add((GUEST.upper() if name == GUEST else f"--{name}", path))
    return found


def check_out(directory: Path, plan: SweepPlan, rows: Iterable[Mapping[str, str]]) -> None:
    """Check that no file that a run reads is one that a sweep writes in *directory*.

    Raises:
        InputError: one is, and would be lost.
    """
    read = read_files(plan, rows)
    for name in (store.FILE, junit.FILE):
        check_apart(read, {"--out": str(directory / name)})


def check_syntax(script: str) -> None:
    """Check that the shell can parse the argument of --script.

    Raises:
        InputError: it cannot, and each run would fail.
    """
    done = subprocess.run(
        ["sh", "-n", "-c", script], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        errors="replace", check=False,
    )  # fmt: skip
    if done.returncode:
        why = done.stderr.strip().splitlines()[0].removeprefix("sh: 1: ")
        raise InputError(f"--script {script!r}: {why}")


def between(images: Sequence[str], good: str, bad: str) -> list[str]:
    """Return *images* from *good* to *bad*, which are added where they are absent.

    Raises:
        InputError: the bad one comes first, or an image comes twice.
    """
    names = [*([] if good in images else [good]), *images, *([] if bad in images else [bad])]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{twice} comes twice among the images; expected each once, in order")
    first, last = names.index(good), names.index(bad)
    if first >= last:
        raise InputError(
            f"--bad {bad} does not come after --good {good}; expected the images in their order "
            "from good to bad"
        )
    return names[first : last + 1]
