"""QEMU's monitor commands and packets, as tools that know QEMU use them through GDB."""

import re

from tests.gdb.conftest import Client


def test_hmp_commands(gdb: Client) -> None:
    said = gdb(
        "set var *(long *) &watched = 0x1122334455667788", "print/x &watched",
        "monitor info version", "monitor info mtree -f", "monitor gva2gpa &watched",
        "python at = int(gdb.parse_and_eval('(long) &watched'))",
        "python gdb.execute(f'monitor xp/2xg {at:#x}')",
        "python gdb.execute(f'monitor xp /4xb {at:#x}')",
        "python gdb.execute(f'monitor gva2gpa {at:#x}')",
        "python gdb.execute('monitor gva2gpa 0xffff000000000000')",
        "monitor xp/2xz 0x40000000", "monitor xp 0x3000", "monitor info registers",
        "monitor info version more", "monitor inf", "monitor info vers",
    )  # fmt: skip
    assert len(re.findall(r"^kvm-gdbstub \d", said, re.M)) == 2
    assert "  0000000040000000-00000000401fffff (prio 0, ram): ram\n" in said
    assert re.search(r"^00000000400[0-9a-f]{5}: 0x1122334455667788 0x[0-9a-f]{16}$", said, re.M)
    assert re.search(r"^00000000400[0-9a-f]{5}: 0x88 0x77 0x66 0x55$", said, re.M)
    assert re.search(r"^gpa: 0x400[0-9a-f]{5}$", said, re.M)
    assert "'/2xz' is no format" in said
    assert "'more' is one word too many: monitor info version" in said
    assert re.search(r"^ PC=0000000040000000 X00=[0-9a-f]{16} X01=[0-9a-f]{16}$", said, re.M)
    assert re.search(r"^PSTATE=[0-9a-f]{8} [NZCV-]{4} EL1h$", said, re.M)
    assert re.search(r"^slots +", said, re.M)  # monitor inf is info


def test_qemu_is_found_by_the_bits_of_its_steps(gdb: Client) -> None:
    said = gdb("maintenance packet Qqemu.sstepbits", "maintenance packet qOffsets")
    assert 'received: "ENABLE=1,NOIRQ=2"' in said
    assert 'received: ""' in said


def test_registers_by_qemu_s_names(gdb: Client) -> None:
    said = gdb(
        "monitor regs VBAR", "monitor phys $SCTLR", "print $SP_EL0 >> 63",
        "set var $VBAR_EL1 = 0x40001000", "flushregs", "print/x $VBAR",
        "set var $VBAR = 0x40002000", "flushregs", "print/x $VBAR_EL1",
        # pwndbg takes it for an integer.
        "python print('SCTLR', int(gdb.parse_and_eval('$SCTLR')))", "monitor regs SCTLR_EL1",
    )  # fmt: skip
    same = re.search(r"^SCTLR (\d+)\n(?:.*\n)*?SCTLR_EL1 +(0x[0-9a-f]+)", said, re.M)
    assert same, said
    assert int(same[1]) == int(same[2], 16)
    assert re.search(r"^\$2 = 0x40001000\n(?:.*\n)*\$3 = 0x40002000$", said, re.M), said
    assert re.search(r"^VBAR_EL1 +0x0", said, re.M)
    assert "0xc50838 is physical 0xc50838" in said or "is physical" in said
    assert re.search(r"^\$1 = [01]$", said, re.M)


#: Commands by which bata24's gef and pwndbg know a QEMU, with the answers that they look for.
PROBES = (
    ("maintenance packet Qqemu.sstepbits", "ENABLE="),
    ("maintenance packet qOffsets", 'received: ""'),
    ("maintenance packet qqemu.PhyMemMode", 'received: "0"'),
    ("monitor info version", "kvm-gdbstub"),
    ("monitor info kvm", "enabled"),
    ("monitor info cpus", "* CPU #0:"),
    ("monitor info mtree -f", "(prio 0, ram): ram"),
    ("monitor info registers", "PSTATE="),
    ("monitor help", "monitor help COMMAND says more"),
    ("monitor xp/16xb 0x40000000", "0000000040000000: 0x"),
    ("monitor gva2gpa 0x40000000", "gpa: 0x40000000"),
    ("monitor gpa2hva 0x40000000", "cannot be had from another process"),
)


def test_probes_of_tools(gdb: Client) -> None:
    said = gdb(*(line for probe, _ in PROBES for line in (r"echo \n@@\n", probe)))
    answers = said.split("@@\n")[1:]
    assert len(answers) == len(PROBES)
    for (probe, answer), found in zip(PROBES, answers, strict=True):
        assert answer in found, probe
