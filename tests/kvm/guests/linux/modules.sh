#!/bin/busybox sh
# Loads modules, prints what the guest itself says of them, removes one, and stays.
/bin/busybox mkdir -p /proc /sys /bin /dev
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
sleep 1000 &
echo "modules: sleeper is $!"
insmod /ko/failover.ko
insmod /ko/net_failover.ko
sed 's/^/modules: loaded /' /proc/modules
for each in failover net_failover; do
    cd /sys/module/$each/sections || poweroff -f
    grep -H . .[a-z_]* __* | sed "s/^/modules: section $each /"
done
for each in 1 2 $!; do
    # Nothing is told of a task that runs right then.
    until [ -s /stack ]; do
        sed "s/^\[<0>\] /modules: stack $each /" /proc/$each/stack >/stack
    done
    cat /stack
    rm /stack
done
echo "modules: all loaded"
rmmod net_failover
sed 's/^/modules: left /' /proc/modules
insmod /ko/net_failover.ko
echo "modules: end"
while true; do sleep 1000; done
