#!/bin/busybox sh
# The guest's first process in test_placement.py: loads and unloads a module, starts and ends
# processes, fills its memory with zeros, and looks whether they stay zeros.
/bin/busybox mkdir -p /proc /dev /ram
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs -o size=100% tmpfs /ram
free=$(awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
for turn in $(seq 45); do
    insmod /module.ko && rmmod failover || echo "module: failed"
    sh -c 'true | cat >/dev/null'
    test "$turn" != 3 || dd if=/dev/zero of=/ram/file bs=1M count=$((free - 12)) 2>/dev/null
    sync
done
echo "filled: $((free - 12)) of $free MiB"
echo "not zero: $(tr -d '\000' </ram/file | wc -c)"
poweroff -f
