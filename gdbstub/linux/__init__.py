"""Linux guests: ELF files, a kernel's symbols, and the address at which the kernel runs."""
