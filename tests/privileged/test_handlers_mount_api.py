"""`emulate-mount` by the calls of Linux 5.2: fsopen and those that follow it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing
from tests.kernel.targets import until
from tests.privileged.handlers_support import attempt, handled, open_to_all, start
from tests.privileged.loop_support import image, loop
from unotify import Reply, Supervisor, handlers
from unotify.abi import tables
from unotify.handlers.keeping import KEPT
from unotify.kernel._libc import NATIVE

CALLS = "mount fsopen fsconfig fsmount move_mount open_tree fspick mount_setattr"
HOME = "contain(0x20020000)\n"
_NAMES = [*CALLS.split()[1:], "dup3", "open_tree_attr"]
_NUMBERS = {name: tables.number(name, NATIVE) for name in _NAMES}

API = (
    f"""
NUMBERS = {_NUMBERS!r}
"""
    + """
def words(*args):
    return [os.fsencode(a) if isinstance(a, str) else a for a in args]
def fsopen(name, flags=1): return called(NUMBERS["fsopen"], *words(name, flags))
def fsconfig(fd, cmd, key=None, value=None, aux=0):
    return called(NUMBERS["fsconfig"], *words(fd, cmd, key, value, aux))
def fsmount(fd, flags=1, attributes=0): return called(NUMBERS["fsmount"], fd, flags, attributes)
def move_mount(source, place, flags=4, at=-100, name=""):
    return called(NUMBERS["move_mount"], *words(source, name, at, place, flags))
def open_tree(path, flags=1 | 0o2000000, at=-100):
    return called(NUMBERS["open_tree"], *words(at, path, flags))
def mount_setattr(fd, set_=0, clear=0, propagation=0, path="", flags=0x1000, size=32, userns=0):
    attr = struct.pack("=4Q", set_, clear, propagation, userns)
    return called(NUMBERS["mount_setattr"], *words(fd, path, flags, attr, size))
FLAG, STRING, CREATE, RECONFIGURE = 0, 1, 6, 7
place, device = (*sys.argv[1:], None)[:2]
"""
)


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "mnt").mkdir()
    yield open_to_all(tmp_path)
    assert len(KEPT) <= 64


@pytest.fixture(name="device")
def _device(tmp_path: Path) -> Iterator[str]:
    with loop(image(tmp_path)) as device:
        yield device


def listed(device: str, more: str = "", options: str = '["ext4", "tmpfs"]') -> str:
    """A rule for one device."""
    minor = os.minor(os.stat(device).st_rdev)
    return (
        f"{CALLS}: {{ emulate-mount = {{ file-systems = {options}, "
        f'devices = ["b:7:{minor}"]{more} }} }}'
    )


def test_a_device_in_a_container(place: Path, device: str) -> None:
    """Step by step it is mounted, with the container's ids and with attributes that stay."""
    code = (
        API
        + """
contain()
fd = fsopen("ext4")
found = [fsconfig(fd, STRING, "source", device), fsconfig(fd, FLAG, "noload"),
         fsconfig(fd, CREATE)]
made = fsmount(fd, 1, 8)
os.close(fd)
found.append(mount_setattr(made, 0x10, 0x70))
found.append(move_mount(made, f"{place}/mnt"))
os.close(made)
found += [mounts(place), os.stat(f"{place}/mnt/hello").st_uid, tried(os.mkdir, f"{place}/mnt/new")]
found += [mount(None, f"{place}/mnt", None, 0x1020 | 2), umount(f"{place}/mnt"), mounts(place)]
say(found)
"""
    )
    with handled(listed(device)) as (supervisor, notes):
        found = attempt(supervisor, code, place, device)
        assert notes.faults == []
    attributes = "rw,nosuid,nodev,noexec,noatime,idmapped"
    shown = ["/mnt", attributes, "ext4", device, "rw,norecovery"]
    assert found == [0, 0, 0, 0, 0, [shown], 0, 0, "EPERM", 0, []]


