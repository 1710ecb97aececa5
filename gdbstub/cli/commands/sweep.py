"""``gdbstub sweep``: one script over many runs. Options are parsed here; ``sweep/`` does the work.

The settings of each run are checked as ``gdbstub run`` checks them, before the first one begins.
"""

import math
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from gdbstub.cli.commands.parameters import File, Float, Integer, IntegerRange
from gdbstub.cli.options import RUN, Option
from gdbstub.cli.sweep.arguments import (
    between,
    carried,
    check_out,
    check_syntax,
    command_words,
    directory,
)
from gdbstub.errors import InputError, StubError, SweepError, one_line
from gdbstub.sweep.plan import (
    GUEST,
    KASLR_SEED,
    RANDOM,
    SweepPlan,
    combinations,
    parse_vary,
    plan_runs,
)

#: Options of ``gdbstub run`` that a sweep sets for each run.
_OURS: Final = {
    *("endpoint", "console", "script", "timeout", "record", "verbose", "qmp", "vmcore_on"),
}
_SHARED: Final = tuple(option for option in RUN if option.help and option.name not in _OURS)
_FLAGS: Final = tuple(option for option in _SHARED if option.convert is bool)
_VALUES: Final = tuple(option for option in _SHARED if option.convert is not bool)
_BY_NAME: Final = {option.flag.removeprefix("--"): option for option in _VALUES}
#: Argument of --symbols that is no file.
_DEBUG: Final = "debug"
#: Largest number of runs at once on one machine.
_JOBS: Final = 1000
#: Largest number of runs of a sweep: some weeks of work, all of which is planned first.
_RUNS: Final = 1_000_000
#: Time until the script of a run begins, in seconds; the first run may make the lab's snapshot.
_START_SECONDS: Final = 180.0


