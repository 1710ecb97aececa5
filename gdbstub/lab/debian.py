"""Download of arm64 Debian packages, of this machine's release or another, without root.

The machine's apt sources and keys are used, or the mirror that ``GDBSTUB_DEBIAN`` names, and none
of the machine's state: lists and packages are kept in a given directory. No script of a package is
run.
"""

import os
import re
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple, Self

from gdbstub.errors import LabError
from gdbstub.lab import cache, checksums, private, tools
from gdbstub.streams import note

FRESH_SECONDS: Final = 600.0
KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
"""Debian's keys for all its releases, from the package debian-archive-keyring."""


MIRROR: Final = "GDBSTUB_DEBIAN"
"""Variable with a mirror of Debian and a suite, for machines whose apt sources have neither."""

OTHER_SYSTEM: Final = (
    "the lab is made of Debian's packages, and this is {}: name a mirror of Debian and a release, "
    f"as {MIRROR}='https://MIRROR/debian trixie' does, or use a container of Debian, as in "
    "docs/install.md"
)
"""Message for a machine of another distribution."""


class Mirror(NamedTuple):
    """A mirror of Debian, and the suite to take from it."""

    uri: str
    suite: str

    @property
    def source(self) -> str:
        """The line of an apt source, signed by Debian's keys."""
        return f"deb [signed-by={KEYRING}] {self.uri} {self.suite} main\n"


def mirror() -> Mirror | None:
    """Return the mirror that ``GDBSTUB_DEBIAN`` names, or None where it is not set.

    Raises:
        LabError: the variable is not a mirror and a suite.
    """
    text = os.environ.get(MIRROR, "")
    if not text.strip():
        return None
    if not (match := re.fullmatch(r"\s*([a-z][a-z+]*:\S+)\s+([\w./-]+)\s*", text)):
        raise LabError(
            f"{MIRROR} {text!r}: expected the address of a Debian mirror and a suite, "
            "such as 'https://MIRROR/debian trixie'"
        )
    return Mirror(match[1], match[2])


def has_packages() -> bool:
    """Return True if this machine is of Debian, or a mirror of Debian is named."""
    return mirror() is not None or release().startswith("debian ")


def packages_release() -> str:
    """Return the release whose packages a lab is made of, such as ``debian bookworm``."""
    return f"debian {named.suite}" if (named := mirror()) else release()


def release() -> str:
    """Return this machine's distribution and release, such as ``debian bookworm``."""
    try:
        text = Path("/etc/os-release").read_text(errors="replace")
    except OSError:
        return "unknown"
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return f"{fields.get('ID', '?')} {fields.get('VERSION_CODENAME', '?')}".replace('"', "")


@contextmanager
def packages(scratch: Path, suite: str = "") -> "Iterator[Arm64]":
    """Give the packages as ``Arm64`` does, with lists in the cache that are up to date."""
    with Arm64(cache.root() / (f"apt-{suite}" if suite else "apt"), scratch, suite) as found:
        found.update()
        yield found


