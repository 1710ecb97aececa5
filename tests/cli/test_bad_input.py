"""Unusable input: one clear line, exit status 2, and no effect."""

import gzip
import shutil

import pytest
import zstandard

from gdbstub.cli.main import call
from gdbstub.lab.qemu import PROGRAM as QEMU
from tests.cli.program import GDBSTUB, RUN, RUN_STUB, Place
from tests.pure.elves import Elf, Load, image

ELF = Elf().build()
RAW = image()
BIG_ENDIAN = b"\x7fELF\2\2" + ELF[6:16] + b"\0\2\0\xb7" + ELF[20:]
ILP32 = ELF[:4] + b"\1" + ELF[5:]
HIGH = 0xFFFF_8000_8000_0000

GUESTS = {
    "empty": (b"", "is empty; expected a static AArch64 ELF or a Linux arm64 Image"),
    "text": (b"hello\n" * 40, "is neither ELF nor a kernel; expected a static AArch64 ELF"),
    "x86 ELF": (Elf(machine=62).build(), "is an ELF for x86-64; expected AArch64"),
    "32-bit Arm ELF": (Elf(machine=40).build(), "is an ELF for 32-bit Arm; expected AArch64"),
    "ILP32 ELF": (ILP32, "is a 32-bit (ILP32) ELF; expected 64-bit AArch64"),
    "big-endian ELF": (BIG_ENDIAN, "is a big-endian ELF; expected little-endian"),
    "object file": (Elf(type=1).build(), "is a relocatable object; link it into an executable"),
    "ELF header cut": (ELF[:40], "is truncated: 40 bytes hold no ELF header"),
    "ELF cut": (ELF[:-100], "is truncated: the section headers would end at byte"),
    "ELF segment cut": (
        Elf([Load(data=bytes(64))]).build()[:150].ljust(64, b"\0"),
        "is truncated: ",
    ),
    "Image cut": (RAW[:-1], "is truncated: its sections end at byte 0x3000"),
    "gzip cut": (gzip.compress(RAW)[:-9], "is truncated: its gzip data ends early"),
    "zstd cut": (zstandard.compress(RAW)[:-9], "is truncated: its zstd data ends early"),
    "gzip of an Image cut": (gzip.compress(RAW[:-1]), "is truncated: its sections end"),
    "big-endian Image": (image(flags=0xB), "is a big-endian kernel; expected a little-endian one"),
    "kernel for x86": (b"MZ" + bytes(0x200) + b"HdrS", "is a Linux kernel for x86"),
    "outside RAM": (
        Elf([Load(paddr=0x8_0000)], entry=0x8_0000).build(),
        "has a segment at 0x80000-0x8000f; RAM is at 0x40000000-0x5fffffff (512M)",
    ),
    "vmlinux": (
        Elf([Load(paddr=HIGH)], entry=HIGH).build(),
        "is a kernel linked at virtual addresses, a vmlinux: give its Image as GUEST, and this "
        "file to --symbols",
    ),
    "relocatable vmlinux": (
        Elf([Load(paddr=HIGH)], entry=HIGH, type=3).build(),
        "is a kernel linked at virtual addresses, a vmlinux: give its Image as GUEST, and this "
        "file to --symbols",
    ),
}


@pytest.mark.parametrize("what", GUESTS)
def test_guests(place: Place, what: str) -> None:
    data, line = GUESTS[what]
    (place.files / "guest").write_bytes(data)
    assert place.refusal("guest").startswith(f"guest: {line}")


def test_no_guest_at_all(place: Place) -> None:
    assert place.refusal("absent") == "absent: No such file or directory"
    assert place.refusal("/").startswith("/: is a directory without arch/arm64/boot; expected a")
    assert place.refusal("/dev/null") == "/dev/null: is not a regular file"


def test_a_guest_without_a_name(place: Place) -> None:
    line = "GUEST: a file's name is missing; without GUEST a small Linux guest is run"
    assert place.refusal("") == line


def test_a_choice_that_is_told_controls_no_terminal(place: Place) -> None:
    (place.files / "a\x1b[2Jb").write_bytes(b"\x1f\x20\x03\xd5" * 8)
    done = place.call("a\x1b[2Jb", "--stop-on", "panic", program=RUN)
    assert done.stderr.startswith(r"gdbstub: a\x1b[2Jb has no header: a raw binary, loaded at")
    assert "\x1b" not in done.stderr


