"""The gdb ring: a real gdb-multiarch against the whole stub over the fake machine."""
