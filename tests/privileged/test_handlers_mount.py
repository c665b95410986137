"""`emulate-mount`: file systems for those who may not mount them."""

from __future__ import annotations

import os
import shutil
import signal
import stat
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
from unotify.calls import Mount
from unotify.calls.lookups import spot_of
from unotify.kernel.attaching import bind

HOME = "contain(0x20020000)\n"
"""A container without a user namespace."""


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Path:
    (tmp_path / "mnt").mkdir()
    return open_to_all(tmp_path)


@pytest.fixture(name="device")
def _device(tmp_path: Path) -> Iterator[str]:
    with loop(image(tmp_path)) as device:
        yield device


def listed(device: str, more: str = "", options: str = '["ext4"]') -> str:
    """A rule for one device."""
    minor = os.minor(os.stat(device).st_rdev)
    return (
        f"mount: {{ emulate-mount = {{ file-systems = {options}, "
        f'devices = ["b:7:{minor}"]{more} }} }}'
    )


def test_a_device_in_a_container(place: Path, device: str) -> None:
    """It is mounted with the container's ids, and without set-user-ID programs and devices."""
    code = """
contain()
place, device = sys.argv[1:]
found = [mount(device, f"{place}/mnt", "ext4", 8 | 1024), mounts(f"{place}/mnt")]
found.append([os.stat(f"{place}/mnt/{name}").st_uid for name in ("", "hello")])
found.append(tried(os.mkdir, f"{place}/mnt/new"))
found.append(open(f"{place}/mnt/hello").read())
found.append(umount(f"{place}/mnt"))
say(found)
"""
    with handled(listed(device)) as (supervisor, notes):
        found = attempt(supervisor, code, place, device)
        assert notes.faults == []
    shown = ["", "rw,nosuid,nodev,noexec,noatime,idmapped", "ext4", device, "rw"]
    assert found == [0, [shown], [0, 0], 0, "hello\n", 0]
    debugfs = shutil.which("debugfs", path="/usr/sbin:/sbin:/usr/bin")
    assert debugfs is not None
    told = subprocess.run(
        [debugfs, "-R", "stat new", place / "ext4.img"], capture_output=True, text=True, check=True
    )
    assert "User:     0 " in told.stdout


def test_what_is_forced_stays(place: Path, device: str) -> None:
    """Root of a container cannot take off what keeps it from the devices on somebody's image."""
    code = """
contain()
place, device = sys.argv[1:]
found = [mount(device, f"{place}/mnt", "ext4")]
for flags in (0, 2, 4):
    found.append(mount(None, f"{place}/mnt", None, 0x1020 | flags))
found.append(mount(None, f"{place}/mnt", None, 0x1020 | 2 | 4 | 8 | 1))
assert libc.unshare(0x20000) == 0
found.append(mount(None, f"{place}/mnt", None, 0x1020 | 2 | 8 | 1))
os.mkdir(f"{place}/again")
found += [mount(f"{place}/mnt", f"{place}/again", None, 0x1000)]
found += [mount(None, f"{place}/again", None, 0x1020), mounts(f"{place}/again")[0][1]]
say(found)
"""
    with handled(listed(device)) as (supervisor, notes):
        found = attempt(supervisor, code, place, device)
        assert notes.faults == []
    attributes = "ro,nosuid,nodev,noexec,relatime,idmapped"
    assert found == [0, "EPERM", "EPERM", "EPERM", 0, "EPERM", 0, "EPERM", attributes]


def test_what_is_refused(place: Path, device: str) -> None:
    """Each with the errno of the kernel, or EPERM for what is not listed; nothing is mounted."""
    os.mknod(place / "other", stat.S_IFBLK | 0o666, os.makedev(7, 200))
    code = """
contain()
place, device = sys.argv[1:]
os.chdir(place)
say([
    mount(device, "none", "ext4"),
    mount(device, "ext4.img", "ext4"),
    mount("none", "mnt", "ext4"),
    mount("/dev/null", "mnt", "ext4"),
    mount("mnt", "mnt", "ext4"),
    mount("other", "mnt", "ext4"),
    mount(None, "mnt", "ext4"),
    mount(device, "mnt", None),
    mount(device, "mnt", "ext4", 0, "errors=panic"),
    mount(device, "mnt", "ext4", 0, "journal_dev=0x700"),
    mount(device, "mnt", "ext4", 0, 'a="b'),
    mount(device, "mnt", "squashfs"),
    mount(device, "mnt", "nonsense"),
    mount(device, "x" * 5000, "ext4"),
    mount(device, "mnt", "x" * 5000),
    libc.mount(8, b"mnt", b"ext4", 0, None) and errno.errorcode[ctypes.get_errno()],
    mounts(place),
])
"""
    with handled(listed(device)) as (supervisor, notes):
        found = attempt(supervisor, code, place, device)
        assert notes.faults == []
    assert found == [
        *("ENOENT", "ENOTDIR", "ENOENT", "ENOTBLK", "ENOTBLK", "EPERM", "EINVAL", "EINVAL"),
        *("EPERM", "EPERM", "EINVAL", "EPERM", "ENODEV", "ENAMETOOLONG", "EINVAL", "EFAULT", []),
    ]