def test_names_that_are_no_text(place: Place) -> None:
    assert place.refusal(b"a\nb\x1b\xff") == r"a\nb\x1b\udcff: No such file or directory"


@pytest.mark.parametrize(
    "data",
    [
        Elf([Load(memsz=80 << 20)]).build(),
        image(image_size=80 << 20),
        gzip.compress(image(image_size=80 << 20)),
        gzip.compress(image(70 << 20, image_size=80 << 20)),
    ],
    ids=["ELF", "Image", "gzip", "gzip, large itself"],
)
def test_guests_larger_than_the_memory(place: Place, data: bytes) -> None:
    (place.files / "guest").write_bytes(data)
    line = place.refusal("guest", "--memory", "64M")
    assert line.startswith("guest: needs 80.")
    assert line.endswith("MiB of memory, and --memory is 64M; give at least --memory 128M")


def test_an_initrd_counts_too(place: Place) -> None:
    (place.files / "Image").write_bytes(RAW)
    (place.files / "initrd").write_bytes(bytes(5 << 20))
    line = place.refusal("Image", "--initrd", "initrd", "--memory", "4M")
    assert line.startswith("Image with its initrd: needs 5.")


OPTIONS = {
    "--memory 12Q": "--memory '12Q': expected a size such as 512M or 1G",
    "--memory -1": "--memory '-1': expected a size such as 512M or 1G",
    "--memory ": "--memory '': expected a size such as 512M or 1G",
    "--memory 0": "--memory 0: the least is 2M",
    "--memory 512": "--memory 512: the least is 2M; for mebibytes write 512M",
    "--memory 2000T": "--memory 2000T: the most is 1023G",
    "--memory 2097153": "--memory 2097153: expected a multiple of 64K",
    "--load here": "--load 'here': expected an address from 0x40000000, where RAM begins, on; a",
    "--load 0x80000": "--load '0x80000': expected an address from 0x40000000, where RAM begins,",
    "--kaslr-seed on": "--kaslr-seed 'on': expected random, or a number of 64 bits such as 0x1234",
    "--smp 0": "--smp 0: a guest has 1 to 123 vCPUs",
    "--smp -1": "--smp -1: a guest has 1 to 123 vCPUs",
    "--smp 1000": "--smp 1000: a guest has 1 to 123 vCPUs",
    "--smp ٣": "Invalid value for '--smp': '٣' is not a valid integer.",
    "--smp 1_0": "Invalid value for '--smp': '1_0' is not a valid integer.",
    "--smp +1": "Invalid value for '--smp': '+1' is not a valid integer.",
    "--timeout ٣": "Invalid value for '--timeout': '٣' is not a valid float.",
    "--timeout 1_0": "Invalid value for '--timeout': '1_0' is not a valid float.",
    "--smp abc": "Invalid value for '--smp': 'abc' is not a valid integer.",
    "--cpu sve=yes": "--cpu sve=yes: expected sve=on, sve=off or the bits of the longest vector",
    "--cpu sve=100": "--cpu sve=100: expected sve=on, sve=off or the bits of the longest vector",
    "--cpu host,pauth": "--cpu host,pauth: expected pauth=on or pauth=off",
    "--cpu max": "--cpu max: 'max' is no feature; those are sve, pauth, pmu, mte, aarch32",
    "--cpu pmu=on,pmu=off": "--cpu pmu=on,pmu=off: pmu is there twice",
    "--cpu aarch32=on,sve=on": "--cpu aarch32=on,sve=on: with aarch32=on there is no sve, no pauth",
    "--host qemu": "Invalid value for '--host': 'qemu' is not one of 'auto', 'kvm', 'lab'.",
    "--gdb ": "--gdb '' lacks a port; expected HOST:PORT, unix:PATH or stdio",
    "--gdb 1234": "--gdb '1234' lacks a port; expected HOST:PORT, unix:PATH or stdio",
    "--gdb localhost:x": "--gdb 'localhost:x' lacks a port from 0 to 65535; expected",
    "--gdb localhost:65536": "--gdb 'localhost:65536' lacks a port from 0 to 65535; expected",
    "--gdb ::1:1234": "--gdb '::1:1234' lacks brackets round an IPv6 address; expected",
    "--gdb unix:": "--gdb 'unix:' lacks a path; expected HOST:PORT, unix:PATH or stdio",
    "--gdb no.such.host.invalid:1": "no host is called no.such.host.invalid: ",
    f"--gdb {'a' * 70}:1": f"no host is called {'a' * 70}: ",
    "--gdb 192.0.2.1:1": "192.0.2.1:1 cannot be listened on: Cannot assign requested address",
    "--gdb unix:none/gdb": "unix:none/gdb cannot be listened on: No such file or directory",
    f"--gdb unix:{'a' * 200}": f"unix:{'a' * 200} cannot be listened on: AF_UNIX path too long",
    "--gdb unix:guest.elf": "guest.elf exists and is no socket; choose another path",
    "--gdb unix:.": ". exists and is no socket; choose another path",
    "--gdb stdio --script true": "--script cannot talk to --gdb stdio; give HOST:PORT or unix:",
    "--timeout 0": "--timeout 0: expected a number of seconds above 0",
    "--qmp localhost:1": "--qmp localhost:1: expected unix:PATH, a socket that only this user",
    "--qmp guest.elf": "--qmp guest.elf: expected unix:PATH, a socket that only this user",
    "--qmp unix:": "--qmp unix:: expected unix:PATH, a socket that only this user",
    "--gdb unix:q --qmp unix:./q": "--qmp unix:./q: is the socket of --gdb; expected another path",
    "--stop-on ": "--stop-on : '' is not one of panic, oops, warn, reset",
    "--qmp unix:none/q": "unix:none/q cannot be listened on: No such file or directory",
    "--timeout inf": "--timeout inf: expected a number of seconds above 0",
    "--timeout 1e10": "--timeout 1e+10: the most is 1e+09 seconds",
    "--vmcore-on fire core": "--vmcore-on fire: 'fire' is not one of panic, oops, warn, reset, "
    "timeout",
    "--vmcore-on timeout core": "--vmcore-on timeout: there is no end of the time without "
    "--timeout",
    "--vmcore-on panic none/core": "--vmcore-on panic none/core: No such file or directory",
    "--vmcore-on panic guest.elf": "--vmcore-on panic guest.elf: is there already; expected a "
    "new file",
    "--vmcore-on panic": "Option '--vmcore-on' requires 2 arguments; see gdbstub run --help",
    "--script true --timeout 0": "--timeout 0: expected a number of seconds above 0",
    "--script true --timeout x": "Invalid value for '--timeout': 'x' is not a valid float.",
    "--script true --timeout nan": "--timeout nan: expected a number of seconds above 0",
    "--initrd absent": "--initrd absent: No such file or directory",
    "--initrd .": "--initrd .: is a directory; expected a file",
    "--dtb absent": "--dtb absent: No such file or directory",
    "--dtb .": "--dtb .: is a directory; expected a file",
    "--dtb guest.elf": "--dtb guest.elf: is no device tree blob; compile a .dts by dtc first",
    "--initrd ": "--initrd: a file's name is missing",
    "--dtb ": "--dtb: a file's name is missing",
    "--symbols ": "--symbols: a file's name is missing",
    "--modules ": "--modules: a directory's name is missing",
    "--symbols absent": "--symbols absent: No such file or directory",
    "--symbols .": "--symbols .: is a directory; expected a file",
    "--record none/file": "--record none/file: No such file or directory",
    "--record guest.elf/file": "--record guest.elf/file: Not a directory",
    "--record .": "--record .: Is a directory",
    "--record ": "--record: a file's name is missing",
    "--console none/file": "--console none/file: No such file or directory",
    "--console .": "--console .: Is a directory",
    "--console ": "--console: a file's name is missing",
    "--bogus": "No such option '--bogus'",
    "--zzzzzz": "No such option '--zzzzzz'; see gdbstub run --help",
    "--no-rebot": "No such option '--no-rebot'. Did you mean '--no-reboot'?",
    # No hidden option is proposed.
    "--progra": "No such option '--progra'; see gdbstub run --help",
    "--smp": "Option '--smp' requires an argument; see gdbstub run --help",
    "another": "Got unexpected extra argument (another); see gdbstub run --help",
}


