"""The rings of tests: pure, fakes, contract, gdb, kvm."""