def test_options_of_the_policy(place: Path, device: str) -> None:
    """A file system gets the options that are listed for it, and what the policy forces."""
    rule = listed(
        device,
        ', force = ["ro", "nosuid", "nodev"]',
        '{ ext4 = ["errors=remount-ro", "stripe=*"] }',
    )
    code = """
contain()
place, device = sys.argv[1:]
found = [mount(device, f"{place}/mnt", "ext4", 0, data) for data in
    ("errors=continue", "debug", "errors=remount-ro,stripe=4")]
say([*found, mounts(place), tried(os.mkdir, f"{place}/mnt/x")])
"""
    with handled(rule) as (supervisor, _):
        found = attempt(supervisor, code, place, device)
    assert found[:3] == ["EPERM", "EPERM", 0]
    ((_, attributes, _, _, options),) = found[3]
    assert attributes == "ro,nosuid,nodev,relatime,idmapped"
    assert "stripe=4" in options
    assert found[4] == "EROFS"


def test_what_the_kernel_lets_a_container_do(place: Path, device: str) -> None:
    """What is not listed, the kernel decides by the container's own rights, or it is refused."""
    code = """
contain()
place, device = sys.argv[1:]
found = [mount("none", f"{place}/mnt", "tmpfs"), mount(place, f"{place}/mnt", None, 0x1000)]
found.append(mount(None, f"{place}/mnt", None, 0x1020 | 1))
say([*found, [kind for _, _, kind, *_ in mounts(place)]])
"""
    with handled(listed(device)) as (supervisor, notes):
        found = attempt(supervisor, code, place, device)
        assert found[:3] == [0, 0, 0]
        assert supervisor.statistics().racy == 1
        assert notes.calls.total() == 1  # binds and changes are none of its business
    with handled(listed(device, ', others = "refuse"')) as (supervisor, _):
        assert attempt(supervisor, code, place, device)[0] == "EPERM"
    with handled(listed(device, ", binds = true")) as (supervisor, _):
        assert attempt(supervisor, code, place, device)[:3] == [0, 0, 0]


def test_who_may_not(place: Path, device: str) -> None:
    """CAP_SYS_ADMIN in the container is asked for; in a namespace of one's own all have it."""
    code = """
contain()
place, device = sys.argv[1:]
if os.fork() == 0:
    assert libc.unshare(0x10020000) == 0
    os._exit(mount(device, f"{place}/mnt", "ext4") != "EPERM")
inner = os.waitstatus_to_exitcode(os.wait()[1])
drop(21)
say([inner, mount(device, f"{place}/mnt", "ext4"), mount(device, f"{place}/none", "ext4")])
"""
    with handled(listed(device)) as (supervisor, notes):
        assert attempt(supervisor, code, place, device) == [0, "EPERM", "ENOENT"]
        assert notes.faults == []
    with handled(listed(device, ", capable = false")) as (supervisor, _):
        assert attempt(supervisor, code, place, device)[1:] == [0, "ENOENT"]


def test_the_mounts_of_somebody_else(place: Path) -> None:
    """Root of a user namespace may mount nothing in a mount namespace that is not its own."""
    code = """
place = sys.argv[1]
assert libc.unshare(0x20000) == 0
assert libc.mount(None, b"/", None, ctypes.c_ulong(0x44000), None) == 0
os.mkdir(f"{place}/dev")
assert mount("none", f"{place}/dev", "tmpfs", 4) == 0
os.chown(f"{place}/dev", 100000, 100000)
contain(0x30000000)
before = mounts(place)
found = [mount("none", f"{place}/mnt", "tmpfs"), umount(f"{place}/dev")]
found += [tried(os.mknod, f"{place}/dev/null", 0o20666, os.makedev(1, 3))]
inside = [mounts(place) == before]
if not (child := os.fork()):
    assert libc.unshare(0x20000) == 0
    os._exit(mount("none", f"{place}/mnt", "tmpfs") != 0)
say([found, inside, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])])
"""
    rules = (
        'mount: { emulate-mount = { file-systems = ["tmpfs"], others = "refuse" } }',
        'umount2: "emulate-umount"',
        'mknodat mknod: "emulate-mknod"',
    )
    with handled(*rules) as (supervisor, notes):
        found = attempt(supervisor, code, place)
        assert notes.faults == []
    assert found == [["EPERM", "EPERM", "EPERM"], [True], 0]


