"""Linux guests: ELF files, a kernel's symbols, and the address at which the kernel runs.

- Files: ``elf``, ``relocate``, and ``debug_frame`` by ``call_frames``.
- The place of the kernel: ``kaslr``, ``locator``, ``trial_boot``.
- The kernel's memory: ``memory`` (by its own tables), ``vmcoreinfo``, ``kernel_image``, ``btf``.
- What is read there: ``log``, ``tasks``, ``process``, ``backtrace``, ``modules``, ``kallsyms``,
  ``names``. ``guest`` keeps what is read once.
- For clients: ``task_threads`` with ``cpu_context``, ``libraries`` with ``module_events`` and
  ``module_files``, ``stop_on`` with ``reasons`` and ``panic_text``.
- For other programs: ``vmcore`` by ``core_file`` or ``handed_out``, ``qmp`` with ``hmp``.
"""
