#!/bin/busybox sh
# The guest of tests/kvm/test_foreign_qemu.py: on each vCPU a chain of digests, each link of which
# is written to a virtio disk and sent over a virtio network that returns it. It ends by a line of
# input, by a panic if that says so. A byte that goes wrong anywhere makes another digest, file or
# count.
/bin/busybox mkdir -p /proc /dev /disk
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs devtmpfs /dev
for module in /modules/*.ko; do insmod "$module"; done
ip link set eth0 up
ip address add 10.0.2.15/24 dev eth0
mount -t ext4 /dev/vda /disk || poweroff -f
mkdir /run

chain() {
    digest=$1 number=0 returned=0
    while [ ! -e /run/end ]; do
        number=$((number + 1))
        digest=$(echo "$digest $number" | sha256sum | cut -c 1-64)
        echo "$digest" > "/disk/$1.$number"
        [ "$(echo "$digest" | nc 10.0.2.100 9)" = "$digest" ] && returned=$((returned + 1))
        [ $number = 1 ] && echo "chain $1: begun"
    done
    echo "chain $1: links $number, returned $returned, digest $digest"
}
for cpu in $(seq "$(nproc)"); do chain "$cpu" & done
read -r how
[ "$how" = panic ] && exit
touch /run/end
wait
umount /disk
echo "virtio: end"
poweroff -f