def test_tmpfs_has_a_limit(place: Path) -> None:
    """A root without capabilities gets a tmpfs no larger than the policy says."""
    code = (
        HOME
        + """
drop(*range(40))
place, found = sys.argv[1], []
for data in (None, "size=64k,mode=0700", "size=1g,nr_inodes=1000000", "size=90%", "nr_blocks=1"):
    done = mount("scratch", f"{place}/mnt", "tmpfs", 0, data)
    shown = mounts(f"{place}/mnt")[-1] if done == 0 else None
    status = os.statvfs(f"{place}/mnt")
    found.append([done, shown and shown[1:4], status.f_blocks * status.f_frsize, status.f_files])
say([*found, os.stat(f"{place}/mnt").st_uid])
"""
    )
    rule = 'mount: { emulate-mount = { file-systems = ["tmpfs"], size = "1m", capable = false } }'
    with handled(rule) as (supervisor, notes):
        *found, owner = attempt(supervisor, code, place)
        assert notes.faults == []
    shown = ["rw,nosuid,nodev,relatime", "tmpfs", "scratch"]
    assert [made[:2] for made in found] == [[0, shown]] * 5
    assert [made[2] for made in found] == [1 << 20, 1 << 16, 1 << 20, 1 << 20, 4096]
    assert all(made[3] == 256 for made in found)
    assert owner == 0


def test_proc_and_sysfs_of_the_caller(place: Path) -> None:
    """A procfs has the caller's processes and no settings; a sysfs the caller's network."""
    code = """
contain(0x20020000 | 0x40000000)
drop(*range(40))
place = sys.argv[1]
found = [mount("proc", f"{place}/mnt", "proc")]
found.append(sorted(name for name in os.listdir(f"{place}/mnt") if name.isdigit()))
found.append([os.path.exists(f"{place}/mnt/{name}") for name in ("sys", "sysrq-trigger", "1/stat")])
found.append(mounts(f"{place}/mnt")[-1][1])
found.append(mount("sys", f"{place}/mnt", "sysfs"))
found.append(mounts(f"{place}/mnt")[-1][1])
found.append(os.listdir(f"{place}/mnt/class/net"))
say(found)
"""
    rule = 'mount: { emulate-mount = { file-systems = ["proc", "sysfs"], capable = false } }'
    with handled(rule) as (supervisor, notes):
        found = attempt(supervisor, code, place)
        assert notes.faults == []
    attributes = "nosuid,nodev,relatime"
    looks = [["1"], [False, False, True], f"rw,{attributes}"]
    # Settings of the host are not for who is root in a container without a user namespace.
    assert found == [0, *looks, 0, f"ro,{attributes}", ["lo"]]


def test_overlay(place: Path) -> None:
    """Its directories are found as the caller finds them, with its rights."""
    for name in ("lower", "more", "upper", "work", "closed"):
        (place / name).mkdir()
        (place / name).chmod(0o777)
    (place / "lower/a").write_text("a")
    (place / "more/b").write_text("b")
    (place / "closed").chmod(0o755)
    (place / "hidden").mkdir(mode=0o700)
    (place / "hidden/x").mkdir()
    code = (
        HOME
        + """
os.chdir(sys.argv[1])
def over(lower, upper="upper", work="work"):
    return mount("over", "mnt", "overlay", 0, f"lowerdir={lower},upperdir={upper},workdir={work}")
drop(21)
found = [over("lower:more"), sorted(os.listdir("mnt")), tried(os.mkdir, "mnt/new")]
os.setresgid(1000, 1000, 1000)
os.setresuid(1000, 1000, 1000)
found += [over("hidden/x"), over("none"), over("lower", "closed"), over("lower::more"), over("")]
found += [over("lower"), mount("over", "mnt", "overlay", 0, "lowerdir=lower:more")]
found.append(mount("over", "mnt", "overlay", 0, "lowerdir=lower,xino=on"))
say(found)
"""
    )
    rule = 'mount: { emulate-mount = { file-systems = ["overlay"], capable = false } }'
    with handled(rule) as (supervisor, notes):
        found = attempt(supervisor, code, place)
        assert notes.faults == []
    # Found again in the directory of its first mount, which is covered by now.
    assert found == [
        *(0, ["a", "b"], 0, "EACCES", "ENOENT", "EACCES", "EINVAL", "EINVAL", "EPERM", 0, "EPERM"),
    ]
    assert (place / "upper/new").stat().st_uid == 0


