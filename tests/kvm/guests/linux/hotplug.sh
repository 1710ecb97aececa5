#!/bin/busybox sh
# The guest's first process in test_cpus.py: takes a CPU away and brings it back; each change of the
# host's name is where the debugger looks.
/bin/busybox mkdir -p /proc /sys
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
echo 0 >/sys/devices/system/cpu/cpu1/online
hostname away
echo "without it: $(cat /sys/devices/system/cpu/online)"
echo 1 >/sys/devices/system/cpu/cpu1/online
hostname back
echo "with it: $(cat /sys/devices/system/cpu/online)"
echo "tainted: $(cat /proc/sys/kernel/tainted)"
poweroff -f
