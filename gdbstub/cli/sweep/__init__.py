"""Work of ``gdbstub sweep``: its own arguments, and its runs and results over ``gdbstub.sweep``."""