@pytest.mark.parametrize("given", OPTIONS)
def test_options(place: Place, given: str) -> None:
    line = place.refusal("guest.elf", "--gdb", "localhost:0", *given.split(" "))
    assert line.startswith(OPTIONS[given])


@pytest.mark.parametrize("given", OPTIONS)
def test_options_are_looked_at_before_a_demo_guest_is_made(place: Place, given: str) -> None:
    """Without GUEST: making it takes half a minute and downloads."""
    if "guest" in given or "another" in given:
        given = given.replace("guest.elf", "/etc/passwd").replace("another", "one another")
        assert place.refusal("--gdb", "localhost:0", *given.split(" "))
        return
    line = place.refusal("--gdb", "localhost:0", *given.split(" "))
    assert line.startswith(OPTIONS[given])


@pytest.mark.parametrize("words", [["--stop-on", "oops,reset"], ["--vmcore-on", "panic", "core"]])
def test_a_guest_that_is_no_linux_has_no_panic(place: Place, words: list[str]) -> None:
    line = f"{' '.join(words[:2])} needs a Linux guest and the symbols of its kernel: --symbols"
    assert place.refusal("guest.elf", *words) == line


@pytest.mark.parametrize(
    "words",
    ["--stop-on panic", "--vmcore-on oops core", "--modules ."],
    ids=lambda words: words.split()[0],
)
def test_symbols_of_no_kernel_where_a_kernels_are_needed(place: Place, words: str) -> None:
    (place.files / "Image").write_bytes(RAW)
    line = place.refusal("Image", "--symbols", "guest.elf", *words.split())
    assert line == "--symbols guest.elf: has no symbol vectors; expected a vmlinux"


