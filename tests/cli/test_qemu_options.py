"""Options that people know from QEMU: one line with the command that means the same here."""

import pytest

from tests.cli.program import GDBSTUB, Place

SAME = {
    "-kernel Image -append quiet -initrd i.cpio -nographic -s -S -m 512 -smp 2": (
        "-kernel is an option of QEMU; the same here: "
        "gdbstub run Image --append=quiet --initrd=i.cpio --memory=512M --smp=2"
    ),
    "-M virt,gic-version=3 -cpu max -accel kvm guest.elf": (
        "-M is an option of QEMU; the same here: gdbstub run guest.elf"
    ),
    "guest.elf -s": "-s is an option of QEMU; the same here: gdbstub run guest.elf --free-run",
    "-gdb tcp::4321 -m 1G -smp cpus=4,sockets=1 x --stop-on panic": (
        "-gdb is an option of QEMU; the same here: "
        "gdbstub run --gdb=localhost:4321 --memory=1G --smp=4 x --stop-on panic --free-run"
    ),
    "x -S -gdb unix:/run/gdb,server=on,wait=off -m size=2G,slots=1 -serial file:log": (
        "-S is an option of QEMU; the same here: "
        "gdbstub run x --gdb=unix:/run/gdb --memory=2G --console=log"
    ),
    "-kernel Image -drive file=d.img,if=virtio": (
        "-drive is an option of QEMU, and gdbstub run has no such device; a guest of QEMU is "
        "debugged by gdbstub launch -- qemu-system-aarch64 -drive file=d.img,if=virtio …"
    ),
    "-kernel Image -nic none -no-reboot -S -gdb stdio -smp cores=4,sockets=2,threads=1": (
        "-kernel is an option of QEMU; the same here: "
        "gdbstub run Image --no-reboot --gdb=stdio --smp=8"
    ),
    "-M virt,accel=kvm -cpu host x": "-M is an option of QEMU; the same here: gdbstub run x",
    f"x -smp cores={'9' * 5000}": (
        "-smp is an option of QEMU; the same here: gdbstub run x; not carried over: "
        f"-smp cores={'9' * 5000}"
    ),
    "x -smp 2 -m ٣": (
        "-smp is an option of QEMU; the same here: gdbstub run x --smp=2 '--memory=٣'"
    ),
    "x -smp 2,maxcpus=4 -m 1G": (
        "-smp is an option of QEMU; the same here: gdbstub run x --smp=2 --memory=1G"
    ),
    "-M virt,gic-version=2 -cpu cortex-a57 -accel tcg -kernel Image -S -vv": (
        "-M is an option of QEMU; the same here: gdbstub run Image -vv; not carried over: "
        "-M virt,gic-version=2, -cpu cortex-a57, -accel tcg"
    ),
    "x -S -qmp unix:q,server -daemonize -d int -serial null -gdb none -smp many -m slots=2 -odd": (
        "-S is an option of QEMU; the same here: gdbstub run x; not carried over: "
        "-qmp unix:q,server, -daemonize, -d int, -serial null, -gdb none, -smp many, "
        "-m slots=2, -odd"
    ),
    "-kernel": (
        "-kernel is an option of QEMU, and its argument is missing; what gdbstub run takes: "
        "gdbstub run --help"
    ),
    "-kernel -s": (
        "-kernel is an option of QEMU, and its argument is missing; what gdbstub run takes: "
        "gdbstub run --help"
    ),
    # QEMU takes two hyphens as well as one; some of these are ours, too.
    "--kernel Image --append quiet --m 1G --nographic --S --smp 2": (
        "--kernel is an option of QEMU; the same here: "
        "gdbstub run Image --append quiet --memory=1G --smp 2"
    ),
    "--drive file=d.img Image": (
        "--drive is an option of QEMU, and gdbstub run has no such device; a guest of QEMU is "
        "debugged by gdbstub launch -- qemu-system-aarch64 --drive file=d.img …"
    ),
    "--bogus -s": "-s is an option of QEMU; the same here: gdbstub run --bogus --free-run",
    "-x": "No such option '-x'; see gdbstub run --help",
}


@pytest.mark.parametrize("words", SAME)
def test_the_same_here(place: Place, words: str) -> None:
    assert place.refusal(*words.split(), program=(*GDBSTUB, "run")) == SAME[words]


def test_without_a_command(place: Place) -> None:
    line = "-kernel is an option of QEMU; the same here: gdbstub run 'my Image'"
    assert place.refusal("-kernel", "my Image", "-S", program=GDBSTUB) == line
    line = "No such option '-m'; see gdbstub doctor --help"
    assert place.refusal("doctor", "-m", "5", program=GDBSTUB) == line
