"""Commands of ``gdbstub``, by click: a file for each, called as the command is, and their group."""
