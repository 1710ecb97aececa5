"""``python -m gdbstub`` is the console script."""

from gdbstub.cli import main

main()
