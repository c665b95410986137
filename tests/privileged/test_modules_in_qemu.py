"""A kernel that has modules, and a clock that may be set: Debian's, in QEMU."""

from __future__ import annotations

import json
import lzma
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.privileged.qemu_support import (
    BASE,
    SOURCES,
    Archive,
    booted,
    command,
    libraries,
    python_for,
    unpacked,
)
from tests.unit.handlers.images import image

MODULES = (
    "drivers/net/dummy.ko",
    "drivers/net/nlmon.ko",
    "drivers/net/ifb.ko",
    "net/bridge/bridge.ko",
)


def archive_of(root: Path, release: str, place: Path) -> Archive:
    """The machine's file system."""
    archive = Archive()
    python_for(archive)
    kernel = Path(f"lib/modules/{release}")
    few = place / "few"
    tables = ("modules.order", "modules.builtin", "modules.builtin.modinfo")
    for name in (*tables, *(f"kernel/{name}" for name in MODULES)):
        (few / kernel / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / kernel / name, few / kernel / name)
    # kmod is told by its name what it is.
    depmod = command(root, "bin/kmod", "-b", str(few), release, called="depmod")
    subprocess.run(depmod, check=True)
    archive.tree(few / kernel, name=f"/{kernel}")
    for path in libraries(root / "bin/kmod"):
        archive.file(path)
    for name in ("modprobe", "kmod"):
        archive.file(root / "bin/kmod", f"/sbin/{name}")
    archive.file(Path("/lib64/ld-linux-x86-64.so.2"))
    for name in ("sh", "mkdir", "mount"):
        archive.file(Path("/bin/busybox"), f"/bin/{name}")
    for name in ("dummy", "bridge", "nowhere", "nlmon"):
        # Not the kernel's own: nothing but the name is right.
        archive.add(f"/images/{name}.ko", image(f"name={name}\0".encode()), stat.S_IFREG | 0o644)
    archive.add("/images/dummy.ko.xz", lzma.compress(image(b"name=dummy\0")), stat.S_IFREG | 0o644)
    archive.tree(SOURCES / "tests/privileged", {"__pycache__"}, "/tests/privileged")
    archive.tree(SOURCES / "tests/kernel", {"__pycache__"}, "/tests/kernel")
    # Python wants random numbers before it does anything.
    init = "#!/bin/sh\nmkdir /dev\nmount -t devtmpfs dev /dev\n"
    init += f"exec {BASE} -I /tests/privileged/qemu_guest.py\n"
    archive.add("/init", init.encode(), stat.S_IFREG | 0o755)
    return archive


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Iterator[Path]:
    """A directory whose hundreds of megabytes do not stay."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.flaky(reruns=0)
def test_modules_are_loaded(place: Path) -> None:
    """The host's module is loaded, by name and not by its bytes; its clock is set if listed."""
    if not os.environ.get("UNOTIFY_TEST_LONG"):
        pytest.skip("it takes minutes: UNOTIFY_TEST_LONG=1, as `make test-long` says")
    if os.uname().machine != "x86_64" or not shutil.which("apt-get"):
        missing("this needs Debian's packages for x86-64")
    if not Path("/bin/busybox").exists():
        missing("this needs busybox-static")
    root, release = unpacked(place)
    told = booted(root, release, archive_of(root, release, place), place, 1300)
    line = re.search(r"^TOLD (.*)$", told, re.M)
    assert line, told[-3000:]
    found = json.loads(line[1])
    assert "error" not in found, found["error"]
    assert found["kernel"] == release
    assert not found["before"]
    assert found["found"][:7] == [0, "EEXIST", "EEXIST", "EPERM", "ENOENT", 0, "EPERM"]
    assert found["found"][7] == 0
    assert found["found"][8] != 0
    assert {"dummy", "nlmon", "ifb"} <= set(found["modules"])
    assert "bridge" not in found["modules"]
    assert "dummy0" in found["interfaces"]
    done, clock = found["clock"]
    assert done == 0
    assert 0 <= clock - 1_000_000_000 < 300
    assert found["faults"] == []
