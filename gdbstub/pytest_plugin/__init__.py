"""Plugin for pytest: guests, consoles and GDB as fixtures, and failures reported with them."""