class _Sweep(click.Group):
    """Group whose command ``start`` needs no name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["start", *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401
        try:
            return super().invoke(ctx)
        except (InputError, BrokenPipeError):
            raise
        except (StubError, OSError) as error:
            # Status 1 says that runs were executed, and have failed.
            raise SweepError(one_line(error)) from error


@click.group(cls=_Sweep)
def sweep() -> None:
    """Run one script over many guests, parameters and seeds.

    gdbstub sweep OPTIONS is gdbstub sweep start OPTIONS.
    """


def _engine_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options for the engine to *command*."""
    for option in (
        click.option(
            "--on", default="local", show_default=True, metavar="ENGINE",
            help="local: processes of this machine.  dask://HOST:PORT: the workers of a Dask "
            "cluster.",
        ),
        click.option(
            "--jobs", type=IntegerRange(1, _JOBS), metavar="J",
            help="Runs at once on this machine.  [default: one for each CPU]",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def _shared() -> list[click.Parameter]:
    """Return the options of ``gdbstub run`` as click's own, without their defaults.

    One that is not given is not passed on, so that each run has its usual default.
    """
    from gdbstub.cli.commands.group import click_option

    return [click_option(each._replace(default=None, show_default=False)) for each in _SHARED]


def _run_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options that a sweep and a bisection have in common to *command*."""
    for option in (
        click.option(
            "--command", metavar="CMD",
            help="Command to use in place of gdbstub run: of another version, or with taskset.",
        ),
        click.option(
            "--seed", type=Integer(), metavar="NUMBER",
            help="Number from which the runs' seeds are drawn.  [default: random]",
        ),
        click.option(
            "--out", type=directory, metavar="DIR",
            help="Directory of the results.  [default: sweep-DATE-TIME]",
        ),
        click.option(
            "--vmcore-on", metavar="REASONS",
            help="Reasons for which a run writes a core file, as of gdbstub run: panic,timeout for "
            "example.  That of the first run of each group of failures is kept.",
        ),
        click.option(
            "--carry", multiple=True, metavar="FILE",
            help="File that the script needs, for workers that do not see this directory: the "
            "script finds it at the same path from its own.  Guests are carried without that.",
        ),
        click.option(
            "--timeout", type=Float(), default=300, show_default=True, metavar="SECONDS",
            help="Time for the script of one run; one that takes longer has failed.",
        ),
        click.option(
            "--script", required=True, metavar="CMD",
            help="Command of each run, as of gdbstub run; also with GDBSTUB_RUN and "
            "GDBSTUB_PARAMETERS in its environment.",
        ),
    ):  # fmt: skip
        command = option(command)
    return _engine_options(command)


@sweep.command(params=_shared())
@click.argument("guests", nargs=-1, metavar="[GUEST]...")
@click.option(
    "--until", type=click.Choice(["failure"]), help="Begin no run after the first that fails."
)
@click.option(
    "--vary", multiple=True, metavar="NAME=VALUE,…",
    help="Values of an option of gdbstub run, or of guest; each combination is run.  "
    "kaslr-seed=random: another one for each run.",
)  # fmt: skip
@click.option(
    "--runs", type=IntegerRange(1, _RUNS), default=1, show_default=True, metavar="N",
    help="Runs of each combination.",
)  # fmt: skip
@_run_options
def start(
    guests: Sequence[str],
    runs: int,
    vary: Sequence[str],
    until: str | None,
    **options: Any,  # noqa: ANN401
) -> int:
    """Run a sweep over GUEST..."""
    from gdbstub.cli.sweep import work

    varied = parse_vary(vary, {*_BY_NAME, GUEST})
    for name, values in varied.items():
        varied[name] = [_converted(name, value) for value in values]
    if guests and GUEST in varied:
        raise InputError("--vary guest names the guests: give no other GUEST")
    if guests:
        varied[GUEST] = [_converted(GUEST, guest) for guest in guests]
    for guest in (found := varied.get(GUEST, [])):
        if found.count(guest) > 1:
            raise InputError(f"{guest} comes twice; --runs N repeats runs")
    fixed = _fixed(options)
    if both := fixed.keys() & varied:
        raise InputError(f"--{min(both)} is given, and by --vary, too: give one of the two")
    if (all_runs := runs * math.prod(map(len, varied.values()))) > _RUNS:
        each = all_runs // runs
        raise InputError(
            f"--runs {runs} of {each} combinations are {all_runs} runs; the most is {_RUNS}"
        )
    rows = combinations(fixed, varied)
    if any([_check(row, options) for row in rows]):
        # By default a kernel draws its seed itself, and nobody could replay that.
        for row in rows:
            row.setdefault(KASLR_SEED, RANDOM)
    plan = _plan(options, fixed, tuple(varied), until_failure=until is not None)
    if len(varied.get(GUEST, [])) == 1:
        plan = plan._replace(varied=tuple(name for name in varied if name != GUEST))
    check_out(out := _out(options["out"]), plan, rows)
    planned = plan_runs(rows, runs, plan.seed)
    return work.start(out, plan, planned, on=options["on"], jobs=options["jobs"])


class _Bisect(click.Command):
    """Command whose options may also follow ``--`` and the images."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [word for word in args if word != "--"])


@sweep.command(cls=_Bisect, params=_shared())
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--good", required=True, metavar="A", help="Image for which the script exits with 0.")
@click.option("--bad", required=True, metavar="B", help="Image for which it does not.")
@click.option(
    "--confidence", type=Float(), metavar="P",
    help="Probability with which the first bad image is to be found, if bad images pass at times.  "
    "[default: the script is never wrong]",
)  # fmt: skip
@click.option(
    "--limit", type=IntegerRange(3), default=1000, show_default=True, metavar="N",
    help="Largest number of runs.",
)  # fmt: skip
@_run_options
def bisect(
    images: Sequence[str],
    good: str,
    bad: str,
    confidence: float | None,
    limit: int,
    **options: Any,  # noqa: ANN401
) -> int:
    """Find the first bad one of IMAGEs, given in order from good to bad."""
    from gdbstub.cli.sweep import work

    if confidence is not None and not 0.5 <= confidence < 1:
        raise InputError(f"--confidence {confidence:g}: expected a number from 0.5 to below 1")
    names = [_converted(GUEST, image) for image in images]
    for option, name in (("--good", good), ("--bad", bad)):
        if not name:
            raise InputError(f"{option}: a file's name is missing")
    found = between(names, _converted(GUEST, good), _converted(GUEST, bad))
    fixed = _fixed(options)
    if any([_check({**fixed, GUEST: image}, options) for image in found]):
        fixed.setdefault(KASLR_SEED, RANDOM)
    plan = _plan(options, fixed, (GUEST,), until_failure=False)
    plan = plan._replace(images=tuple(found), confidence=confidence, limit=limit)
    check_out(out := _out(options["out"]), plan, [fixed])
    return work.start(out, plan, [], on=options["on"], jobs=options["jobs"])


@sweep.command()
@_engine_options
@click.option(
    "--limit", type=IntegerRange(3), metavar="N",
    help="Largest number of runs of a bisection, from now on.",
)  # fmt: skip
@click.argument("directory", type=File(), metavar="DIR")
def resume(directory: Path, limit: int | None, on: str, jobs: int | None) -> int:
    """Go on with a sweep or bisection that was cut short or has errors."""
    from gdbstub.cli.sweep import work

    return work.resume(directory, on=on, jobs=jobs, limit=limit)


@sweep.command()
@click.argument("directory", type=File(), metavar="DIR")
@click.argument("number", type=Integer(), required=False, metavar="[RUN]")
def show(directory: Path, number: int | None) -> int:
    """Show the results so far, or those of one RUN."""
    from gdbstub.cli.sweep import results

    return results.show(directory, number)


@sweep.command()
@click.option("--attach", is_flag=True, help="Without the script: attach a debugger yourself.")
@click.argument("directory", type=File(), metavar="DIR")
@click.argument("number", type=Integer(), metavar="RUN")
def replay(directory: Path, number: int, attach: bool) -> int:
    """Execute RUN once more, with its seed, on this terminal."""
    from gdbstub.cli.sweep import results

    return results.replay(directory, number, attach=attach)


@sweep.command()
@click.option(
    "--output", type=File(), metavar="FILE", help="File to write.  [default: DIR/report.html]"
)
@click.argument("directory", type=File(), metavar="DIR")
def report(directory: Path, output: Path | None) -> int:
    """Write the results as one HTML file."""
    from gdbstub.cli.sweep import results

    return results.report(directory, output)


@sweep.command()
@click.argument("directory", type=File(), metavar="DIR")
@click.argument("file", type=File(), metavar="FILE")
def export(directory: Path, file: Path) -> int:
    """Write the results to FILE, in the format Parquet."""
    from gdbstub.cli.sweep import results

    return results.export(directory, file)


def _plan(
    options: Mapping[str, Any],
    fixed: Mapping[str, str],
    varied: tuple[str, ...],
    *,
    until_failure: bool,
) -> SweepPlan:
    from gdbstub.cli.settings.run import check_script

    check_script(options["script"], options["timeout"], "")
    check_syntax(options["script"])
    seed = options["seed"]
    return SweepPlan(
        command=command_words(options["command"] or ""),
        script=options["script"],
        timeout=options["timeout"],
        start_timeout=_START_SECONDS,
        flags=tuple(option.flag for option in _FLAGS if options[option.name]),
        vmcore_on=options["vmcore_on"] or "",
        files=(GUEST, *(name for name, option in _BY_NAME.items() if option.convert is Path)),
        carried=carried(options["carry"]),
        directory=os.getcwd(),
        varied=varied,
        until_failure=until_failure,
        fixed=dict(fixed),
        seed=secrets.randbits(32) if seed is None else seed,
    )


def _out(given: Path | None) -> Path:
    return (given or Path(time.strftime("sweep-%Y%m%d-%H%M%S"))).absolute()


def _fixed(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the options with a value that are given, by the names that ``--vary`` has."""
    return {
        name: _converted(name, str(options[option.name]))
        for name, option in _BY_NAME.items()
        if options[option.name] is not None
    }


def _converted(name: str, value: str) -> str:
    """Return *value* as it is passed to each run: a file by its absolute path.

    Raises:
        InputError: it is no value of that option.
    """
    option = _BY_NAME.get(name, Option("", GUEST, convert=Path))
    try:
        option.convert(value)
    except ValueError:
        raise InputError(f"--vary {name}={value}: {value!r} is no number") from None
    if option.choices and value not in option.choices:
        raise InputError(f"--vary {name}={value}: expected one of {', '.join(option.choices)}")
    if not value and option.convert is Path:
        flag = option.flag or GUEST.upper()
        raise InputError(f"{flag}: a file's name is missing")
    is_file = option.convert is Path and (name, value) != ("symbols", _DEBUG)
    return str(Path(value).absolute()) if is_file else value


def _check(row: Mapping[str, str], options: Mapping[str, Any]) -> bool:
    """Check the settings of a run; return True if its guest draws a random number by default.

    Raises:
        InputError: ``gdbstub run`` would refuse them.
    """
    from gdbstub.cli.settings.run import choose_host, read_settings

    values: dict[str, Any] = {option.name: option.default for option in RUN}
    values |= {option.name: options[option.name] for option in _FLAGS}
    for name, option in _BY_NAME.items():
        if name in row and row[name] != RANDOM:
            values[option.name] = option.convert(row[name])
    for name in ("endpoint", "verbose", "script"):
        del values[name]
    if options["vmcore_on"]:
        # The file is made in the directory of each run; here any will do that is not there.
        values["vmcore_on"] = (
            options["vmcore_on"],
            os.path.join(tempfile.gettempdir(), secrets.token_hex(16)),
        )
    host = choose_host(values.pop("where"))
    values |= {"inner": False, "guest": row.get(GUEST), "timeout": options["timeout"]}
    settings = read_settings(host, endpoint="localhost:0", script=options["script"], **values)
    return settings.guest.kaslr_seed is not None
