"""`emulate-mount` with programs of the host that serve a file system."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.kernel.targets import until
from tests.privileged.handlers_support import FIRST, attempt, handled, open_to_all, start
from tests.privileged.test_handlers_mount_api import API
from unotify.kernel import fuse

CALLS = "mount fsopen fsconfig fsmount move_mount mount_setattr"


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Iterator[Path]:
    for name in ("mksquashfs", "squashfuse"):
        if shutil.which(name) is None:
            missing(f"{name} is not installed")
    if not os.path.exists("/dev/fuse"):
        missing("there is no /dev/fuse")
    (tmp_path / "mnt").mkdir()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/hello").write_text("hello\n")
    (tmp_path / "tree/secret").write_text("secret")
    (tmp_path / "tree/secret").chmod(0o600)
    image = tmp_path / "image"
    subprocess.run(
        ["mksquashfs", tmp_path / "tree", image, "-quiet", "-no-progress"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    shutil.copy(image, tmp_path / "closed")
    os.chown(image, FIRST, FIRST)
    image.chmod(0o600)
    (tmp_path / "closed").chmod(0o600)
    (tmp_path / "nonsense").write_text("nonsense")
    open_to_all(tmp_path)
    yield tmp_path
    # With the container its mounts are gone, and with these the programs.
    until(lambda: not servers())


def servers() -> list[str]:
    """The programs that serve."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = line.read_bytes().split(b"\0")
            owner = line.parent.stat().st_uid
        except OSError:
            continue
        if words[0] == b"squashfuse" and words[-2].startswith(b"/dev/fd/"):
            found.append(f"{owner}")
    return found


def rule(*command: str) -> str:
    """A rule that has squashfs served."""
    program = ", ".join(f'"{word}"' for word in ("squashfuse", "-f", *command))
    return f"{CALLS}: {{ emulate-mount = {{ fuse = {{ squashfs = [{program}] }} }} }}"


def test_a_file_is_served(place: Path) -> None:
    """An image that the caller may read is mounted, by a program with the caller's rights."""
    code = """
contain()
os.chdir(sys.argv[1])
found = [mount("image", "mnt", "squashfs", 8), mounts(sys.argv[1]), open("mnt/hello").read()]
found += [os.stat("mnt/hello").st_uid, open("mnt/secret").read()]
found += [mount(None, "mnt", None, 0x1020 | 2), tried(os.mkdir, "mnt/x")]
print(json.dumps("here"), flush=True)
sys.stdin.readline()
found += [umount("mnt"), mounts(sys.argv[1])]
say(found)
"""
    options = ("-o", "uid={uid},gid={gid}")
    with handled(rule(*options)) as (supervisor, notes):
        process = start(supervisor, code, place, stdin=subprocess.PIPE, text=True)
        assert process.stdout.readline() == '"here"\n'
        assert servers() == [str(FIRST)]
        output, _ = process.communicate("\n", timeout=60)
        assert notes.faults == []
    attributes = "rw,nosuid,nodev,noexec,relatime"
    found = json.loads(output)
    assert found[0] == 0
    assert found[1][0][:4] == ["/mnt", attributes, "fuse.squashfuse", "squashfuse"]
    assert found[2:5] == ["hello\n", 0, "secret"]
    assert found[5] == "EPERM"
    assert found[6] in ("EROFS", "ENOSYS", "EPERM")
    assert found[7:] == [0, []]


def test_what_cannot_be_served(place: Path) -> None:
    """What the caller may not read, what is no image, no file, or not there; nothing is left."""
    code = """
contain()
os.chdir(sys.argv[1])
names = ("closed", "nonsense", "tree", "none", "/dev/null")
found = [mount(name, "mnt", "squashfs") for name in names]
found += [mount(None, "mnt", "squashfs"), mount("image", "mnt", "squashfs", 0, "allow_other")]
found += [mount("image", "hello", "squashfs"), mounts(sys.argv[1])]
say(found)
"""
    with handled(rule()) as (supervisor, notes):
        found = attempt(supervisor, code, place)
        assert notes.faults == []
    assert found == [
        *("EACCES", "EINVAL", "EINVAL", "ENOENT", "EINVAL", "EINVAL", "EPERM", "ENOENT", []),
    ]


