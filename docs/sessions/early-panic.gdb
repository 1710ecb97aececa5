# gdbstub run --append 'console=ttyAMA0 nokaslr quiet mem=16M' --stop-on panic
continue
monitor why
backtrace 3
