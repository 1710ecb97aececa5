#!/bin/busybox sh
# The guest's first process in tests/load/linux.py: two chains of digests, one in each of two
# processes. A byte that goes wrong anywhere makes another digest at the end.
/bin/busybox mkdir -p /proc /dev
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs devtmpfs /dev
count=$(sed 's/.*compute=\([0-9]*\).*/\1/' /proc/cmdline)

chain() {
    digest=$1
    for number in $(seq "$count"); do
        digest=$(echo "$digest $number" | sha256sum | cut -c 1-64)
    done
    echo "digest $1: $digest"
}
chain one &
chain two &
wait
poweroff -f
