#!/bin/busybox sh
# The guest's first process in test_halted.py: what the kernel says of its clocks and CPUs when
# the guest was halted in the middle of /clocks.
/bin/busybox mkdir -p /proc /sys /dev
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
dmesg -n 8
echo "soft watchdog: $(cat /proc/sys/kernel/soft_watchdog) $(cat /proc/sys/kernel/watchdog_thresh)"
echo "rcu stall: $(cat /sys/module/rcupdate/parameters/rcu_cpu_stall_suppress)"
/clocks
# The kernel's watchdogs look every few seconds.
sleep 6
echo "year: $(date +%Y)"
echo "clocksource: $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
poweroff -f
