"""Names that the native part makes in one go: as step by step, and only where that is plain."""

from __future__ import annotations

import os
import shutil
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing
from tests.kernel.targets import until
from tests.privileged.handlers_support import attempt, handled, numbers_of, open_to_all
from unotify.abi.types import NotificationId, Tid
from unotify.calls.acts import Act
from unotify.calls.lookups import Spot
from unotify.kernel.home import Home
from unotify.kernel.listener import LinuxListener
from unotify.kernel.making import Made, Maker
from unotify.kernel.rights import mine

ANYBODY = 0xFFFFFFFF

RULE = 'mknod mknodat: { emulate-mknod = ["c:1:3"] }'

_CODE = """
null, mem, char = os.makedev(1, 3), os.makedev(1, 1), stat.S_IFCHR | 0o666
os.umask(int(sys.argv[2]))
os.chdir(sys.argv[1])
here = os.path.basename(sys.argv[1])
os.mkdir("dir")
os.symlink("dir", "link")
start = os.open("dir", os.O_RDONLY)
found = {}
def make(name, device=null, **more):
    found[name] = tried(os.mknod, name, char, device, **more)
make("plain")
make("./plain")
make("dir/deep")
make("below", dir_fd=start)
make(os.path.abspath("whole"))
make(f"/../{os.path.abspath('rooted')}")
make("mem", mem)
make("link/through")
make(f"../{here}/up")
make("none/x")
make("plain/x")
make("slash/")
make("x" * 256)
make("")
make("/")
make("dir/..")
make("nowhere", dir_fd=99)
os.umask(0o077)
make("masked")
os.umask(int(sys.argv[2]))
libc.prctl(8, 1)  # PR_SET_KEEPCAPS
os.setgroups([7, 8])
os.setresgid(65533, 65533, 65533)
os.setresuid(65534, 65534, 65534)
drop(*(c for c in range(41) if c != 27))
make("theirs")
make("dir/closed")
drop(*range(41))
make("incapable")
say(found)
"""


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Path:
    return _made(tmp_path / "place")


def _made(place: Path) -> Path:
    place.mkdir()
    return open_to_all(place)


@pytest.fixture(name="tries")
def _tries(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, Made | None]]:
    """What it was asked to make, and what came of it."""
    found: list[tuple[bytes, Made | None]] = []
    make = Maker.make

    def spied(self: Maker, *args: Any, **more: Any) -> Made | None:
        made = make(self, *args, **more)
        found.append((args[3].spots["path"].path, made))
        return made

    monkeypatch.setattr(Maker, "make", spied)
    return found


def _umask() -> int:
    before = os.umask(0)
    os.umask(before)
    return before