def test_what_is_refused(place: Path, device: str) -> None:
    """At each step with the errno of the kernel, or EPERM for what is not listed."""
    code = (
        API
        + """
contain()
fd = fsopen("ext4")
found = [fsopen("nonsense"), fsopen("ext4", 2), fsopen(None), fsopen(8)]
found += [fsconfig(fd, STRING, "journal_path", "/etc/shadow"), fsconfig(fd, FLAG, "debug"),
          fsconfig(fd, STRING, "noload", "1"), fsconfig(fd, FLAG, "noload", "1"),
          fsconfig(fd, STRING, None, "x"), fsconfig(fd, STRING, "x" * 300, "y"),
          fsconfig(fd, 5, "source", None, 0), fsconfig(fd, 99), fsconfig(fd, RECONFIGURE),
          fsconfig(99, CREATE), fsconfig(0, CREATE), fsconfig(fd, CREATE, "x")]
found += [fsmount(fd), fsconfig(fd, CREATE), fsmount(99)]
found += [fsconfig(fd, STRING, "source", "/dev/null"), fsconfig(fd, STRING, "source", device)]
found += [fsconfig(fd, CREATE)]
fd = fsopen("ext4", 0)
found += [os.get_inheritable(fd), fsconfig(fd, STRING, "source", device), fsconfig(fd, CREATE),
          fsconfig(fd, FLAG, "ro"), fsconfig(fd, CREATE), fsmount(fd, 2), fsmount(fd, 0, 1 << 30)]
made = fsmount(fd)
found += [fsmount(fd), mount_setattr(made, size=8), mount_setattr(made, size=5000),
          mount_setattr(made, 0, 0, 3), mount_setattr(made, 0x100000, userns=3),
          mount_setattr(made, 0x10), mount_setattr(made, 1 << 50)]
found += [move_mount(made, f"{place}/none"), move_mount(made, f"{place}/ext4.img"),
          move_mount(made, f"{place}/mnt", 4 | 0x800), move_mount(made, f"{place}/mnt", 0)]
found += [move_mount(made, f"{place}/mnt"), move_mount(made, f"{place}/mnt")]
say(found)
"""
    )
    with handled(listed(device)) as (supervisor, notes):
        found = attempt(supervisor, code, place, device)
        assert notes.faults == []
    assert found == [
        *("ENODEV", "EINVAL", "EFAULT", "EFAULT"),
        *("EPERM", "EPERM", "EPERM", "EINVAL", "EINVAL", "EINVAL"),
        *("ENOTSUP", "ENOTSUP", "EPERM", "EBADF", "EINVAL", "EINVAL"),
        *("EINVAL", "EINVAL", "EBADF"),
        *(0, "EINVAL", "ENOTBLK"),
        *(True, 0, 0, "EBUSY", "EBUSY", "EINVAL", "EINVAL"),
        *("EINVAL", "EINVAL", "E2BIG", "EINVAL", "EPERM", "EINVAL", "EPERM"),
        *("ENOENT", "ENOTDIR", "EINVAL", "ENOENT"),
        *(0, "EINVAL"),
    ]


def test_what_the_kernel_lets_a_container_do(place: Path, device: str) -> None:
    """Its own file systems, binds and changes are left to it."""
    code = (
        API
        + """
contain()
fd = fsopen("ramfs")
found = [fsconfig(fd, CREATE)]
made = fsmount(fd)
found.append(move_mount(made, f"{place}/mnt"))
copy = open_tree(f"{place}/mnt")
found += [mount_setattr(copy, 1), move_mount(copy, f"{place}/mnt")]
found.append([shown[1:3] for shown in mounts(place)])
picked = called(NUMBERS["fspick"], -100, f"{place}/mnt".encode(), 1)
found.append(fsconfig(picked, RECONFIGURE))
say(found)
"""
    )
    with handled(listed(device)) as (supervisor, notes):
        found = attempt(supervisor, code, place, device)
        assert notes.faults == []
    assert found == [0, 0, 0, 0, [["rw,relatime", "ramfs"], ["ro,relatime", "ramfs"]], 0]
    with handled(listed(device, ', others = "refuse"')) as (supervisor, _):
        assert attempt(supervisor, API + 'contain()\nsay(fsopen("ramfs"))', place) == "EPERM"