def test_a_bind_that_is_not_wanted_any_more(place: Path) -> None:
    """It is asked when all is made, and nobody has seen it; else it is attached, with its id."""
    for name in ("source", "target"):
        (place / name).mkdir()
    (place / "source" / "file").touch()
    sleeper = ["unshare", "-m", "sh", "-c", "echo; exec sleep 60"]
    with subprocess.Popen(sleeper, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            proc = Path(f"/proc/{process.pid}")
            held = [
                os.open(proc / "ns/mnt", os.O_RDONLY),
                *(os.open(f"{proc}/root{place}/{n}", os.O_PATH) for n in ("source", "target")),
            ]
            before = (proc / "mountinfo").read_text()
            assert bind(*held, wanted=lambda: False) is None
            assert (proc / "mountinfo").read_text() == before
            bound = bind(*held, set=1, wanted=lambda: True)
            assert bound is not None
            mount, number = bound
            mount.close()
            lines = (proc / "mountinfo").read_text().splitlines()
            (line,) = [line.split() for line in lines if f"{place}/target " in line]
            assert (int(line[0]), line[5].split(",")[0]) == (number, "ro")
            for fd in held:
                os.close(fd)
        finally:
            process.kill()


def test_binds(place: Path) -> None:
    """A bind mount gets what the caller and the policy want, and only ever more restrictions."""
    (place / "tree/file").parent.mkdir()
    (place / "tree/file").write_text("here")
    (place / "hidden").mkdir(mode=0o700)
    (place / "hidden/x").mkdir()
    code = (
        HOME
        + """
os.chdir(sys.argv[1])
place = sys.argv[1]
os.setresgid(1000, 1000, 1000)
os.setresuid(1000, 1000, 1000)
found = [mount("tree", "mnt", None, 0x1000), mounts(f"{place}/mnt")[-1][1], os.listdir("mnt")]
found += [mount(None, "mnt", None, 0x1000 | 0x20 | 1 | 8), mounts(f"{place}/mnt")[-1][1]]
found += [mount(None, "mnt", None, 0x1000 | 0x20), mounts(f"{place}/mnt")[-1][1]]
found += [mount("tree", "mnt", None, 0x1000 | 1 | 1024), mounts(f"{place}/mnt")[-1][1]]
found += [mount("hidden/x", "mnt", None, 0x1000), mount("none", "mnt", None, 0x1000)]
found += [mount(None, "mnt", None, 0x1000), mount("tree/file", "mnt", None, 0x1000)]
found += [mount(None, "tree", None, 0x1000 | 0x20 | 1)]
found += [mount("tree", "mnt", None, 0x2000), mount(None, "mnt", None, 0x40000)]
found += [mount(None, "mnt", None, 0x20)]
say(found)
"""
    )
    with handled("mount: { emulate-mount = { binds = true, capable = false } }") as (sup, notes):
        found = attempt(sup, code, place)
        assert notes.faults == []
    plain, strict = "rw,nosuid,nodev,relatime", "ro,nosuid,nodev,noexec,relatime"
    assert found == [
        *(0, plain, ["file"], 0, strict, 0, strict, 0, "ro,nosuid,nodev,noatime"),
        *("EACCES", "ENOENT", "EINVAL", "ENOTDIR", "EINVAL", "EPERM", "EPERM", "EPERM"),
    ]


def test_undone_for_who_was_killed(place: Path, device: str) -> None:
    """What was mounted for a caller that did not live to hear of it is unmounted."""
    minor = os.minor(os.stat(device).st_rdev)
    seen: list[Any] = []
    parents: set[str] = set()

    def act(call: Any) -> Reply | None:
        reply = handlers.emulate_mount(
            call, file_systems=["ext4", "tmpfs"], devices=[f"b:7:{minor}"]
        )
        table = Path(f"/proc/{call.caller.pid}/mountinfo")
        seen.append((reply, f"{place}/mnt" in table.read_text()))
        parents.add(Path(f"/proc/{call.caller.pid}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(call.caller.pid, signal.SIGKILL)
        until(lambda: not call.caller.is_waiting())
        return reply

    code = """
contain()
place, device = sys.argv[1:]
for fstype in ("ext4", "tmpfs"):
    if not os.fork():
        mount(device, f"{place}/mnt", fstype)
    os.wait()
print("ready", flush=True)
sys.stdin.readline()
say(mounts(place))
"""
    with Supervisor() as supervisor:
        supervisor.on("mount", where=Mount.flags == 0)(act)
        process = start(supervisor, code, place, device, stdin=subprocess.PIPE)
        process.stdout.readline()
        (parent,) = parents
        until(lambda: str(place) not in Path(f"/proc/{parent}/mountinfo").read_text())
        output, _ = process.communicate(b"\\n", timeout=60)
        assert supervisor.statistics().faults == 0
    assert [(type(reply).__name__, there) for reply, there in seen] == [("Return", True)] * 2
    assert output == b"[]\n"


def test_a_mount_point_that_is_swapped(place: Path) -> None:
    """What was looked at is what is mounted on, whatever is put in the place of it."""
    (place / "out").mkdir()

    def act(call: Any) -> Reply | None:
        call.caller.pin("target", spot_of(call, "target"))
        (place / "mnt").rename(place / "moved")
        (place / "mnt").symlink_to("out")
        return handlers.emulate_mount(call, file_systems=["tmpfs"])

    code = HOME + 'say([mount("x", f"{sys.argv[1]}/mnt", "tmpfs"), mounts(sys.argv[1])])'
    with Supervisor() as supervisor:
        supervisor.on("mount", where=Mount.flags == 0)(act)
        found = attempt(supervisor, code, place)
    assert (found[0], [shown[0] for shown in found[1]]) == (0, ["/moved"])


def test_strings_that_are_rewritten(place: Path, device: str) -> None:
    """While a thread rewrites type, source and options, only what is listed is ever mounted."""
    code = """
contain()
place, device = sys.argv[1:]
fstype, source, data = (ctypes.create_string_buffer(64) for _ in range(3))
texts = [(b"ext4", device.encode(), b"noload"), (b"tmpfs", b"/dev/zero", b"errors=panic"),
         (b"squashfs", device.encode(), b"debug")]
going = True
def rewrite():
    turn = 0
    while going:
        for buffer, text in zip((fstype, source, data), texts[turn % 3]):
            buffer.value = text
        turn += 1
thread = threading.Thread(target=rewrite)
thread.start()
bad = []
for _ in range(40):
    if libc.mount(source, f"{place}/mnt".encode(), fstype, ctypes.c_ulong(0), data) == 0:
        for _, attributes, kind, shown, options in mounts(f"{place}/mnt"):
            if kind not in ("ext4", "tmpfs") or (kind == "ext4" and shown != device):
                bad.append([kind, shown, options])
            if "panic" in options or "debug" in options:
                bad.append([kind, shown, options])
        umount(f"{place}/mnt")
going = False
thread.join()
for buffer, text in zip((fstype, source, data), texts[0]):
    buffer.value = text
libc.mount(source, f"{place}/mnt".encode(), fstype, ctypes.c_ulong(0), data)
say([bad, mounts(f"{place}/mnt")[0][2]])
"""
    with handled(listed(device)) as (supervisor, notes):
        assert attempt(supervisor, code, place, device) == [[], "ext4"]
        assert notes.faults == []


def test_the_real_program(place: Path, device: str) -> None:
    """mount(8) and umount(8) do their work in a container."""
    mount = shutil.which("mount")
    if mount is None:
        missing("mount(8) is not installed")
    code = """
import subprocess
contain()
place, device = sys.argv[1:]
def run(*argv):
    done = subprocess.run(argv, capture_output=True, text=True)
    return [done.returncode, done.stderr.strip()]
os.environ["LC_ALL"] = "C"
say([
    run("mount", "-t", "ext4", "-o", "noexec,noatime", device, f"{place}/mnt"),
    mounts(place), run("umount", f"{place}/mnt"), mounts(place),
    run("mount", "-t", "ext4", "-o", "data=journal", device, f"{place}/mnt")[0],
])
"""
    with handled(listed(device), 'fsopen: { fail = "ENOSYS" }') as (supervisor, notes):
        found = attempt(supervisor, code, place, device)
        assert notes.faults == []
    attributes = "rw,nosuid,nodev,noexec,noatime,idmapped"
    shown = ["/mnt", attributes, "ext4", device, "rw"]
    assert found == [[0, ""], [shown], [0, ""], [], 32]
