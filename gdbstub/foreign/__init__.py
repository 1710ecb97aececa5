"""Guests of other VMMs: their processes are traced, their own KVM descriptors used.

- A session: ``attach`` and ``launch`` begin one. ``permission`` says what forbids tracing,
  ``slots`` finds the RAM, and asks QEMU by ``qmp``. ``process`` reads /proc.
- The ``Machine`` is ``machine``, with ``vcpu``, ``memory``, ``exclusive`` and ``facts``, over
  ``attachment``, which holds the VMM's threads. ``patches`` and ``journal`` keep account of the
  BRKs.
- Tracing, all on the thread of ``tracer``: ``seized`` and ``vcpu_thread`` take the stops of
  threads, with the ``run_page`` of each; ``injection`` makes system calls in them by a frame of
  ``sigframe``, ``port`` makes ioctls of these. ``ptrace`` has the calls.
"""
