"""``gdbstub symbols``, with the demo guest's kernel, whose symbols are kept."""

from pathlib import Path

from gdbstub.lab import demo
from tests.cli.program import Place


def test_the_symbols_of_an_image(place: Place) -> None:
    files = demo.prepare()
    done = place.call("symbols", str(files.image))
    assert done.returncode == 0, done.stderr
    made = Path(done.stdout.strip())
    assert made.read_bytes() == files.symbols.read_bytes()


def test_files_without_symbols(place: Place, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no kernel")
    for name, why in (("absent", "No such file"), ("text", "expected a Linux Image")):
        done = place.call("symbols", str(tmp_path / name))
        assert done.returncode == 2
        assert why in done.stderr.splitlines()[-1]


def test_an_image_without_end(place: Place, tmp_path: Path) -> None:
    with open(tmp_path / "huge", "wb") as sparse:
        sparse.truncate(1 << 40)
    done = place.call("symbols", str(tmp_path / "huge"))
    assert done.returncode == 2
    line = "huge: has 1048576.0 MiB or more; expected at most 1G, the most of a kernel's Image\n"
    assert done.stderr.endswith(line)


def test_a_cache_that_cannot_be_made_is_not_the_images_fault(place: Place, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no kernel")
    place.environment["XDG_CACHE_HOME"] = "/proc/absent"
    done = place.call("symbols", str(tmp_path / "text"))
    assert done.returncode == 1
    assert done.stderr.startswith("gdbstub: cannot write to /proc/absent")
