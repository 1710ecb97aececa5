#!/bin/busybox sh
# Prints what the guest itself says of its log and its processes, and stays.
/bin/busybox mkdir -p /proc /bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
sleep 1000 &
sleep 1
echo "says: release $(uname -r)"
echo "says: lines $(dmesg | wc -l)"
dmesg | tail -n 3
for each in /proc/[0-9]*/status; do
    echo "says: task $(sed -n 's/^\(Name\|Pid\|PPid\|State\):\t\([^ ]*\).*/\2/p' "$each" | tr '\n' ' ')"
done
echo "says: end"
while true; do sleep 1000; done
