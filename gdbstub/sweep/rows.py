"""Rows of the results: a run with its outcome, to the columns of SQLite and from them.

What is read is checked, since a file may be damaged: a row is as a sweep writes it, or refused.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, get_type_hints

from gdbstub.sweep.execute import RUN_NAME, RUNS
from gdbstub.sweep.outcome import RunOutcome, Status
from gdbstub.sweep.plan import GUEST, SEED_BITS, SweepRun, are_words

#: The columns of an outcome are the fields of ``RunOutcome``, which follow the number.
FIELDS: Final = RunOutcome._fields[1:]
#: The columns of a row, in their order.
COLUMNS: Final = ("number", "parameters", "seed", *FIELDS)

_TYPES: Final = get_type_hints(RunOutcome)
#: Smallest and largest value of a number.
_RANGES: Final = {
    "exit_status": (0, 255),
    "seconds": (0, 1e11),
    "began": (0, 1e11),  # the year 5138
    "attempt": (1, 1 << 31),
}
_FILES: Final = re.compile(rf"({RUNS}/{RUN_NAME})?")


class Row(NamedTuple):
    """A run with its outcome; None: it has none yet."""

    run: SweepRun
    outcome: RunOutcome | None


def planned(run: SweepRun) -> tuple[int, str, str]:
    """Return the columns of a run that is planned: number, parameters and seed."""
    # A seed has 64 bits, an integer of SQLite 63 and a sign.
    return run.number, json.dumps(run.parameters), str(run.seed)


def decode(columns: Sequence[Any]) -> Row:
    """Return the row with *columns*, which are in the order of ``COLUMNS``.

    Raises:
        ValueError: no sweep writes such a row.
    """
    number, parameters, seed, status, *fields = columns
    run = SweepRun(number, _parameters(number, parameters), _seed(number, seed))
    if status is None:
        return Row(run, None)
    if status not in tuple(Status):
        raise ValueError(f"run {number} has the status {status!r}")
    for name, value in zip(FIELDS[1:], fields, strict=True):
        low, high = _RANGES.get(name, (0, 0))
        ours = isinstance(value, _TYPES[name]) and (
            name not in _RANGES or value is None or low <= value <= high
        )
        if not ours or (name == "files" and not _FILES.fullmatch(value)):
            raise ValueError(f"run {number} has {name} {str(value)[:40]!r}")
    return Row(run, RunOutcome(number, Status(status), *fields))


def _parameters(number: int, text: object) -> dict[str, str]:
    try:
        found = json.loads(text if isinstance(text, str) else "")
    except (ValueError, RecursionError):
        found = None
    if (
        not isinstance(found, dict)
        or not are_words([*found, *found.values()])
        or not found.get(GUEST, "/").startswith("/")
    ):
        raise ValueError(f"run {number} has no parameters")
    return found


def _seed(number: int, text: object) -> int:
    if (
        isinstance(text, str)
        and text.isascii()
        and text.isdecimal()
        and (seed := int(text)) >> SEED_BITS == 0
    ):
        return seed
    raise ValueError(f"run {number} has no seed")
