#!/usr/bin/env python3
"""``gdbstub run`` from a checkout, for any Python that starts this script.

It uses the checkout's virtual environment, which ``make run`` creates.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Replace this process by ``gdbstub run`` with the same arguments."""
    python = ROOT / ".venv" / "bin" / "python"
    if not python.exists():
        sys.exit(f"gdbstub: {python} is missing; make it with: make -C {ROOT} .venv/ready-to-run")
    os.execv(python, [str(python), "-m", "gdbstub", "run", *sys.argv[1:]])


if __name__ == "__main__":
    main()
