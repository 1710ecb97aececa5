# gdbstub run hang.elf --smp 2
break hang.c:46 if waited[0] > 1000 && waited[1] > 1000
continue
thread apply all -ascending backtrace
print disk
print queue
