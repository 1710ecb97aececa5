"""The command line: ``gdbstub run``, ``lab`` and ``doctor``."""