def test_a_device_tree_that_is_damaged(place: Place) -> None:
    (place.files / "dtb").write_bytes(b"\xd0\x0d\xfe\xed" + bytes(range(200)))
    assert place.refusal("guest.elf", "--dtb", "dtb").startswith("--dtb dtb: ")


def test_a_command_line_longer_than_the_kernel_takes(place: Place) -> None:
    (place.files / "Image").write_bytes(RAW)
    line = place.refusal("Image", "--append", "x" * 2048)
    assert line == "--append: has 2048 bytes; the kernel keeps 2047"


def test_nul_in_a_command_line(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    """No process can be started with such an argument; a caller of ours could still."""
    arguments = ["run", str(place.files / "guest.elf"), "--gdb=localhost:0", "--append=a\0b"]
    assert call(arguments) == 2
    line = "gdbstub: --append: a command line cannot hold a NUL character\n"
    assert capfd.readouterr() == ("", line)


def test_commands(place: Place) -> None:
    line = place.refusal("bogus", program=GDBSTUB)
    assert line.startswith("No such command 'bogus'; expected one of run, attach, launch, ")
    line = place.refusal("--bogus", program=GDBSTUB)
    assert line == "No such option '--bogus'; see gdbstub --help"
    line = place.refusal("lab", "bogus", program=GDBSTUB)
    assert line == "No such command 'bogus'; expected one of down, list, run, shell, up"
    line = place.refusal("attach", program=GDBSTUB)
    assert line == "Missing argument 'PID|NAME'; see gdbstub attach --help"
    assert place.refusal("doctor", "x", program=GDBSTUB).startswith("Got unexpected extra")
    line = place.refusal("lab", "run", "--put", "absent", "true", program=GDBSTUB)
    assert line == "--put absent: No such file or directory"
    line = place.refusal("lab", "run", "--put", ".", "true", program=GDBSTUB)
    assert line == "--put .: is a directory; expected a file"
    line = place.refusal("lab", "run", "--put", "", "true", program=GDBSTUB)
    assert line == "--put: a file's name is missing"
    assert place.refusal("symbols", "", program=GDBSTUB) == "symbols: a file's name is missing"


def test_a_list_of_no_labs_says_so(place: Place) -> None:
    done = place.call("lab", "list", program=GDBSTUB)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "gdbstub: no lab is up\n")


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["guest.elf"], "to run that guest: gdbstub run guest.elf"),
        (["."], "to run that guest: gdbstub run ."),
        (["guest.elf", "--smp", "2"], "to run that guest: gdbstub run guest.elf --smp 2"),
        (
            ["qemu-system-aarch64", "-m", "1G"],
            "to debug its guest: gdbstub launch -- qemu-system-aarch64 -m 1G",
        ),
    ],
    ids=lambda words: words[0] if isinstance(words, list) else "",
)
def test_a_guest_without_a_command(place: Place, words: list[str], command: str) -> None:
    line = place.refusal(*words, program=GDBSTUB)
    assert line == f"No such command '{words[0]}'; {command}"


