#!/usr/bin/env python3
"""``gdbstub run`` from a checkout, in whatever Python it is called by.

It finds the project's virtual environment by itself and makes none: ``make run`` does.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Become ``gdbstub run`` with this command line's arguments."""
    python = ROOT / ".venv" / "bin" / "python"
    if not python.exists():
        sys.exit(f"gdbstub: {python} is missing; make it with: make -C {ROOT} .venv/ready-to-run")
    os.execv(python, [str(python), "-m", "gdbstub", "run", *sys.argv[1:]])


if __name__ == "__main__":
    main()
