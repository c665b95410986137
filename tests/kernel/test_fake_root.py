"""Real programs play root as an ordinary user: archives, packages, static binaries."""

from __future__ import annotations

import grp
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import textwrap
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.kernel.cli_support import ENVIRON, UNOTIFY, begin, cli
from tests.kernel.fake_root_support import JOB, played, python
from tests.kernel.spawn_support import PATIENCE, until


def need(*programs: str) -> None:
    """Go on with these programs alone."""
    for program in programs:
        if shutil.which(program) is None:
            missing(f"there is no {program} here")


def test_same_archives_as_fakeroot(tmp_path: Path) -> None:
    """tar, cpio, cp -a, install and mknod: the same bytes and listings as under fakeroot(1)."""
    need("fakeroot", "cpio")
    directories = tmp_path / "ours", tmp_path / "theirs"
    for directory in directories:
        directory.mkdir()
    played("bash", "-c", JOB, "job", str(directories[0]))
    subprocess.run(["fakeroot", "bash", "-c", JOB, "job", str(directories[1])], check=True)
    for name in ("src.tar", "copy.tar", "again.tar", "listing", "contents"):
        ours, theirs = ((directory / name).read_bytes() for directory in directories)
        assert ours == theirs, name
        assert ours
    # An archive of cpio has the numbers of inodes; what comes out of it is in the listing.
    listing = (directories[0] / "listing").read_text()
    assert "crw-r--r-- 1  0  0 1, 3  null" in listing
    assert "drwxr-s--- 2 33 44 4096  inst" in listing
    # And nothing of all that is real.
    for path in directories[0].rglob("*"):
        found = path.lstat()
        assert found.st_uid == os.geteuid()
        assert stat.S_IFMT(found.st_mode) not in (stat.S_IFCHR, stat.S_IFBLK)
        assert not found.st_mode & stat.S_ISUID


def owner(uid: int, gid: int) -> str:
    """As tar lists it: by the names that this machine has."""
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    try:
        group = grp.getgrgid(gid).gr_name
    except KeyError:
        group = str(gid)
    return f"{user}/{group}"


def test_static_binaries(tmp_path: Path) -> None:
    """A program that no preloaded library reaches plays root like all others."""
    need("busybox")
    script = (
        "busybox id -u; busybox touch a; busybox chown 5:6 a; busybox chmod 4711 a; "
        "busybox mknod n c 1 3; busybox tar cf t.tar a n; busybox stat -c '%n %u %g %a' a n; "
        "busybox tar tvf t.tar"
    )
    said = played("busybox", "sh", "-c", script, cwd=tmp_path).splitlines()
    assert said[:3] == ["0", "a 5 6 4711", "n 0 0 644"]
    assert said[3].startswith(f"-rws--x--x {owner(5, 6)} ")
    assert said[4].startswith(f"crw-r--r-- {owner(0, 0)} ")


PACKAGE = """
set -e
mkdir -p p/DEBIAN p/usr/bin p/etc p/var/lib/demo p/dev
printf 'Package: demo\\nVersion: 1\\nArchitecture: all\\nMaintainer: a <a@b>\\nDescription: d\\n' \
    > p/DEBIAN/control
cat > p/DEBIAN/postinst <<'END'
#!/bin/sh
set -e
test "$(id -u)" = 0
chown 42:43 "$DPKG_ROOT/var/lib/demo/data"
chmod 4711 "$DPKG_ROOT/usr/bin/demo"
END
chmod 755 p/DEBIAN/postinst
echo data > p/var/lib/demo/data; chown 33:33 p/var/lib/demo
echo conf > p/etc/conf; chown 0:42 p/etc/conf; chmod 640 p/etc/conf
echo > p/usr/bin/demo; chmod 755 p/usr/bin/demo
mknod -m 666 p/dev/demo c 1 3
dpkg-deb --build p demo.deb > /dev/null
mkdir -p r/var/lib/dpkg/updates r/var/lib/dpkg/info r/etc r/var/log r/tmp
mkdir -p r/var/lib/apt/lists/partial r/var/cache/apt/archives/partial r/etc/apt/apt.conf.d
mkdir -p r/etc/apt/preferences.d
touch r/var/lib/dpkg/status r/etc/apt/sources.list
cat > apt.conf <<END
Dir "$PWD/r";
Dir::State::status "$PWD/r/var/lib/dpkg/status";
Dir::Log "$PWD/r/var/log";
Dpkg::Options { "--root=$PWD/r"; "--force-script-chrootless"; "--log=/dev/null"; };
END
export APT_CONFIG=$PWD/apt.conf HOME=$PWD DEBIAN_FRONTEND=noninteractive
apt-get install -y "$PWD/demo.deb" > apt.log 2>&1 || { cat apt.log; exit 1; }
cd r
stat -c '%n %F %u %g %a %t' var/lib/demo var/lib/demo/data etc/conf usr/bin/demo dev/demo
"""


