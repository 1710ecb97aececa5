#!/bin/busybox sh
# Runs one program twice, under two names, the second by exec in a process that was there before.
/bin/busybox mkdir -p /proc /bin /dev
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs devtmpfs /dev
cp /turn /bin/other
other &
sh -c 'sleep 1; exec /turn' &
echo "processes: turn is $!"
while true; do sleep 1000; done
