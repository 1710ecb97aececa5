# gdbstub run writer.elf
watch -location sensor.limit
continue
backtrace
print i
print &values[i]