def test_a_limit_without_capabilities(place: Path) -> None:
    """Who has none gets a tmpfs no larger than the policy says, and no other file system."""
    code = (
        API
        + HOME
        + """
drop(*range(40))
fd = fsopen("tmpfs")
found = [fsconfig(fd, STRING, "size", "1g"), fsconfig(fd, STRING, "mode", "0700"),
         fsconfig(fd, STRING, "source", "scratch"), fsconfig(fd, CREATE)]
made = fsmount(fd, 1, 1)
found += [mount_setattr(made, 8, 1 | 2 | 4), move_mount(made, f"{place}/mnt")]
found.append(mounts(place)[0][1:4])
status = os.statvfs(f"{place}/mnt")
found += [status.f_blocks * status.f_frsize, fsopen("ramfs"), open_tree(f"{place}/mnt")]
found += [fsconfig(0, CREATE), called(NUMBERS["fspick"], -100, f"{place}/mnt".encode(), 1)]
say(found)
"""
    )
    limited = '{ emulate-mount = { file-systems = ["tmpfs"], size = "1m", capable = false } }'
    rule = f"{CALLS}: {limited}"
    with handled(rule) as (supervisor, notes):
        found = attempt(supervisor, code, place)
        assert notes.faults == []
    shown = ["rw,nosuid,nodev,noexec,relatime", "tmpfs", "scratch"]
    assert found == [0, 0, 0, 0, 0, 0, shown, 1 << 20, *["EPERM"] * 4]


@pytest.mark.parametrize("where", ["user", "home"])
@pytest.mark.parametrize("api", ["old", "new"])
def test_overlay_opens_nothing(place: Path, where: str, api: str) -> None:
    """What is closed to the caller is not opened by a directory of its own name laid over it."""
    (place / "low/private").mkdir(parents=True)
    (place / "low/private/secret").write_text("secret")
    (place / "low/private").chmod(0o700)
    (place / "low/shared").mkdir()
    (place / "low/shared/file").write_text("open")
    code = (
        API
        + """
os.chdir(place)
flags = 0x30020000 if device == "user" else 0x20020000
contain(flags)
os.mkdir("b")
assert mount("none", "b", "tmpfs") == 0
if device == "home":
    os.chown("b", 1000, 1000)
    os.setresgid(1000, 1000, 1000)
    os.setresuid(1000, 1000, 1000)
for name in ("up", "work", "merged", "up/private", "up/shared"):
    os.mkdir("b/" + name)
layers = {"lowerdir": "low", "upperdir": "b/up", "workdir": "b/work"}
if device == "home":
    layers = {"lowerdir": "b/up:low"}
if API_NAME == "old":
    text = ",".join(f"{key}={value}" for key, value in {**layers, "userxattr": ""}.items())
    found = [mount("over", "b/merged", "overlay", 0, text.rstrip("="))]
else:
    fd = fsopen("overlay")
    found = [fsconfig(fd, STRING, key, value) for key, value in layers.items()]
    found = [sum(found), fsconfig(fd, FLAG, "userxattr"), fsconfig(fd, CREATE)]
    found = [[*found, move_mount(fsmount(fd), "b/merged")] == [0, 0, 0, 0] and 0]
shown = mounts(f"{place}/b/merged")[0]
found += [shown[1:3], "userxattr" in shown[4]]
found += [tried(os.listdir, "b/merged/private"), tried(os.open, "b/merged/private/secret", 0)]
found += [sorted(os.listdir("b/merged/shared")), open("b/merged/shared/file").read()]
if device == "user":
    open("b/merged/shared/new", "w").write("new")
    found += [tried(os.unlink, "b/merged/shared/file"), sorted(os.listdir("b/merged/shared"))]
    found.append(mount(None, "b/merged", None, 0x1020 | 4))
say(found)
""".replace("API_NAME", repr(api))
    )
    capable = "false" if where == "home" else "true"
    listed = f'file-systems = ["overlay", "tmpfs"], others = "refuse", capable = {capable}'
    with handled(f"{CALLS}: {{ emulate-mount = {{ {listed} }} }}") as (supervisor, notes):
        found = attempt(supervisor, code, place, where)
        assert notes.faults == []
    assert found == [
        *(0, ["rw,nosuid,nodev,relatime", "overlay"], True),
        *("EACCES", "EACCES", ["file"], "open"),
        *([0, ["new"], "EPERM"] if where == "user" else []),
    ]


