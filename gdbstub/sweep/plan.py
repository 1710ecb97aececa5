"""The plan of a sweep: its runs as values, each with its parameters and its seed.

It runs nothing.
"""

import csv
import itertools
import os
import random
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Self, get_type_hints

from gdbstub.errors import InputError

#: Value of an option that each run draws anew, from its own seed.
RANDOM: Final = "random"
#: Option of ``gdbstub run`` that takes such a value.
KASLR_SEED: Final = "kaslr-seed"
#: Name by which the guest is varied; it is no option of ``gdbstub run``.
GUEST: Final = "guest"
#: Size of a seed.
SEED_BITS: Final = 64


class SweepRun(NamedTuple):
    """One run as a value: the same parameters and the same seed make the same run again."""

    number: int
    parameters: dict[str, str]
    #: Number of 64 bits for whatever the script draws.
    seed: int

    @property
    def label(self) -> str:
        """Return the parameters as one line."""
        return " ".join(f"{name}={value}" for name, value in self.parameters.items())


class SweepPlan(NamedTuple):
    """Settings that all runs of a sweep have in common."""

    #: Words before a run's own: empty for ``gdbstub run`` of this Python.
    command: tuple[str, ...]
    script: str
    #: Time for the script of one run, in seconds.
    timeout: float
    #: Time until the script of one run has begun, in seconds.
    start_timeout: float
    #: Options of ``gdbstub run`` without a value.
    flags: tuple[str, ...]
    #: Directory that scripts run in.
    directory: str
    #: Names of the parameters that differ between runs.
    varied: tuple[str, ...]
    until_failure: bool
    #: Number that the seeds of all runs are drawn from.
    seed: int
    #: Parameters that all runs have.
    fixed: dict[str, str]
    #: Images to bisect, from a good one to a bad one; empty for a sweep.
    images: tuple[str, ...] = ()
    #: Probability with which the first bad image is to be found; None: the judge is never wrong.
    confidence: float | None = None
    #: Largest number of runs of a bisection.
    limit: int = 0
    #: Reasons for which a run writes a core file; empty for none.
    vmcore_on: str = ""
    #: Names of the parameters whose values are files.
    files: tuple[str, ...] = ()
    #: Files that the script needs, by their paths in its directory.
    carried: tuple[str, ...] = ()

    @classmethod
    def of(cls, fields: object) -> Self:
        """Return the plan whose ``_asdict()`` was *fields*, as JSON keeps it.

        Raises:
            ValueError: they are no plan's.
        """
        hints = get_type_hints(cls)
        required = hints.keys() - cls._field_defaults.keys()
        if not isinstance(fields, dict) or not required <= fields.keys() <= hints.keys():
            raise ValueError("other fields than those of a plan")
        return cls(**{name: _checked(value, hints[name]) for name, value in fields.items()})


def are_words(values: Iterable[object]) -> bool:
    """Return True if *values* are text, each as a word of a command line may be.

    Such a word has no NUL, and of surrogates those alone that stand for bytes that are not UTF-8.
    """
    try:
        return all(isinstance(value, str) and b"\0" not in os.fsencode(value) for value in values)
    except UnicodeEncodeError:
        return False


def _checked(value: Any, hint: Any) -> Any:  # noqa: ANN401
    """Return a value of JSON as one of the type *hint*."""

    if hint == tuple[str, ...]:
        if isinstance(value, list) and are_words(value):
            return tuple(value)
    elif hint == dict[str, str]:
        if isinstance(value, dict) and are_words([*value, *value.values()]):
            return value
    elif hint is str:
        if are_words([value]):
            return value
    elif isinstance(value, hint) or (isinstance(value, int) and isinstance(0.0, hint)):
        return value
    raise ValueError(f"{value!r} is no {hint}")


def parse_vary(texts: Sequence[str], known: Collection[str]) -> dict[str, list[str]]:
    """Parse the arguments of ``--vary``, ``NAME=VALUE,VALUE…``; *known* are the names.

    A value with a comma stands in double quotes, as in CSV.

    Raises:
        InputError: a name is unknown or comes twice, or a list is empty.
    """
    found: dict[str, list[str]] = {}
    for text in texts:
        name, separated, rest = text.partition("=")
        if not separated or not name:
            raise InputError(f"--vary {text!r}: expected NAME=VALUE,VALUE…, as in smp=1,2")
        if name not in known:
            raise InputError(f"--vary {name}: expected one of {', '.join(sorted(known))}")
        if name in found:
            raise InputError(f"--vary {name} is given twice: give all values in one list")
        try:
            values = next(csv.reader([rest], strict=True), [])
        except csv.Error as error:
            raise InputError(
                f"--vary {text!r}: {error}; expected {name}=VALUE,VALUE…, a value with a comma in "
                "double quotes"
            ) from None
        if not values or not all(values):
            raise InputError(f"--vary {text!r}: an empty value; expected {name}=VALUE,VALUE…")
        if RANDOM in values and (name != KASLR_SEED or len(values) > 1):
            raise InputError(
                f"--vary {text!r}: random is a value of {KASLR_SEED} alone, and its only one"
            )
        if len(set(values)) < len(values):
            raise InputError(f"--vary {text!r}: a value comes twice; --runs N repeats runs")
        found[name] = values
    return found


def combinations(
    fixed: Mapping[str, str], varied: Mapping[str, Sequence[str]]
) -> list[dict[str, str]]:
    """Return each combination of the *varied* values, with the *fixed* ones."""
    rows = itertools.product(*varied.values())
    return [{**fixed, **dict(zip(varied, row, strict=True))} for row in rows]


def plan_runs(rows: Sequence[Mapping[str, str]], times: int, seed: int) -> Iterator[SweepRun]:
    """Yield *times* runs of each row of parameters, in turn, numbered from 1.

    The seeds of the runs, and the numbers in place of ``random``, depend on *seed* alone.
    """
    numbers = itertools.count(1)
    for _ in range(times):
        for row in rows:
            yield make_run(next(numbers), row, seed)


def make_run(number: int, row: Mapping[str, str], seed: int) -> SweepRun:
    """Make a run of one row of parameters; what it draws depends on *seed* and *number* alone."""
    draw = random.Random(f"{seed}/{number}")
    own = draw.getrandbits(SEED_BITS)
    parameters = dict(row)
    if parameters.get(KASLR_SEED) == RANDOM:
        parameters[KASLR_SEED] = f"{draw.getrandbits(SEED_BITS):#x}"
    return SweepRun(number, parameters, own)