@pytest.mark.parametrize(
    "command", [["run", "true"], ["up"], ["shell"]], ids=lambda words: words[0]
)
def test_a_cpu_that_qemu_does_not_have(place: Place, command: list[str]) -> None:
    name, *words = command
    (place.files.parent / "bin").mkdir()
    (place.files.parent / "bin" / QEMU).symlink_to(shutil.which(QEMU) or QEMU)
    line = place.refusal("lab", name, "--cpu", "cortex-a5700,sve=off", *words, program=GDBSTUB)
    assert line.startswith(f"--cpu cortex-a5700,sve=off: {QEMU} has no CPU cortex-a5700; ")


def test_the_script_refuses_alike(place: Place) -> None:
    assert place.refusal("absent", program=RUN_STUB) == "absent: No such file or directory"
    assert place.refusal("--bogus", program=RUN_STUB).startswith("No such option '--bogus'")
    line = place.refusal("guest.elf", "--gdb", "1234", program=RUN_STUB)
    assert line == "--gdb '1234' lacks a port; expected HOST:PORT, unix:PATH or stdio"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--stop-on panic,fire", "--stop-on panic,fire: 'fire' is not one of panic, oops, warn, "),
        ("--stop-on panic", "--stop-on panic needs a Linux guest and the symbols of its kernel: "),
        ("--vmcore-on oops core", "--vmcore-on oops needs a Linux guest and the symbols of its "),
        ("--vmcore-on timeout core", "--vmcore-on timeout: there is no end of the time without "),
        ("--timeout 9 --vmcore-on timeout guest.elf", "--vmcore-on timeout guest.elf: is there "),
        ("--symbols guest.elf --stop-on panic", "--symbols guest.elf: has no symbol vectors; "),
        ("--symbols none --stop-on panic", "--symbols none: No such file or directory"),
        ("--modules .", "--modules needs a Linux guest and the symbols of its kernel: --symbols"),
        ("--timeout 0", "--timeout 0: expected a number of seconds above 0"),
    ],
)
def test_options_of_run_for_the_guest_of_another_vmm(
    place: Place,
    words: str,
    expected: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(place.files)
    command = ["launch", "--host", "lab", "--gdb", "localhost:0", *words.split()]
    assert call([*command, "--", "qemu-system-aarch64"]) == 2
    assert capsys.readouterr().err.startswith(f"gdbstub: {expected}")


def test_debug_symbols_of_what_is_no_linux(place: Place) -> None:
    line = place.refusal("guest.elf", "--symbols", "debug")
    assert line.startswith("--symbols debug is for a Linux Image; for a file called debug, give")


def test_drgn_where_no_stub_is(place: Place) -> None:
    for words, why in (
        ([], "drgn: give --qmp unix:PATH, as gdbstub run was given it"),
        (
            ["--qmp", "unix:q"],
            "--qmp unix:q: no socket is there; gdbstub run --qmp unix:q makes it",
        ),
        (["--qmp", "localhost:1", "-s", "vmlinux"], "--qmp localhost:1: expected unix:PATH"),
        (["--qmp", "q"], "--qmp q: expected unix:PATH"),
        (["--qmp", "unix:"], "--qmp unix:: expected unix:PATH"),
    ):
        assert place.refusal("drgn", *words, program=GDBSTUB) == why
    long = f"unix:{'a' * 300}"
    line = f"--qmp {long}: File name too long"
    assert place.refusal("drgn", "--qmp", long, program=GDBSTUB) == line
    place.environment["GDB_QMP"] = long.removeprefix("unix:")
    assert place.refusal("drgn", program=GDBSTUB) == line
