"""Debug core: a Target over any Machine. It resumes, classifies stops and sets breakpoints.

In the order in which a resume passes through it: ``debugger`` (the Target), ``run_control`` (resume
and stop), ``breakpoints`` with ``placement`` and ``locations`` (what serves each), ``plans``
(continue, step, range) with ``code_regions`` (what of a range is run in one go), over ``step_over``
and ``vcpu_steps`` (one instruction, one sequence), over ``stepping`` (interrupts in a step),
``stop_reasons`` (what an exit is), ``pending_stops`` (which stop is reported first).
"""
