"""Settings of a session: the arguments of options, checked, and the files that they name, read.

``run`` has those of ``gdbstub run``, ``attach`` those of ``gdbstub attach`` and ``gdbstub launch``;
``serve`` has what a session needs whatever its machine.

- ``--gdb``: ``endpoints``, and ``forwards`` into the lab.
- GUEST and ``--symbols``: ``kernel_tree`` and ``program``.
- ``--modules``: ``modules``; ``--stop-on`` and ``--vmcore-on``: ``reasons``; ``--qmp``: ``qmp``.
"""
