"""Sessions in this process: a guest is served to its end.

``run`` makes the guest of ``gdbstub run`` by this machine's KVM, ``attach`` finds or starts one of
another VMM; both come to ``serve``.

- Beside the server: ``script``, ``qmp``, ``old_gdb``; ``ending`` for what ends a session.
- Before it: ``kernel_place``, and ``confinement`` of this process by ``seccomp``.
"""