def test_binds(place: Path) -> None:
    """A copy of a mount is what the caller may look up, and is restricted before it is seen."""
    (place / "tree").mkdir()
    (place / "tree/file").write_text("here")
    (place / "hidden").mkdir(mode=0o700)
    (place / "hidden/x").mkdir()
    code = (
        API
        + HOME
        + """
os.setresgid(1000, 1000, 1000)
os.setresuid(1000, 1000, 1000)
copy = open_tree(f"{place}/tree")
found = [os.listdir(copy), mount_setattr(copy, 1), move_mount(copy, f"{place}/mnt")]
found += [mounts(place)[0][:2], os.listdir(f"{place}/mnt"), open_tree(f"{place}/hidden/x")]
found += [mount_setattr(-100, 8, path=f"{place}/mnt", flags=0), mounts(place)[0][1]]
found += [mount_setattr(-100, 0, 8, path=f"{place}/mnt", flags=0)]
found += [mount_setattr(-100, 1, path=f"{place}/tree", flags=0)]
file = open_tree(f"{place}/tree/file")
found += [move_mount(file, f"{place}/mnt"), move_mount(file, f"{place}/tree/file")]
found += [mount_setattr(-1, 0, size=0)]
say(found)
"""
    )
    rule = f"{CALLS}: {{ emulate-mount = {{ binds = true, capable = false }} }}"
    with handled(rule) as (supervisor, notes):
        found = attempt(supervisor, code, place)
        assert notes.faults == []
    strict = "ro,nosuid,nodev,noexec,relatime"
    assert found == [
        *([], 0, 0, ["/mnt", "ro,nosuid,nodev,relatime"], ["file"], "EACCES"),
        *(0, strict, "EPERM", "EINVAL", "ENOTDIR", 0, "EINVAL"),
    ]


def test_descriptors_that_are_exchanged(place: Path, device: str) -> None:
    """While a thread puts others in the place of a descriptor, no unchecked option gets through."""
    code = (
        API
        + """
contain()
def native():
    fd = fsopen("ramfs")
    return fd
going, number = True, 50
ours, theirs = fsopen("ext4"), native()
fsconfig(ours, STRING, "source", device)
def exchange():
    while going:
        for fd in (ours, theirs):
            called(NUMBERS["dup3"], fd, number, 0)
thread = threading.Thread(target=exchange)
thread.start()
for _ in range(150):
    fsconfig(number, STRING, "errors", "panic")
    fsconfig(number, STRING, "journal_path", "/x")
going = False
thread.join()
found = [fsconfig(ours, CREATE)]
made = fsmount(ours)
going, theirs = True, open_tree("/")
ours = made
thread = threading.Thread(target=exchange)
thread.start()
for _ in range(60):
    mount_setattr(number, 0, 2 | 4)
    fsconfig(number, RECONFIGURE)
going = False
thread.join()
found += [move_mount(made, f"{place}/mnt"), mounts(place)]
say(found)
"""
    )
    with handled(listed(device)) as (supervisor, notes):
        created, moved, ((_, attributes, _, _, options),) = attempt(supervisor, code, place, device)
        assert notes.faults == []
    assert (created, moved) == (0, 0)
    assert attributes == "rw,nosuid,nodev,relatime,idmapped"
    assert "panic" not in options


def test_a_stand_in_is_nothing(place: Path, device: str) -> None:
    """What the target holds cannot become anything by itself, under no filter either."""
    code = (
        API
        + """
contain()
fd = fsopen("ext4")
fsconfig(fd, STRING, "source", device)
fsconfig(fd, CREATE)
made = fsmount(fd)
say([os.listdir(made), tried(os.mkdir, "x", dir_fd=made), tried(os.open, "hello", 0, dir_fd=made)])
"""
    )
    with handled(listed(device)) as (supervisor, _):
        assert attempt(supervisor, code, place, device) == [[], "EROFS", "ENOENT"]


