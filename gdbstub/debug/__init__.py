"""Debug core: a Target over any Machine. It resumes, classifies stops and sets breakpoints.

In the order in which a resume passes through it:

- ``debugger`` is the Target; ``registers``, ``memory``, ``memory_regions`` and ``tags`` are its
  views of a vCPU, ``requested`` the client's requests, ``extensions`` what others may add to it.
- ``run_control`` resumes and stops the vCPUs, by the states of ``run_state``.
- ``breakpoints`` makes requests true before a resume. ``locations`` finds their addresses, in
  ``address_spaces``; ``placement`` decides between BRK and comparator, by ``patch_sites`` and
  ``guest_text``. ``return_vectors`` serves returns to where nothing executes, ``stop_points`` the
  stub's own breakpoints.
- ``plans`` continues and steps a vCPU, with ``code_regions`` (what of a range is run in one go),
  over ``step_over`` (an instruction with a breakpoint on it), ``exclusive_steps`` (an exclusive
  one at which a watchpoint has stopped), ``vcpu_steps`` (one instruction, one sequence) and
  ``stepping`` (without interrupts). ``vectors``, ``guest_comparators`` and ``guest_exception`` are
  about the guest's own exceptions and debugging.
- ``stop_reasons`` classifies a debug exit; ``false_hits`` describes those that a machine may pass
  over. ``pending_stops`` chooses the stop to report.
- ``caches`` owns what is remembered: ``instruction_cache``, and others that ``ram_comparison``
  checks.
"""
