"""``gdbstub run DIRECTORY``: a kernel's tree."""

import pytest

from tests.cli.program import Place
from tests.pure.elves import image


def grow(place: Place, *names: str) -> None:
    for name in names:
        path = place.files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image(image_size=80 << 20))


def said(place: Place, *arguments: str) -> tuple[str, str]:
    """The first line, and the refusal: with 64 MiB that image is too large.

    Between them is a line on the symbols, which are no ELF.
    """
    done = place.call("run", *arguments, "--gdb=localhost:0", "--memory=64M")
    assert done.returncode == 2
    first, *_, last = done.stderr.splitlines()
    return first, last


@pytest.mark.parametrize("name", ["Image", "Image.gz", "Image.zst", "vmlinuz.efi"])
def test_the_image_and_the_symbols_are_found(place: Place, name: str) -> None:
    grow(place, f"arch/arm64/boot/{name}", "vmlinux")
    took, refused = said(place, ".")
    assert took == f"gdbstub: kernel: arch/arm64/boot/{name}; symbols: vmlinux"
    assert refused.startswith(f"gdbstub: arch/arm64/boot/{name}: needs 80.1 MiB of memory")


def test_the_unpacked_image_comes_first_and_own_symbols_are_taken(place: Place) -> None:
    grow(place, *(f"t/arch/arm64/boot/{name}" for name in ("Image.gz", "Image")), "other")
    took, _ = said(place, "t", "--symbols", "other")
    assert took == "gdbstub: kernel: t/arch/arm64/boot/Image; symbols: other"
    took, _ = said(place, "t")
    assert took.endswith("symbols: none, since there is no vmlinux; see gdbstub symbols")


@pytest.mark.parametrize(
    ("option", "name", "of"),
    [
        ("--record", "tree/arch/arm64/boot/Image", "GUEST"),
        ("--console", "tree/vmlinux", "GUEST's symbols"),
    ],
)
def test_a_file_of_the_tree_is_not_written(place: Place, option: str, name: str, of: str) -> None:
    grow(place, "tree/arch/arm64/boot/Image", "tree/vmlinux")
    before = place.everything()
    done = place.call("run", "tree", "--gdb=localhost:0", option, name)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last == f"gdbstub: {option} {name}: is the file of {of}; expected another"
    assert place.everything() == before


def test_what_is_missing_is_told(place: Place) -> None:
    line = ".: is a directory without arch/arm64/boot; expected a kernel's tree, or a file"
    assert place.refusal(".") == line
    (place.files / "arch/arm64/boot").mkdir(parents=True)
    assert place.refusal(".") == (
        ".: has no arch/arm64/boot/Image: build it by make ARCH=arm64 Image, or give the "
        "directory that make O= builds in"
    )
