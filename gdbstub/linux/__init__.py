"""What is known of a Linux guest: its ELF files, its symbols, and where its kernel runs."""