class Arm64:
    """arm64 packages in this machine's apt sources; use as a context manager."""

    def __init__(self, directory: Path, scratch: Path, suite: str = "") -> None:
        """Keep lists and packages under *directory*; download to *scratch* first.

        A file is moved to *directory* only after apt has checked it. With *suite* the packages
        are only those of that Debian suite, from the mirror that is named or the archive of this
        machine's own release.
        """
        self.debs = directory / "debs"
        self._lists = directory / "lists"
        self._lock = directory / "lock"
        self._sources = directory / "sources.list"
        self._scratch = scratch
        self._warning = ""
        self._held = ExitStack()
        for path in (self.debs, self._lists / "partial", directory / "archives" / "partial"):
            path.mkdir(parents=True, exist_ok=True)
        options = {
            "APT::Architecture": "arm64",
            "APT::Architectures": "arm64",
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",  # the _apt user cannot write into a home directory
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "Dir::Cache": str(directory),
            "Dir::State::Lists": str(self._lists),
            "Dir::State::status": "/dev/null",
        }
        self._options = [f"-o{name}={value}" for name, value in options.items()]
        self._source = ""
        if suite or mirror():
            self._source = self._mirror(suite).source
            list_ = f"-oDir::Etc::sourcelist={self._sources}"
            self._options += [list_, "-oDir::Etc::sourceparts=-"]

    def __enter__(self) -> Self:
        """Lock the lists; wait for other processes that use them, where apt itself would fail."""
        self._held.enter_context(private.locked(self._lock))
        if self._source:  # another process may have had another one
            self._sources.write_text(self._source)
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def _mirror(self, suite: str) -> Mirror:
        """Return the mirror to use, with *suite* unless that is empty."""
        if named := mirror():
            if not Path(KEYRING).exists():
                raise LabError(
                    f"{KEYRING} does not exist: install the package debian-archive-keyring, "
                    f"with which what {MIRROR} names is checked"
                )
            return Mirror(named.uri, suite or named.suite)
        done = self._call(
            "apt-get", "indextargets", "--no-release-info", "--format", "$(RELEASE) $(REPO_URI)"
        )
        codename = release().split()[-1]
        if not (match := re.search(rf"^{codename} (\S+)$", done.stdout, re.MULTILINE)):
            raise LabError(
                f"no apt source of this machine is for its release {codename}: "
                "add one to /etc/apt/sources.list"
            )
        return Mirror(match[1], suite)

    def update(self) -> None:
        """Fetch the package lists, unless they are of this source and not ``FRESH_SECONDS`` old.

        apt-get succeeds even without a network; ``show`` then raises.
        """
        stamp = self._lists / "stamp"
        fresh = stamp.exists() and time.time() - stamp.stat().st_mtime < FRESH_SECONDS
        if fresh and stamp.read_text(errors="replace") == self._source:
            return
        done = self._call("apt-get", "-q", "update")
        if warnings := re.findall(r"^[WE]: (.*)", done.stderr, re.MULTILINE):
            self._warning = warnings[0]
        else:
            stamp.write_text(self._source)

    def show(self, name: str) -> str:
        """Return the control fields of the candidate version of package *name*.

        Raises:
            LabError: there is no such package, or the lists could not be fetched.
        """
        done = self._call("apt-cache", "--no-all-versions", "show", name)
        if done.returncode:
            why = self._warning or "the apt sources offer no arm64 packages"
            if not has_packages():
                raise LabError(OTHER_SYSTEM.format(release()))
            raise LabError(f"cannot get the arm64 package {name} (is the network up?): {why}")
        return done.stdout

    def dependency(self, name: str, pattern: str) -> str:
        """Return the first direct dependency of *name* that matches *pattern*.

        Raises:
            LabError: none matches.
        """
        if not (found := self.dependencies(name, pattern)):
            raise LabError(
                f"the arm64 package {name} has no dependency that matches {pattern}: this release "
                "of the distribution is not supported"
            )
        return found[0]

    def dependencies(self, name: str, pattern: str) -> list[str]:
        """Return the direct dependencies of *name* that match *pattern*."""
        depends = re.findall(r"^(?:Pre-)?Depends: (.*)", self.show(name), re.MULTILINE)
        found = re.finditer(rf"(?<!\S){pattern}(?![^\s,])", " ".join(depends))
        return [match[0] for match in found]

    def closure(self, names: Iterable[str]) -> list[tuple[str, str]]:
        """Return (package, version) of *names* and of all their dependencies."""
        done = self._call("apt-get", "-qq", "--simulate", "install", *names)
        if done.returncode:
            raise LabError(f"apt-get failed: {tools.last_words(done.stderr.encode())}")
        return re.findall(r"^Inst (\S+) \((\S+) ", done.stdout, re.MULTILINE)

    def download(self, packages: Sequence[tuple[str, str]]) -> list[Path]:
        """Download the *packages* that are absent; return the files of all.

        Raises:
            LabError: apt-get failed.
        """
        missing = [
            f"{name}={version}" for name, version in packages if not self._deb(name, version)
        ]
        if missing:
            done = self._call("apt-get", "-q", "download", *missing, cwd=self._scratch)
            if done.returncode:
                why = tools.last_words(done.stderr.encode())
                raise LabError(f"cannot download arm64 packages (is the network up?): {why}")
            for deb in self._scratch.glob("*.deb"):
                checksums.keep(deb, self.debs / deb.name)
        found = [self._deb(name, version) for name, version in packages]
        return [path for path in found if path]

    def _deb(self, name: str, version: str) -> Path | None:
        escaped = version.replace(":", "%3a")
        found = next(self.debs.glob(f"{name}_{escaped}_*.deb"), None)
        if found and not checksums.matches(found):
            note(f"the cache's {found.name} is damaged: it is downloaded again")
            private.remove(found)
            return None
        return found

    def _call(
        self, program: str, *args: str, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        tools.require(program)
        done = tools.call([program, *self._options, *args], cwd=cwd)
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)


def unpack(deb: Path, tree: Path, exclude: Iterable[str] = (), wanted: str = "") -> None:
    """Unpack the files of *deb*, or the *wanted* ones, into *tree*; keep its merged-/usr links.

    ``dpkg-deb -x`` would replace the links. The compression of the members differs between
    releases, so dpkg-deb reads them.
    """
    tools.require("dpkg-deb", "tar")
    tar = ["tar", "-x", "--keep-directory-symlink", "--no-same-owner", "-C", str(tree)]
    tar += [f"--exclude={pattern}" for pattern in exclude]
    tar += ["--wildcards", wanted] if wanted else []
    with tools.started(["dpkg-deb", "--fsys-tarfile", str(deb)]) as source:
        done = tools.call(tar, stdin=source.stdout or b"")
    if done.returncode or source.returncode:
        raise LabError(f"cannot unpack {deb.name}: {tools.last_words(done.stderr)}")
