#!/bin/busybox sh
# The guest's first process in test_guest_debug.py: uses what debugs and traces in a Linux guest,
# and says a line about each.
/bin/busybox mkdir -p /proc /sys /dev
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tracefs tracefs /sys/kernel/tracing
cd /sys/kernel/tracing || poweroff -f

echo 'p:opened do_sys_openat2' >kprobe_events
echo 1 >events/kprobes/opened/enable
cat /proc/version >/dev/null
echo 0 >events/kprobes/opened/enable
echo "kprobe: $(grep -c 'cat-.*opened: (do_sys_openat2+0x0' trace)"
echo >kprobe_events

# By their places in the list, the first being for interrupts: to find a name among 40,000 takes
# a minute under emulation.
for place in 1 2 3 4 5 6; do echo $place; done >set_ftrace_filter
echo function >current_tracer
for _ in $(seq 100); do
    grep -q ': __do_softirq <-' trace && echo "ftrace: on" && break
done
echo nop >current_tracer
echo >set_ftrace_filter
echo "this makes interrupts"
grep -q __do_softirq trace || echo "ftrace off: nothing"

# Shells tell of a signal by 128 and its number; SIGTRAP is 5.
/brk
echo "brk: $?"
/bkpt
echo "bkpt: $?"
/single_step
echo "single step: $?"
/debug_registers

dmesg -n 8
hostname moved
echo "hostname: $(hostname)"
echo "tainted: $(cat /proc/sys/kernel/tainted)"
poweroff -f
