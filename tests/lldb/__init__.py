"""The lldb ring: a real LLDB against the whole stub over the fake machine."""