def test_packages(tmp_path: Path) -> None:
    """dpkg-deb packs owners and a device, apt-get and dpkg install them into a directory."""
    need("dpkg-deb", "apt-get")
    said = played("bash", "-c", PACKAGE, cwd=tmp_path)
    assert said.splitlines() == [
        "var/lib/demo directory 33 33 755 0",
        "var/lib/demo/data regular file 42 43 644 0",
        "etc/conf regular file 0 42 640 0",
        "usr/bin/demo regular file 0 0 4711 0",
        "dev/demo character special file 0 0 666 1",
    ]


def test_in_a_chroot(tmp_path: Path) -> None:
    """chroot(2) works where the user may do it: in a user namespace that has the supervisor too."""
    need("busybox", "unshare")
    if subprocess.run(["unshare", "-r", "true"], capture_output=True, check=False).returncode:
        missing("this user may make no user namespace")
    for name in ("bin", "tmp"):
        (tmp_path / "root" / name).mkdir(parents=True)
    shutil.copy2(shutil.which("busybox") or "", tmp_path / "root/bin/busybox")
    script = (
        "cd tmp; busybox touch a; busybox chown 5:6 a; busybox mknod n c 1 3; "
        "busybox stat -c '%n %u %g %F' /tmp/a /tmp/n; busybox id -u"
    )
    args = ["run", "--fake-root", str(tmp_path / "store"), "--", "chroot", str(tmp_path / "root")]
    done = subprocess.run(
        ["unshare", "-r", *UNOTIFY, *args, "/bin/busybox", "sh", "-c", script],
        env=ENVIRON,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    expected = "/tmp/a 5 6 regular empty file\n/tmp/n 0 0 character special file\n0\n"
    assert (done.stdout, done.stderr) == (expected, "")


def test_a_store_survives_runs(tmp_path: Path) -> None:
    """What one run set the next one sees, and a run without the store does not."""
    store = tmp_path / "store"
    work = tmp_path / "work"
    work.mkdir()
    for script, expected in (
        ("touch a; mknod n b 8 1; chown 5:6 a n; chmod 4600 a", ""),
        ("stat -c '%u %g %a %F' a n", "5 6 4600 regular empty file\n5 6 644 block special file\n"),
        ("rm n; touch n; stat -c '%u %F' n", "0 regular empty file\n"),
    ):
        done = cli("run", "--fake-root", str(store), "--", "sh", "-c", script, cwd=work)
        assert (done.stdout, done.stderr, done.returncode) == (expected, "", 0)
    done = cli("run", "--fake-root", "--", "stat", "-c", "%u %a", "a", cwd=work)
    assert done.stdout == "0 600\n"


def test_a_number_that_is_given_again(tmp_path: Path) -> None:
    """A file that was removed behind our back leaves nothing to the next one of its number."""
    store, path = tmp_path / "store", tmp_path / "file"
    path.touch()
    played("chown", "5:6", str(path), store=store)
    number = path.stat().st_ino
    path.unlink()
    for attempt in range(64):
        path = tmp_path / f"file{attempt}"
        path.touch()
        if path.stat().st_ino == number:
            break
    assert played("stat", "-c", "%u %g", str(path), store=store) == "0 0\n"


def test_a_killed_supervisor_loses_nothing(tmp_path: Path) -> None:
    """Whatever chown said was done is in the store, when the supervisor dies in the midst."""
    store = tmp_path / "store"
    code = """
        import os
        for number in range(1, 1 << 30):
            os.close(os.open(f"f{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            try:
                os.chown(f"f{number}", number, number)
            except OSError:
                break  # nobody is there any more: ENOSYS
            print(number, flush=True)
    """
    args = ["run", "--fake-root", str(store), "--", *python(textwrap.dedent(code))]
    process = begin(*args, cwd=tmp_path)
    assert process.stdout is not None
    for _ in range(50):
        last = process.stdout.readline()
    process.kill()
    last = (process.stdout.read().split() or [last])[-1]
    process.wait(PATIENCE)
    process.stdout.close()
    numbers = range(1, int(last) + 1)
    said = played("stat", "-c", "%u", *(f"f{n}" for n in numbers), store=store, cwd=tmp_path)
    assert said.split() == [str(number) for number in numbers]


def test_two_runs_on_one_store(tmp_path: Path) -> None:
    """The second is refused in one sentence, before its program starts."""
    store, mark = tmp_path / "store", tmp_path / "mark"
    first = begin("run", "--fake-root", str(store), "--", "cat", stdin=subprocess.PIPE)
    until(lambda: store.exists() and store.stat().st_size > 0)
    second = cli("run", "--fake-root", str(store), "--", "touch", str(mark))
    first.communicate("", timeout=PATIENCE)
    assert second.returncode == 3
    assert second.stderr.startswith(f"unotify: error: another run has the store {store}")
    assert second.stderr.count("\n") <= 2
    assert not mark.exists()


def test_what_is_no_store(tmp_path: Path) -> None:
    """A file that is something else is left as it is."""
    path = tmp_path / "letter"
    path.write_text("Dear Sir\n")
    done = cli("run", "--fake-root", str(path), "--", "true")
    assert done.returncode == 3
    assert "is no store of fake root" in done.stderr
    assert path.read_text() == "Dear Sir\n"


def test_signals_and_status_are_the_programs(tmp_path: Path) -> None:
    """As of any run: its exit status, and the signal that it died of."""
    assert cli("run", "--fake-root", "--", "sh", "-c", "exit 7").returncode == 7
    done = cli("run", "--fake-root", "--", "sh", "-c", "kill -TERM $$")
    assert done.returncode == -signal.SIGTERM


def test_rings_are_not_there(tmp_path: Path) -> None:
    """io_uring would go past all of it (B9), so a program hears that the kernel has none."""
    code = """
        import ctypes, errno, os
        libc = ctypes.CDLL(None, use_errno=True)
        done = libc.syscall(425, 8, ctypes.create_string_buffer(120))
        print(done, errno.errorcode[ctypes.get_errno()])
    """
    assert played(*python(textwrap.dedent(code))) == "-1 ENOSYS\n"


def test_hidden_from_its_own_user(tmp_path: Path) -> None:
    """A program that wants no debugger (PR_SET_DUMPABLE), as gpg, is told of files as before."""
    (tmp_path / "a").touch()
    code = """
        import ctypes, os
        print(ctypes.CDLL(None).prctl(4, 0, 0, 0, 0))
        os.chown("a", 5, 6)
        print(os.stat("a").st_uid)
    """
    assert played(*python(textwrap.dedent(code)), cwd=tmp_path) == "0\n5\n"


def test_a_nameless_file_is_kept(tmp_path: Path) -> None:
    """A file that is made without a name, and then gets one, keeps its owner in the next run."""
    code = """
        import ctypes, os
        fd = os.open(".", os.O_TMPFILE | os.O_WRONLY, 0o600)
        os.fchown(fd, 5, 6)
        print(ctypes.CDLL(None).linkat(-100, b"/proc/self/fd/%d" % fd, -100, b"a", 0x400))
    """
    work = tmp_path / "work"
    work.mkdir()
    store = tmp_path / "store"
    assert played(*python(textwrap.dedent(code)), store=store, cwd=work) == "0\n"
    assert played("stat", "-c", "%u %g", "a", store=store, cwd=work) == "5 6\n"


def test_attributes_have_an_end(tmp_path: Path) -> None:
    """A file's attributes are as bounded as on a disk: nobody fills the supervisor with them."""
    (tmp_path / "a").touch()
    code = """
        import errno, os
        os.setxattr("a", "trusted.one", bytes(40000))
        try:
            os.setxattr("a", "trusted.two", bytes(40000))
        except OSError as error:
            print(errno.errorcode[error.errno])
        os.setxattr("a", "trusted.one", bytes(50000))
        print(os.listxattr("a"), len(os.getxattr("a", "trusted.one")))
    """
    said = played(*python(textwrap.dedent(code)), cwd=tmp_path)
    assert said == "ENOSPC\n['trusted.one'] 50000\n"


def test_beside_policies(tmp_path: Path) -> None:
    """A policy's rules come first, and what they do not mention plays root."""
    policy = tmp_path / "policy.toml"
    policy.write_text(
        'version = 1\ndefault = "allow"\n'
        '[[rule]]\ncalls = ["socket"]\ndo = { fail = "EXDEV" }\n'
        '[[rule]]\ncalls = ["chown", "fchownat"]\nwhere = "owner == 9"\ndo = { fail = "ENODEV" }\n'
    )
    code = """
        import errno, os, socket
        for attempt in (socket.socket, lambda: os.chown("a", 9, 9), lambda: os.chown("a", 5, 6)):
            try:
                attempt()
            except OSError as error:
                print(errno.errorcode[error.errno])
        print(os.stat("a").st_uid, os.getuid())
    """
    (tmp_path / "a").touch()
    args = ["run", "--fake-root", "--policy", str(policy)]
    done = cli(*args, "--", *python(textwrap.dedent(code)), cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("EXDEV\nENODEV\n5 0\n", "")
    done = cli(*args[:2], "--dry-run", *args[2:], "--", "true")
    assert done.returncode == 2
    assert "nobody can play root" in done.stderr


def test_as_a_policy(tmp_path: Path) -> None:
    """The example does the same by rules, with a store, beside other rules."""
    example = Path(__file__).parents[2] / "examples/policies/fake-root.toml"
    script = "touch a; chown 5:6 a; mknod n c 1 3; stat -c '%u %g %F' a n; id -u"
    expected = "5 6 regular empty file\n0 0 character special file\n0\n"
    done = cli("run", "--policy", str(example), "--", "sh", "-c", script, cwd=tmp_path)
    assert (done.stdout, done.stderr) == (expected, "")
    done = cli("run", "--policy", str(example), "--", "stat", "-c", "%u", "a", cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("5\n", "")
    assert (tmp_path / "fake-root.store").exists()


def test_in_the_filter_alone(tmp_path: Path) -> None:
    """Level 0: chown and setuid say yes, and nothing is remembered; no call is notified."""
    example = Path(__file__).parents[2] / "examples/policies/fake-root-free.toml"
    (tmp_path / "a").touch()
    code = """
        import os, stat
        os.setgroups([1]); os.setgid(5); os.setuid(5)
        os.chown("a", 7, 8)
        os.mknod("n", stat.S_IFCHR, 5)
        os.mknod("p", stat.S_IFIFO)
        print(os.listdir())
    """
    log = tmp_path / "log"
    args = ["--policy", str(example), "--log", str(log), "--", *python(textwrap.dedent(code))]
    work = tmp_path / "work"
    work.mkdir()
    (work / "a").touch()
    done = cli("run", *args, cwd=work)
    assert (done.stderr, sorted(eval(done.stdout))) == ("", ["a", "p"])
    assert (work / "a").stat().st_uid == os.geteuid()
    assert log.read_text() == ""


@pytest.mark.parametrize("store", [False, True])
def test_renamed_while_it_is_looked_at(tmp_path: Path, store: bool) -> None:
    """Whatever is swapped meanwhile, an answer is of one file: number, owner and mode fit."""
    code = """
        import ctypes, json, os, threading
        libc = ctypes.CDLL(None)
        for name, uid, mode in (("a", 1, 0o611), ("b", 2, 0o622)):
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            os.chown(name, uid, uid), os.chmod(name, mode)
        known = {os.stat(n).st_ino: (os.stat(n).st_uid, os.stat(n).st_mode) for n in "ab"}
        done = threading.Event()
        def swap():
            while not done.is_set():
                libc.renameat2(-100, b"a", -100, b"b", 2)
        thread = threading.Thread(target=swap)
        thread.start()
        seen = set()
        for _ in range(300):
            found = os.stat("a")
            assert known[found.st_ino] == (found.st_uid, found.st_mode), found
            seen.add(found.st_ino)
        for number in range(3, 100):  # a change hits one file, whole
            os.chown("a", number, number)
        done.set(), thread.join()
        print(json.dumps([[os.stat(n).st_uid, os.stat(n).st_gid] for n in "ab"]))
    """
    where = tmp_path / "work"
    where.mkdir()
    path = tmp_path / "store" if store else None
    said = json.loads(played(*python(textwrap.dedent(code)), store=path, cwd=where))
    assert all(uid == gid for uid, gid in said)


def test_many_at_once(tmp_path: Path) -> None:
    """Threads and processes of one run do not lose each other's changes."""
    code = """
        import os, threading
        def work(first):
            for number in range(first, first + 40):
                os.close(os.open(f"f{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                os.chown(f"f{number}", number, number + 1)
                found = os.stat(f"f{number}")
                assert (found.st_uid, found.st_gid) == (number, number + 1)
        children = []
        for child in range(3):
            if (pid := os.fork()) == 0:
                firsts = child * 1000 + 100, child * 1000 + 200
                threads = [threading.Thread(target=work, args=[first]) for first in firsts]
                [t.start() for t in threads], [t.join() for t in threads]
                os._exit(0)
            children.append(pid)
        assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
    """
    store = tmp_path / "store"
    work = tmp_path / "work"
    work.mkdir()
    played(*python(textwrap.dedent(code)), store=store, cwd=work)
    names = sorted(path.name for path in work.iterdir())
    assert len(names) == 240
    said = played("stat", "-c", "%n %u %g", *names, store=store, cwd=work).splitlines()
    assert said == [f"{name} {name[1:]} {int(name[1:]) + 1}" for name in names]
