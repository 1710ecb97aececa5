"""The Linux KVM interface, driven by its ioctls. ``gdbstub.kvm_backend`` makes a machine of it.

- The interface: ``abi`` (structures and numbers), ``port`` (the way to a VM's descriptors),
  ``device``.
- A vCPU: ``one_reg`` (registers), ``vcpu_state`` (power, events), ``guest_debug`` (comparators,
  steps), ``features``, ``virtual_counter``, and ``vcpu`` (its thread) with ``exclusive``,
  ``watchdog`` and ``false_hits``.
- RAM: ``memory`` over ``host_memory``, and ``tags``. ``board`` is what a machine has besides.
- The C files in ``core``: ``compiler`` compiles them, ``native`` opens the library. ``host_frame``
  frames replies by it.
"""