def test_by_the_mount_api(place: Path) -> None:
    """The same in steps."""
    code = (
        API.replace("place, device = (*sys.argv[1:], None)[:2]", "place = sys.argv[1]")
        + """
contain()
fd = fsopen("squashfs")
found = [fsconfig(fd, STRING, "source", f"{place}/image"), fsconfig(fd, FLAG, "ro"),
         fsconfig(fd, CREATE)]
made = fsmount(fd, 1, 1)
found += [move_mount(made, f"{place}/mnt"), open(f"{place}/mnt/hello").read()]
say([*found, mounts(place)[0][1:3]])
"""
    )
    with handled(rule()) as (supervisor, notes):
        found = attempt(supervisor, code, place)
        assert notes.faults == []
    shown = ["ro,nosuid,nodev,relatime", "fuse.squashfuse"]
    assert found == [0, 0, 0, 0, "hello\n", shown]


def test_an_option_is_one_option(place: Path) -> None:
    """A value that would be two options to the program is none at all, by either way."""
    code = (
        API.replace("place, device = (*sys.argv[1:], None)[:2]", "place = sys.argv[1]")
        + """
contain()
os.chdir(place)
found = [mount("image", "mnt", "squashfs", 0, text)
         for text in ('uid="5,allow_other,gid=6"', "uid=5\\\\,allow_other", "uid=5")]
fd = fsopen("squashfs")
found += [fsconfig(fd, STRING, "source", "image"), fsconfig(fd, STRING, "uid", "5,gid=6"),
          fsconfig(fd, CREATE), len(mounts(place)), umount("mnt")]
say(found)
"""
    )
    squashfs = '{ squashfs = ["uid=*"] }'
    with handled(rule().replace("fuse", f"file-systems = {squashfs}, fuse", 1)) as (
        supervisor,
        notes,
    ):
        found = attempt(supervisor, code, place)
        assert notes.faults == []
    assert found == ["EINVAL", "EINVAL", 0, 0, 0, "EINVAL", 1, 0]


def test_only_so_many(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container has so many programs of the host's at a time, and more when one has ended."""
    monkeypatch.setattr(fuse, "MOST", 2)
    code = """
contain()
os.chdir(sys.argv[1])
for name in "abc":
    os.mkdir(name)
found = [mount("image", name, "squashfs") for name in "abc"]
found += [mount("nonsense", "c", "squashfs"), umount("a")]
# It hears a little later of its end.
for _ in range(5000):
    if (done := mount("image", "c", "squashfs")) != "ENOSPC":
        break
say([*found, done, open("c/hello").read()])
"""
    with handled(rule()) as (supervisor, notes):
        found = attempt(supervisor, code, place)
        # What could not be served counts for nothing.
        assert attempt(supervisor, code.replace("os.mkdir(name)", "pass"), place) == found
        assert notes.faults == []
    assert found == [0, 0, "ENOSPC", "ENOSPC", 0, 0, "hello\n"]


def test_a_program_that_is_not_there(place: Path) -> None:
    """The operator reads which one; the caller gets EPERM."""
    broken = f'{CALLS}: {{ emulate-mount = {{ fuse = {{ squashfs = ["no-such-program"] }} }} }}'
    code = 'contain()\nsay(mount(f"{sys.argv[1]}/image", f"{sys.argv[1]}/mnt", "squashfs"))'
    with handled(broken) as (supervisor, notes):
        assert attempt(supervisor, code, place) == "EPERM"
        (fault,) = notes.faults
    assert "no-such-program" in str(fault)
