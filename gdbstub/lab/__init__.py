"""The lab: an arm64 host with KVM under QEMU's emulation, for machines without arm64 KVM.

``opening`` chooses a lab: a named one, one that is up (``persistent``), or a new one
(``restore``).

- A new one: ``boot`` boots ``kernel``, ``image`` and ``overlay`` (with ``native_core``) by
  ``qemu``; ``snapshot`` saves that by ``migration``. ``processes``, ``guard`` and ``directories``
  end it with its owner.
- Its use: ``host``, over ``ssh``, ``transfer``, ``port_forwards`` and ``monitor``. ``remote_run``
  runs the program in it, which ``prepared`` forks there; ``core_files`` come back, with
  ``process_memory``. ``vmm`` puts a QEMU into it.
- Guests for it: ``demo``, whose symbols ``symbolizer`` makes, with ``debug_symbols``.
- Below: ``debian`` (packages), ``cache``, ``checksums``, ``cpio``, ``tools``, ``private``,
  ``progress``.
"""
