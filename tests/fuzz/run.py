"""One campaign of one target by atheris, as a process of its own.

A finding does not end it: each new kind is written to a file and printed, and the campaign goes on.
"""

import argparse
import hashlib
import logging
import sys
import time
import traceback
from pathlib import Path
from typing import Final

import atheris

from tests.fuzz import corpus

#: Packages whose code counts as covered: ours, and those that read bytes of others for us.
INSTRUMENTED = ["gdbstub", "elftools", "qemu"]


#: Seconds of the processor that an input may take.
_MOST_SECONDS: Final = 5


def signature(error: BaseException) -> str:
    """Name a kind of finding: the exception's type, and the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/gdbstub/" in f.filename] or frames
    return f"{type(error).__name__} at {Path(ours[-1].filename).name}:{ours[-1].lineno}"


class Finder:
    """Target under a fuzzer: keeps one input for each kind of finding."""

    def __init__(self, name: str, place: Path) -> None:
        from tests.fuzz.targets import TARGETS

        self.target = TARGETS[name]
        self.place = place
        self.known: set[str] = set()

    def __call__(self, data: bytes) -> None:
        start = time.process_time()
        try:
            self.target.function(data)
            if (seconds := time.process_time() - start) > _MOST_SECONDS:
                raise TimeoutError(f"{seconds:.1f} s")
        except Exception as error:
            kind = signature(error)
            if kind in self.known:
                return
            self.known.add(kind)
            self.place.mkdir(parents=True, exist_ok=True)
            file = self.place / hashlib.sha1(data).hexdigest()[:12]
            file.write_bytes(data)
            print(f"FINDING {kind}: {file}", flush=True)
            traceback.print_exc()


def main(argv: list[str]) -> None:
    """Fuzz until the time or the inputs are up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--findings", type=Path, required=True)
    options, rest = parser.parse_known_args(argv)  # the rest is libFuzzer's
    with atheris.instrument_imports(include=INSTRUMENTED):
        finder = Finder(options.target, options.findings)
        for data in corpus.inputs(options.target):  # so that what is imported on use is, too
            finder(data)
    logging.getLogger("gdbstub").addHandler(logging.NullHandler())  # warnings would be most output
    longest = f"-max_len={finder.target.longest}"
    atheris.Setup([sys.argv[0], longest, *rest], finder)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