@pytest.mark.usefixtures("native_backend")
def test_as_step_by_step(
    place: Path, tries: list[tuple[bytes, Made | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same answers, and the same files: with owners, modes and errnos."""

    def run() -> tuple[Any, dict[str, tuple[int, ...]]]:
        with handled(RULE) as (supervisor, notes):
            found = attempt(supervisor, _CODE, place, _umask())
        assert notes.faults == []
        tree = numbers_of(place)
        shutil.rmtree(place)
        _made(place)
        return found, tree

    ours = mine()
    at_once = run()
    assert mine() == ours
    made = {os.fsdecode(path): made for path, made in tries}
    monkeypatch.setattr(Maker, "make", lambda *args, **more: None)
    assert at_once == run()

    answers, tree = at_once
    assert answers["plain"] == answers["theirs"] == answers["below"] == 0
    assert answers["./plain"] == "EEXIST"
    assert answers["dir/closed"] == "EACCES"
    assert answers["incapable"] == answers["mem"] == "EPERM"
    assert tree["theirs"][2:] == (65534, 65533)
    assert tree["masked"][0] & 0o777 == 0o600
    plain = {path for path, each in made.items() if each is not None}
    whole = {str(place / "whole"), f"/../{place / 'rooted'}"}
    exact = {"plain", "./plain", "dir/deep", "below", "x" * 256, "theirs", "dir/closed"}
    assert plain == exact | whole
    assert {"link/through", f"../{place.name}/up", "none/x", "masked", "slash/"} <= made.keys()


@pytest.mark.usefixtures("native_backend")
def test_who_has_gone(place: Path) -> None:
    """Nothing is made for a notification that nobody waits for (P8)."""
    act = Act("mkdirat", "mkdirat", {"mode": 0o755}, {"path": Spot(os.fsencode(place / "made"))})
    with handled(RULE) as (supervisor, _):
        seen: list[Any] = []
        done = threading.Event()

        @supervisor.on("getppid")
        def look(call: Any) -> None:
            listener = call.caller.listener
            fd, id = listener.fileno(), NotificationId(call.exchange.id)
            home = Home.of(Tid(call.caller.tid))
            seen.append(Maker().make(fd, NotificationId(id + 1), home, act))
            seen.append(os.listdir(place))
            seen.append(Maker().make(fd, id, home, act))
            home.close()
            done.set()

        attempt(supervisor, "os.getppid()\nsay(0)\n")
        until(done.is_set)
    gone, empty, made = seen
    assert (gone, empty) == (None, [])
    os.close(made.directory)
    status = (place / "made").stat()
    assert made[0] == 0
    assert made.node.identity == (status.st_dev, status.st_ino)
    assert (made.name, made.node.uid) == (b"made", 0)
    assert made.rights.uid == 0


def _within(work: Callable[[Callable[[str, int], Made | None]], object]) -> None:
    """Let *work* make directories for a target, all in the thread that serves it."""
    failed: list[BaseException] = []
    with handled(RULE) as (supervisor, _):

        @supervisor.on("getppid")
        def look(call: Any) -> None:
            home = Home.of(Tid(call.caller.tid))

            def make(path: str, mode: int) -> Made | None:
                act = Act("mkdirat", "mkdirat", {"mode": mode}, {"path": Spot(os.fsencode(path))})
                id = NotificationId(call.exchange.id)
                made = Maker().make(call.caller.listener.fileno(), id, home, act)
                if made is not None:
                    os.close(made.directory)
                return made

            try:
                work(make)
            except BaseException as error:
                failed.append(error)
            home.close()

        attempt(supervisor, "os.getppid()\nsay(0)\n")
    if failed:
        raise failed[0]


@pytest.fixture(name="umask")
def _some_umask() -> Iterator[None]:
    """A umask of the supervisor, and so of targets, that leaves modes something to lose."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("native_backend", "umask")
def test_our_umask_changes_meanwhile(place: Path) -> None:
    """What was made with a umask that is not the target's is removed again."""

    def work(make: Callable[[str, int], Made | None]) -> None:
        assert make(str(place / "first"), 0o777) is not None
        os.utime(place, (0, 0))
        os.umask(0o077)
        assert make(str(place / "second"), 0o777) is None
        assert os.listdir(place) == ["first"]
        assert place.stat().st_mtime > 0  # it was there
        os.utime(place, (0, 0))
        assert make(str(place / "third"), 0o777) is None
        assert place.stat().st_mtime == 0  # now it is known before
        os.umask(0o022)
        assert make(str(place / "fourth"), 0o777) is not None

    _within(work)
    assert {name: each[0] & 0o7777 for name, each in numbers_of(place).items()} == {
        "first": 0o755,
        "fourth": 0o755,
    }


@pytest.mark.usefixtures("native_backend", "umask")
def test_another_umask_of_ours_that_matters_not(place: Path) -> None:
    """Where both umasks come to the same, the name is as it has to be, and stays."""

    def work(make: Callable[[str, int], Made | None]) -> None:
        assert make(str(place / "first"), 0o777) is not None
        os.umask(0o077)
        assert make(str(place / "second"), 0o700) is not None

    _within(work)
    assert numbers_of(place)["second"][0] & 0o7777 == 0o700


@pytest.mark.usefixtures("native_backend", "umask")
def test_a_default_acl(place: Path) -> None:
    """In a directory with one no umask counts, and what is made stays (acl(5))."""
    entries = ((1, 7), (4, 7), (0x20, 5))
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *each, ANYBODY) for each in entries)
    try:
        os.setxattr(place, "system.posix_acl_default", acl)
    except OSError:
        missing(f"the file system of {place} has no ACLs")

    def work(make: Callable[[str, int], Made | None]) -> None:
        assert make(str(place / "first"), 0o777) is not None
        assert make(str(place / "second"), 0o777) is not None

    _within(work)
    os.mkdir(place / "direct", 0o777)
    assert {each[0] & 0o7777 for each in numbers_of(place).values()} == {0o775}


@pytest.mark.usefixtures("native_backend", "umask")
def test_a_directory_with_setgid(place: Path) -> None:
    """What a new directory inherits is no matter of umasks."""
    os.chown(place, 0, 65533)
    place.chmod(0o2777)

    def work(make: Callable[[str, int], Made | None]) -> None:
        assert make(str(place / "first"), 0o777) is not None

    _within(work)
    mode, _, _, group = numbers_of(place)["first"]
    assert (mode & 0o7777, group) == (0o2755, 65533)


@pytest.mark.parametrize(
    "conditions", [{"needed": 1 << 62}, {"refused": 0x20}], ids=["capability", "mount"]
)
@pytest.mark.usefixtures("native_backend")
def test_a_condition_that_does_not_hold(place: Path, conditions: dict[str, int]) -> None:
    """Then it is not done, and others find out why."""
    act = Act("mkdirat", "mkdirat", {"mode": 0o755}, {"path": Spot(os.fsencode(place / "made"))})
    # A capability that there is none of yet; and ST_VALID, which each mount has.
    seen: list[Any] = []
    with handled(RULE) as (supervisor, _):

        @supervisor.on("getppid")
        def look(call: Any) -> None:
            seen.append(call.caller.make(act, **conditions))

        attempt(supervisor, "os.getppid()\nsay(0)\n")
    assert seen == [None]
    assert os.listdir(place) == []


def test_another_user_namespace(place: Path, tries: list[tuple[bytes, Made | None]]) -> None:
    """Its ids and capabilities mean something else: that takes a process in there."""
    code = 'contain()\nos.chdir(sys.argv[1])\nsay(tried(os.mknod, "null", stat.S_IFCHR, 259))\n'
    with handled(RULE) as (supervisor, _):
        assert attempt(supervisor, code, place) == 0
    assert all(made is None for _, made in tries)
    assert os.listdir(place) == ["null"]


@pytest.mark.usefixtures("native_backend")
def test_undone(place: Path) -> None:
    """What was made for somebody who does not hear of it is removed again."""
    with handled(RULE) as (supervisor, notes):
        send = LinuxListener.send

        def unheard(listener: LinuxListener, response: bytes | bytearray) -> bool:
            send(listener, response)
            return False

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LinuxListener, "send", unheard)
            code = 'os.chdir(sys.argv[1])\ntried(os.mknod, "null", stat.S_IFCHR, 259)\nsay(0)\n'
            assert attempt(supervisor, code, place) == 0
            until(lambda: os.listdir(place) == [])
        assert notes.faults == []


@pytest.mark.parametrize("where", ["", ' if resolved != "/none"'], ids=["spelled", "resolved"])
@pytest.mark.usefixtures("native_backend")
def test_a_directory_that_is_performed(
    place: Path, tries: list[tuple[bytes, Made | None]], where: str
) -> None:
    """It is made in one go, but where a rule has found out already what the path names."""
    code = (
        f"os.umask({_umask()})\nos.chdir(sys.argv[1])\n"
        'say([tried(os.mkdir, name, 0o777) for name in ("one", "one", "none/x", "one/two")])\n'
    )
    rules = [f'mkdir mkdirat: "perform"{where}', 'mkdir mkdirat: "deny"']
    with handled(*rules) as (supervisor, notes):
        assert attempt(supervisor, code, place) == [0, "EEXIST", "ENOENT", 0]
        assert notes.faults == []
    assert numbers_of(place)["one"][0] & 0o777 == 0o777 & ~_umask()
    assert sorted(numbers_of(place)) == ["one", "one/two"]
    made = [made is not None for _, made in tries]
    assert made == ([] if where else [True, True, False, True])
