"""``make fuzz``: one target after the other by atheris, each for its share of the time.

What campaigns reach is kept in ``.fuzz/corpus``, and what they find in ``.fuzz/findings``. The exit
status is 1 if anything was found. ``--minimise`` makes the corpus of ``make test`` of what was
reached, and fuzzes nothing.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table

from tests.fuzz import corpus
from tests.fuzz.targets import TARGETS
from tests.matrix import ROOT

WORK: Final = ROOT / ".fuzz"
#: Seconds between two lines of progress.
_PROGRESS: Final = 15
_STATUS: Final = re.compile(rb"#(\d+)\s.*?cov: (\d+) ")
_FINDING: Final = re.compile(rb"^(?:FINDING (?P<kind>.*?): |==\d+== ?ERROR: (?P<error>.*))")
#: An input that hangs ends a campaign after so many seconds, in which a busy machine may leave it
#: nothing to run on; ``run`` bounds what it takes. A campaign takes so much memory at most.
_LIMITS: Final = ("-timeout=600", "-rss_limit_mb=600")
_NICE: Final = 19


class Outcome(NamedTuple):
    """Outcome of a campaign."""

    target: str
    inputs: int = 0
    edges: int = 0
    findings: tuple[str, ...] = ()
    seconds: float = 0.0


def _child(target: str, seeds: Path, *options: str) -> "subprocess.Popen[bytes]":
    for name in ("corpus", "findings"):
        (WORK / name / target).mkdir(parents=True, exist_ok=True)
    found = WORK / "findings" / target
    argv = [sys.executable, "-m", "tests.fuzz.run", target, f"--findings={found}"]
    argv += [f"-artifact_prefix={found}/", *_LIMITS, *options, str(WORK / "corpus" / target)]
    return subprocess.Popen(
        [*argv, str(seeds)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=lambda: os.nice(_NICE),
    )


def outcomes(target: str, lines: Iterable[bytes]) -> Iterator[Outcome]:
    """Yield the outcome so far after each line of a campaign's output that changes it."""
    outcome, start = Outcome(target), time.monotonic()
    for line in lines:
        if status := _STATUS.match(line):
            outcome = outcome._replace(inputs=int(status[1]), edges=int(status[2]))
        elif found := _FINDING.match(line):
            kind = (found["kind"] or found["error"]).decode("utf-8", "replace")
            outcome = outcome._replace(findings=(*outcome.findings, kind))
            print(f"{target}: found {kind}", flush=True)
        yield outcome._replace(seconds=time.monotonic() - start)


def campaign(target: str, seconds: float, runs: int) -> Outcome:
    """Fuzz *target*, and show progress."""
    outcome, said = Outcome(target), time.monotonic()
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryDirectory() as other:
        for number, data in enumerate(corpus.inputs(target)):
            (Path(directory) / str(number)).write_bytes(data)
        options = [f"-max_total_time={max(1, round(seconds))}", f"-runs={runs}", "-keep_seed=1"]
        if words := [*TARGETS[target].words()]:
            dictionary = Path(other) / "words"
            dictionary.write_text("".join(map(_entry, words)))
            options.append(f"-dict={dictionary}")
        with _child(target, Path(directory), *options) as process:
            assert process.stdout is not None
            try:
                for outcome in outcomes(target, process.stdout):
                    if time.monotonic() - said > _PROGRESS:
                        said = time.monotonic()
                        print(_line(outcome), flush=True)
            except BaseException:
                process.kill()
                raise
    if process.returncode and not outcome.findings:
        outcome = outcome._replace(findings=(f"ended with status {process.returncode}",))
    print(f"{_line(outcome)}: done", flush=True)
    return outcome


def _entry(word: bytes) -> str:
    """Write *word* as a line of libFuzzer's dictionary."""
    escaped = "".join(f"\\x{byte:02x}" for byte in word)
    return f'"{escaped}"\n'


def _line(outcome: Outcome) -> str:
    return (
        f"{outcome.target}: {outcome.inputs:,} inputs, {outcome.edges} edges, "
        f"{len(outcome.findings)} findings"
    )


def minimise(target: str) -> int:
    """Make the corpus of *target* those inputs that reach all that campaigns have, and findings."""
    reached = [path.read_bytes() for path in (WORK / "corpus" / target).glob("*")]
    found = corpus.fewest(TARGETS[target].function, [*corpus.inputs(target), *reached])
    found += [path.read_bytes() for path in (WORK / "findings" / target).glob("*")]
    corpus.write(target, found)
    return len(found)


def table(outcomes: Sequence[Outcome]) -> Table:
    """Make the table at the end."""
    rows = Table("target", "inputs", "edges", "findings", "minutes")
    for each in outcomes:
        rows.add_row(
            each.target,
            f"{each.inputs:,}",
            str(each.edges),
            "\n".join(each.findings) or "none",
            f"{each.seconds / 60:.1f}",
        )
    return rows


def main(argv: list[str]) -> int:
    """Fuzz as the command line says; 1 if anything was found."""
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--runs", type=int, default=-1, help="no more inputs a target than this")
    parser.add_argument("--minimise", action="store_true", help="write tests/fuzz/corpus anew")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="all unless given")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a campaign ends, too
    names = options.targets or list(TARGETS)
    if unknown := [name for name in names if name not in TARGETS]:
        parser.error(f"{unknown[0]} is no target; expected one of {', '.join(TARGETS)}")
    if options.minimise:
        for name in names:
            print(f"{name}: {minimise(name)} inputs", flush=True)
        return 0
    end = time.monotonic() + 60 * options.minutes
    outcomes: list[Outcome] = []
    for place, name in enumerate(names):  # what one leaves of its time is for those behind it
        share = max(1.0, end - time.monotonic()) / (len(names) - place)
        outcomes.append(campaign(name, share, options.runs))
    Console().print(table(outcomes))
    return int(any(each.findings for each in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
