"""The command line: commands, their options, and what they print.

``main`` is the entry, ``commands`` has a file for each command. What they do is in a folder each:

- ``settings``: arguments of options, checked; nothing is made yet.
- ``serving``: a guest of this machine, served to its end; ``in_lab``: one in the lab.
- ``sweep`` for ``gdbstub sweep``, ``doctor`` for ``gdbstub doctor``. The other commands call
  packages below this one.

``options``, ``logs`` and ``version`` are for all.
"""
