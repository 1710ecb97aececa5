from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbstub.errors import InputError
from gdbstub.vmm import device_tree, fdt
from gdbstub.vmm.device_tree import Chosen
from gdbstub.vmm.layout import Gic
from tests.pure.libfdt import Blob

MPIDRS = [0x8000_0000, 0x8000_0001, 0x80_8000_0100]


def build(gic: Gic = Gic.V3, chosen: Chosen = Chosen("console=ttyAMA0", (1, 2))) -> bytes:  # noqa: B008
    return device_tree.build(memory=5 << 30, mpidrs=MPIDRS, gic=gic, chosen=chosen)


def cells(data: bytes, path: str, name: str) -> list[int]:
    return Blob(data).cells(path, name)


def strings(data: bytes, path: str, name: str) -> list[str]:
    return Blob(data).strings(path, name)


V3 = build()


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ("/", "#address-cells", [2]),
        ("/", "#size-cells", [2]),
        ("/", "compatible", ["linux,dummy-virt"]),
        ("/", "interrupt-parent", [1]),
        ("/chosen", "bootargs", ["console=ttyAMA0"]),
        ("/chosen", "stdout-path", ["/pl011@9000000"]),
        ("/chosen", "linux,initrd-start", [0, 1]),
        ("/chosen", "linux,initrd-end", [0, 2]),
        ("/memory@40000000", "device_type", ["memory"]),
        ("/memory@40000000", "reg", [0, 0x4000_0000, 1, 0x4000_0000]),
        ("/cpus", "#address-cells", [2]),
        ("/cpus", "#size-cells", [0]),
        ("/cpus/cpu@1", "compatible", ["arm,armv8"]),
        ("/cpus/cpu@1", "reg", [0, 1]),
        ("/cpus/cpu@1", "enable-method", ["psci"]),
        ("/cpus/cpu@8000000100", "reg", [0x80, 0x100]),
        ("/psci", "compatible", ["arm,psci-1.0", "arm,psci-0.2", "arm,psci"]),
        ("/psci", "method", ["hvc"]),
        ("/psci", "cpu_on", [0xC400_0003]),
        ("/timer", "compatible", ["arm,armv8-timer", "arm,armv7-timer"]),
        ("/timer", "interrupts", [1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4]),
        ("/intc@8000000", "compatible", ["arm,gic-v3"]),
        ("/intc@8000000", "#interrupt-cells", [3]),
        ("/intc@8000000", "phandle", [1]),
        ("/intc@8000000", "reg", [0, 0x0800_0000, 0, 0x1_0000, 0, 0x080A_0000, 0, 0x6_0000]),
        ("/apb-pclk", "clock-frequency", [24_000_000]),
        ("/apb-pclk", "phandle", [2]),
        ("/pl011@9000000", "compatible", ["arm,pl011", "arm,primecell"]),
        ("/pl011@9000000", "reg", [0, 0x0900_0000, 0, 0x1000]),
        ("/pl011@9000000", "interrupts", [0, 1, 4]),
        ("/pl011@9000000", "clocks", [2, 2]),
        ("/pl011@9000000", "clock-names", ["uartclk", "apb_pclk"]),
        ("/aliases", "serial0", ["/pl011@9000000"]),
    ],
)
def test_the_guest_is_told(path: str, name: str, value: list[object]) -> None:
    assert (cells if isinstance(value[0], int) else strings)(V3, path, name) == value


@pytest.mark.parametrize(("gic", "flags"), [(Gic.V3, 4), (Gic.V2, 0x704)])
def test_a_pmu_is_told_of_where_there_is_one(gic: Gic, flags: int) -> None:
    data = device_tree.build(memory=5 << 30, mpidrs=MPIDRS, gic=gic, chosen=Chosen(), pmu=True)
    assert strings(data, "/pmu", "compatible") == ["arm,armv8-pmuv3"]
    assert cells(data, "/pmu", "interrupts") == [1, 7, flags]
    assert Blob(build()).node("/pmu") < 0


def test_what_has_no_value_and_what_is_not_said() -> None:
    tree = Blob(V3)
    assert tree.get("/timer", "always-on") == b""
    assert tree.get("/intc@8000000", "interrupt-controller") == b""
    assert tree.get("/intc@8000000", "ranges") == b""
    assert tree.get("/chosen", "kaslr-seed") is None


def test_gicv2_has_a_cpu_interface_and_masks_in_ppis() -> None:
    data = build(Gic.V2)
    assert strings(data, "/intc@8000000", "compatible") == ["arm,cortex-a15-gic"]
    assert cells(data, "/intc@8000000", "reg") == [
        0, 0x0800_0000, 0, 0x1000, 0, 0x0801_0000, 0, 0x2000,
    ]  # fmt: skip
    assert cells(data, "/timer", "interrupts")[2::3] == [0x704] * 4
    assert cells(data, "/pl011@9000000", "interrupts") == [0, 1, 4]


