"""The command line: commands, their options, and what they print.

``main`` is the entry, ``commands`` has the commands; ``foreign``, ``sweep``, ``lab``, ``drgn``,
``doctor`` and ``symbols`` have those of their names. Options are rows in ``options``; ``version``
and ``logs`` are for all.

- ``gdbstub run``: ``settings`` checks the options, then ``run`` (KVM here) or ``run_in_lab``
  works. Both come to ``serve``, the session for any machine, with ``serve_settings``, ``script``,
  ``ending``, and ``confinement`` by ``seccomp``.
- ``gdbstub attach`` and ``gdbstub launch``: ``foreign`` checks and makes
  ``attach_settings``, ``attach`` or ``launch_in_lab`` works.
- ``gdbstub sweep``: ``sweep`` and ``sweep_arguments`` check, ``sweep_work`` and ``sweep_results``
  work.
- Options: ``endpoints`` and ``forwards`` (--gdb), ``kernel_tree`` (GUEST), ``program`` and
  ``kernel_place`` (--symbols), ``modules``, ``reasons`` (--stop-on), ``qmp`` and ``qmp_lab``.
- Notes for users: ``old_gdb``, ``qemu_options``.
"""
