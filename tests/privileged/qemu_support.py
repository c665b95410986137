"""A machine with Debian's kernel, in QEMU: downloaded, unpacked and booted, never installed."""

from __future__ import annotations

import io
import os
import re
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from tests.conftest import missing

SOURCES = Path(__file__).parents[2]
BASE = Path(getattr(sys, "_base_executable", None) or sys.executable).resolve()
_LIBRARIES = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
_LEFT_OUT = {
    "test",
    "tests",
    "idlelib",
    "tkinter",
    "ensurepip",
    "site-packages",
    "lib2to3",
    "turtledemo",
}


def unpacked(place: Path) -> tuple[Path, str]:
    """Debian's QEMU, kmod and kernel below *place*; and the kernel's release."""
    archives, root = place / "archives", place / "root"
    (archives / "partial").mkdir(parents=True)
    root.mkdir()
    (place / "status").touch()  # nothing is installed: all is downloaded
    options = [
        *("-q", "-y", "--no-install-recommends", "-o", f"Dir::State::status={place}/status"),
        *("-o", f"Dir::Cache::archives={archives}", "-o", "APT::Sandbox::User=root"),
        *("-o", "Debug::NoLocking=1"),
    ]
    fetch = ["apt-get", *options, "--download-only", "install", "qemu-system-x86", "kmod"]
    if _run(fetch, place).returncode:
        _run(["apt-get", "update"], place)
        if (done := _run(fetch, place)).returncode:
            missing(f"QEMU cannot be downloaded: {done.stdout[-300:]}")
    depends = _run(["apt-cache", "depends", "linux-image-amd64"], place).stdout
    image = re.search(r"Depends: (linux-image-\S+)", depends)
    if image is None or _run(["apt-get", "download", image[1]], archives).returncode:
        missing("Debian's kernel cannot be downloaded")
    for package in sorted(archives.glob("*.deb")):
        subprocess.run(["dpkg", "-x", package, root], check=True)
    return root, image[1].removeprefix("linux-image-")


def _run(argv: list[str], place: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, cwd=place, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def command(root: Path, program: str, *arguments: str, called: str = "") -> list[str]:
    """How a program that was unpacked is run, with its own libraries."""
    search = ":".join(str(root / name) for name in _LIBRARIES)
    loader = [str(root / "lib64/ld-linux-x86-64.so.2"), "--library-path", search]
    return [*loader, "--argv0", called or program, str(root / program), *arguments]


class Archive:
    """A file system for the kernel to begin with: cpio, in the form newc."""

    def __init__(self) -> None:
        self._out = io.BytesIO()
        self._names: set[str] = set()

    def add(
        self, name: str, content: bytes = b"", mode: int = stat.S_IFDIR | 0o755, *, changed: int = 0
    ) -> None:
        """Add one entry, and the directories that it is in."""
        name = name.strip("/")
        if not name or name in self._names:
            return
        if "/" in name:
            self.add(name.rpartition("/")[0])
        self._names.add(name)
        raw = name.encode() + b"\0"
        fields = (len(self._names), mode, 0, 0, 1, changed, len(content), 0, 0, 0, 0, len(raw), 0)
        self._out.write(b"070701" + b"".join(b"%08x" % field for field in fields) + raw)
        self._pad()
        self._out.write(content)
        self._pad()

    def file(self, path: Path, name: str = "") -> None:
        """Add a file of this machine, with what a link leads to in place of a link."""
        status = path.stat()
        mode = stat.S_IFREG | stat.S_IMODE(status.st_mode) | 0o444
        # The time is what Python looks at, to see whether it has to compile a file again.
        self.add(name or str(path), path.read_bytes(), mode, changed=int(status.st_mtime))

    def tree(self, top: Path, left_out: Iterable[str] = (), name: str = "") -> None:
        """Add all files below *top*."""
        for directory, names, files in os.walk(top):
            names[:] = [each for each in names if each not in left_out]
            for each in files:
                path = Path(directory) / each
                if path.is_file() and not each.endswith((".a", ".opt-1.pyc", ".opt-2.pyc")):
                    self.file(path, f"{name or top}/{path.relative_to(top)}")

    def _pad(self) -> None:
        self._out.write(bytes(-self._out.tell() % 4))

    def done(self) -> bytes:
        """All of it."""
        self.add("TRAILER!!!", mode=0)
        return self._out.getvalue()


def libraries(*programs: Path) -> set[Path]:
    """What they are linked with."""
    found = set()
    for program in programs:
        told = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
        found |= {Path(path) for path in re.findall(r"(/\S+) \(0x", told)}
    return found


def python_for(archive: Archive) -> None:
    """Add this interpreter, its library, and this package."""
    library = Path(sysconfig.get_path("stdlib", vars={"base": sys.base_prefix}))
    archive.tree(library, _LEFT_OUT)
    archive.file(BASE)
    archive.tree(SOURCES / "src", {"unotify.egg-info"}, "/unotify")
    extensions = list((library / "lib-dynload").glob("*.so"))
    for path in libraries(BASE, *extensions):
        archive.file(path)


def booted(root: Path, release: str, archive: Archive, place: Path, seconds: float) -> str:
    """What the machine said on its console until it went off."""
    initrd = place / "initrd"
    initrd.write_bytes(archive.done())
    qemu = command(
        root,
        "usr/bin/qemu-system-x86_64",
        *("-accel", "tcg,thread=multi", "-smp", "2", "-m", "1024", "-nographic", "-no-reboot"),
        *("-L", str(root / "usr/share/qemu"), "-L", str(root / "usr/share/seabios")),
        *("-cpu", "max", "-net", "none", "-monitor", "none", "-serial", "stdio"),
        *("-kernel", str(root / f"boot/vmlinuz-{release}"), "-initrd", str(initrd)),
        *("-append", "console=ttyS0 quiet panic=-1 rdinit=/init"),
    )
    try:
        done = subprocess.run(
            qemu,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            env={**os.environ, "QEMU_MODULE_DIR": str(root / "usr/lib/x86_64-linux-gnu/qemu")},
        )
    except subprocess.TimeoutExpired as expired:
        told = (expired.stdout or b"").decode("utf-8", "replace")
        raise AssertionError(f"the machine did not come to an end: {told[-3000:]}") from None
    return done.stdout.decode("utf-8", "replace")
