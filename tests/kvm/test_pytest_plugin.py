"""The plugin for pytest over whole stubs: the sample project, keys, a small Linux, a report."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

SAMPLE: Final = Path(__file__).parents[2] / "examples" / "pytest"

#: Reads the PL011 and writes each byte back, increased by one.
ECHO: Final = """\
.global _start
_start: mov x0, #0x09000000
1:      ldr w1, [x0, #0x18]
        tbnz w1, #4, 1b
        ldr w1, [x0]
        add w1, w1, #1
        str w1, [x0]
        b 1b
"""

MORE: Final = """\
import pytest

@pytest.mark.kernel("echo.elf")
def test_keys(console):
    console.send("HAL\\r")
    assert console.expect("IBM")[0] == "IBM"
    console.expect("\\x0e")  # typed as it is

@pytest.mark.kernel("echo.elf")
def test_fails(console):
    console.send("Z")
    console.expect("\\\\[")
    console.expect("never", timeout=0)

def test_a_small_linux(console):
    console.expect("gdbstub demo guest: init is running\\n", timeout=150)
    console.send("echo $((6 * 7)) on $(uname -m)\\n")
    console.expect("42 on aarch64\\n")

@pytest.mark.kernel("echo.elf")
@pytest.mark.cpu("sve=often")
def test_a_feature_that_is_none(guest):
    pass
"""


def test_the_sample_project_and_more(tmp_path: Path) -> None:
    shutil.copytree(SAMPLE, tmp_path, dirs_exist_ok=True)
    (tmp_path / "test_more.py").write_text(MORE)
    # In a folder without the conftest.py that says which program a guest is.
    more = tmp_path / "more"
    more.mkdir()
    (tmp_path / "test_more.py").rename(more / "test_more.py")
    (more / "conftest.py").write_text(
        "from gdbstub.pytest_plugin.plugin import guest_kernel  # noqa: F401 - the plugin's own\n"
    )
    (more / "echo.S").write_text(ECHO)
    argv = [
        "aarch64-linux-gnu-gcc",
        "-nostdlib",
        "-static",
        "-Wl,-Ttext=0x40080000,--build-id=none",
    ]
    subprocess.run([*argv, "-o", more / "echo.elf", more / "echo.S"], check=True)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:asyncio", "-p", "no:cacheprovider", "-q"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    said = done.stdout
    assert re.search(r"^1 failed, 6 passed, 1 error in", said, re.M), said
    assert "the guest does not start: gdbstub: --cpu" in said
    assert "the console has no match for 'never' within 0 s" in said
    assert re.search(r"^-+ guest console -+\n\[\n-", said, re.M), said
    assert re.search(r"^#0 .* in \?\? \(\)|^#0 .*_start \(\)", said, re.M), said