@pytest.mark.parametrize("step", ["fsopen", "fsconfig", "fsmount", "move_mount"])
def test_death_at_each_step(place: Path, device: str, step: str) -> None:
    """Whoever is killed leaves no mount behind, and nothing that is kept for him."""
    minor = os.minor(os.stat(device).st_rdev)
    tables_: list[Path] = []

    def act(call: Any) -> Reply | None:
        reply = handlers.emulate_mount(call, file_systems=["ext4"], devices=[f"b:7:{minor}"])
        if call.call_name == step and (step != "fsconfig" or call.register("cmd") == 6):
            parent = Path(f"/proc/{call.caller.pid}/stat").read_text().rpartition(")")[2].split()[1]
            tables_.append(Path(f"/proc/{parent}/mountinfo"))
            os.kill(call.caller.pid, signal.SIGKILL)
            until(lambda: not call.caller.is_waiting())
        return reply

    code = (
        API
        + """
contain()
if not os.fork():
    fd = fsopen("ext4")
    fsconfig(fd, STRING, "source", device)
    fsconfig(fd, CREATE)
    made = fsmount(fd)
    move_mount(made, f"{place}/mnt")
    os._exit(1)
status = os.wait()[1]
sys.stdin.readline()
say([status, mounts(place)])
"""
    )
    with Supervisor() as supervisor:
        supervisor.on("fsopen", "fsconfig", "fsmount", "move_mount")(act)
        process = start(supervisor, code, place, device, stdin=subprocess.PIPE)
        until(lambda: tables_)
        until(lambda: str(place) not in tables_[0].read_text())
        output, _ = process.communicate(b"\n", timeout=60)
        assert supervisor.statistics().faults == 0
    assert output == b"[9, []]\n"
    with handled(listed(device)) as (supervisor, _):
        # What an earlier process had is freed when another one comes.
        assert attempt(supervisor, API + 'contain()\nsay(fsopen("ext4"))', place) > 2
    assert len(KEPT) <= 1


def modern_mount() -> list[str]:
    """A mount(8) that uses these calls: of util-linux 2.39 or later."""
    given = os.environ.get("UNOTIFY_MODERN_MOUNT")
    if given == "none":
        pytest.skip("UNOTIFY_MODERN_MOUNT=none: no mount(8) of util-linux 2.39 or later in reach")
    command = given.split() if given else [shutil.which("mount") or "mount"]
    told = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    if "fd-based-mount" not in told.stdout:
        missing("no mount(8) of util-linux 2.39 or later: name one in UNOTIFY_MODERN_MOUNT")
    return command


def test_the_real_program(place: Path, device: str) -> None:
    """A modern mount(8) mounts in a container what is listed, and says what is wrong otherwise."""
    command = modern_mount()
    code = (
        API.replace("place, device = (*sys.argv[1:], None)[:2]", "")
        + """
import subprocess
contain()
place, device, *command = sys.argv[1:]
def run(*argv):
    done = subprocess.run(argv, capture_output=True, text=True)
    return [done.returncode, done.stderr.strip()]
os.environ["LC_ALL"] = "C"
say([
    run(*command, "-t", "ext4", "-o", "noexec,noatime,noload", device, f"{place}/mnt"),
    mounts(place), run("umount", f"{place}/mnt"), mounts(place),
    run(*command, "-t", "ext4", "-o", "data=journal", device, f"{place}/mnt")[0],
    run(*command, "-t", "tmpfs", "-o", "size=bogus", "x", f"{place}/mnt"),
    run(*command, "-t", "tmpfs", "-o", "size=1m,ro", "x", f"{place}/mnt"), mounts(place),
])
"""
    )
    with handled(listed(device, "", "{ ext4 = [], tmpfs = [] }")) as (supervisor, notes):
        found = attempt(supervisor, code, place, device, *command)
        assert notes.faults == []
        used = {name.partition("@")[0] for name in notes.calls}
    assert {"fsopen", "fsconfig", "fsmount", "move_mount", "mount_setattr"} <= used
    attributes = "rw,nosuid,nodev,noexec,noatime,idmapped"
    assert found[:5] == [
        *([0, ""], [["/mnt", attributes, "ext4", device, "rw,norecovery"]], [0, ""], [], 32),
    ]
    assert found[5][0] == 32
    assert "Bad value for 'size'" in found[5][1]
    assert found[6] == [0, ""]
    ((_, attributes, kind, source, _),) = found[7]
    assert (attributes, kind, source) == ("ro,nosuid,nodev,relatime,idmapped", "tmpfs", "x")
