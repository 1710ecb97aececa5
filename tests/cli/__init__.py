"""The command line as a person meets it: the real program, in a process of its own."""