def test_a_seed_for_kaslr_is_told_where_one_was_given() -> None:
    seed = Chosen(kaslr_seed=0x1234_5678_9ABC_DEF0)
    for data in (build(chosen=seed), device_tree.amend(V3, "t", seed)):
        assert cells(data, "/chosen", "kaslr-seed") == [0x1234_5678, 0x9ABC_DEF0]


@pytest.mark.parametrize("text", ["", "a=ü", 'quote="\n"', "x" * 3000])
def test_any_command_line_goes_through(text: str) -> None:
    raw = text.encode() + b"\0"
    data = build(chosen=Chosen(text))
    assert len(raw).to_bytes(4, "big") in data
    assert raw in data
    assert raw in device_tree.amend(V3, "t", Chosen(text))


def _reserving() -> bytes:
    root = fdt.Node()
    root.update({"compatible": "their,board"})
    root.child("soc").child("serial").update({"status": "okay", "odd": b"abc"})
    return fdt.write(fdt.Tree(root, ((0x1234_5000, 0x1000),), boot_cpu=3))


def test_amend_keeps_everything_else() -> None:
    theirs = _reserving()
    assert device_tree.amend(theirs + b"padding", "t.dtb", Chosen()) == theirs
    made = device_tree.amend(theirs, "t.dtb", Chosen("a", (1 << 32, 5)))
    changed = Blob(made)
    assert changed.strings("/", "compatible") == ["their,board"]
    assert changed.strings("/soc/serial", "status") == ["okay"]
    assert changed.get("/soc/serial", "odd") == b"abc"
    assert changed.strings("/chosen", "bootargs") == ["a"]
    assert changed.cells("/chosen", "linux,initrd-start") == [1, 0]
    assert changed.reservations() == [(0x1234_5000, 0x1000)]
    assert fdt.read(made).boot_cpu == 3


def test_what_is_read_is_written_again() -> None:
    assert fdt.write(fdt.read(V3)) == V3


def test_blocks_in_another_order_and_instructions_that_do_nothing() -> None:
    """An older writer's layout: strings first, version 16, FDT_NOP before each token."""
    strings = b"x\0"
    nop, begin, end, last = (number.to_bytes(4, "big") for number in (4, 1, 2, 9))
    prop = b"".join(number.to_bytes(4, "big") for number in (3, 4, 0, 7))
    structure = nop + begin + bytes(4) + nop + prop + nop + end + nop + last
    at = 56 + len(strings) + 2
    words = (at + len(structure), at, 56, 40, 16, 16, 0, len(strings), 0)
    blob = fdt.MAGIC + b"".join(word.to_bytes(4, "big") for word in words)
    blob += bytes(16) + strings + bytes(2) + structure
    assert fdt.read(blob).root.properties == {"x": b"\0\0\0\7"}
    assert Blob(device_tree.amend(blob, "t.dtb", Chosen("a"))).cells("/", "x") == [7]


def _of_version(version: int) -> bytes:
    return V3[:20] + version.to_bytes(4, "big") + V3[24:]


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", "is no device tree blob"),
        (b"/dts-v1/;", "is no device tree blob; compile a .dts by dtc first"),
        (V3[:-1], "is truncated"),
        (V3[:20], "is truncated: 20 bytes"),
        (b"\xd0\x0d\xfe\xed" + (3 << 20).to_bytes(4, "big") + bytes(3 << 20), "has 3145728 bytes"),
        (_of_version(3), "is of version 3; expected 16 or 17: compile it by a newer dtc"),
        (_of_version(18), "is of version 18; expected 16 or 17: compile it by a newer dtc"),
        (
            V3[:8] + b"\xff" * 12 + V3[20:24] + b"\xff" * 24 + V3[48:],
            "is a damaged device tree blob",
        ),
    ],
)
def test_bad_trees_get_one_clear_line(data: bytes, line: str) -> None:
    with pytest.raises(InputError, match=f"^t.dtb: {line}"):
        device_tree.amend(data, "t.dtb", Chosen())


@given(st.lists(st.tuples(st.integers(8, len(V3) - 1), st.integers(0, 255)), max_size=6))
def test_mutated_trees_never_raise_anything_else(edits: list[tuple[int, int]]) -> None:
    data = bytearray(V3)
    for at, value in edits:
        data[at] = value
    with suppress(InputError):
        assert device_tree.amend(bytes(data), "t.dtb", Chosen("a", (1, 2)))


def test_a_name_in_a_damaged_tree_moves_no_cursor() -> None:
    data = V3.replace(b"cpus\0", b"x\n\ry\0").replace(b"psci\0", b"x\n\ry\0")
    with pytest.raises(InputError, match="is there twice") as error:
        device_tree.amend(data, "t.dtb", Chosen("a"))
    assert str(error.value).isprintable()
