"""``python -m gdbstub`` is the console script."""

from gdbstub.cli.main import main

main()
