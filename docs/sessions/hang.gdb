# gdbstub run hang.elf --smp 2
break hang.c:46 if waited[0] > 100 && waited[1] > 100
continue
thread apply all -ascending backtrace
print disk
print queue
