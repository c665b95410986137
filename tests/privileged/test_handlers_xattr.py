"""`emulate-xattr`: listed trusted.* attributes, for those who may have none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.kernel.acting_support import python
from tests.privileged.handlers_support import attempt, handled, open_to_all

CALLS = (
    "setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr "
    "removexattr lremovexattr fremovexattr"
)
RULE = (
    f'{CALLS}: {{ emulate-xattr = ["trusted.overlay.opaque=y", "trusted.mine.*", "trusted.e="] }}'
)


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Path:
    place = open_to_all(tmp_path)
    (place / "d").mkdir()
    (place / "f").touch()
    (place / "l").symlink_to("f")
    os.mkfifo(place / "p")
    for name in ("d", "f", "p"):
        os.chown(place / name, 100_000, 100_000)
    try:
        os.setxattr(place / "f", "trusted.other", b"x")
    except OSError as error:
        missing(f"no trusted attributes here: {error}")
    return place


_CODE = """
contain()
os.chdir(sys.argv[1])
def got(*args, **more):
    try:
        return os.getxattr(*args, **more).decode()
    except OSError as error:
        return errno.errorcode[error.errno]
"""


def test_in_a_container(place: Path) -> None:
    """Set, read and removed: by path, by link and by descriptor, without a value too."""
    code = (
        _CODE
        + """
fd = os.open("f", os.O_RDONLY)
say([
    tried(os.setxattr, "d", "trusted.overlay.opaque", b"y"), got("d", "trusted.overlay.opaque"),
    tried(os.setxattr, fd, "trusted.mine.a", b"1"), got(fd, "trusted.mine.a"),
    tried(os.setxattr, "f", "trusted.mine.b", b""), got("f", "trusted.mine.b"),
    tried(os.setxattr, "f", "trusted.e", b""),
    tried(os.setxattr, "f", "trusted.mine.a", b"2", os.XATTR_CREATE),
    tried(os.removexattr, fd, "trusted.mine.a"), got("f", "trusted.mine.a"),
    tried(os.setxattr, "l", "trusted.mine.c", b"3"),
    tried(os.removexattr, "l", "trusted.mine.c"),
    tried(os.setxattr, "d", "user.own", b"u"), got("d", "user.own"),
    os.dup2(fd, 0), tried(os.setxattr, 0, "trusted.mine.zero", b"0"), got(0, "trusted.mine.zero"),
])
"""
    )
    with handled(RULE) as (supervisor, notes):
        found = attempt(supervisor, code, place)
    assert found == [
        *(0, "y", 0, "1", 0, "", 0, "EEXIST", 0, "ENODATA", 0, 0),
        *(0, "u", 0, 0, "0"),
    ]
    assert sorted(os.listxattr(place / "d")) == ["trusted.overlay.opaque", "user.own"]
    assert os.getxattr(place / "f", "trusted.mine.b") == b""
    assert notes.faults == []


def test_what_is_refused(place: Path) -> None:
    """Other names and other values are left to the kernel; only files and directories have any."""
    code = (
        _CODE
        + """
say([
    tried(os.setxattr, "d", "trusted.overlay.opaque", b"n"),
    tried(os.setxattr, "d", "trusted.overlay.redirect", b"y"),
    tried(os.setxattr, "d", "trusted.minexx", b"y"),
    got("f", "trusted.other"), tried(os.removexattr, "f", "trusted.other"),
    tried(os.setxattr, "p", "trusted.mine.x", b"y"),
    tried(os.setxattr, "l", "trusted.mine.x", b"y", follow_symlinks=False),
    tried(os.setxattr, "none", "trusted.mine.x", b"y"),
    tried(os.setxattr, "/proc/self/status", "trusted.mine.x", b"y"),
    tried(os.setxattr, 99, "trusted.mine.x", b"y"),
    called(188, b"f", b"trusted.mine.x", 8, 5, 0),
    called(188, b"f", 8, b"y", 1, 0),
    called(188, 8, b"trusted.mine.x", b"y", 1, 0),
    called(188, b"f", b"trusted.mine.x", b"y", 1 << 20, 0),
    called(188, b"f", b"trusted.mine.x", b"y", 1, 77),
    called(188, b"f", b"trusted." + b"x" * 300, b"y", 1, 0),
])
"""
    )
    with handled(RULE) as (supervisor, notes):
        found = attempt(supervisor, code, place)
    assert found == [
        *("EPERM", "EPERM", "EPERM", "ENODATA", "EPERM", "EPERM", "EPERM", "ENOENT"),
        *("ENOTSUP", "EBADF", "EFAULT", "EFAULT", "EFAULT", "E2BIG", "EINVAL", "ERANGE"),
    ]
    assert os.listxattr(place / "d") == []
    assert os.listxattr(place / "f") == ["trusted.other"]
    assert notes.faults == []


def test_a_closed_directory_stays_closed(place: Path) -> None:
    """The path is walked with the caller's rights: what is lent is lent for the attribute alone."""
    (place / "d/f").touch()
    os.chown(place / "d", 0, 0)
    (place / "d").chmod(0o700)
    code = _CODE + 'say(tried(os.setxattr, "d/f", "trusted.mine.x", b"y"))'
    with handled(RULE) as (supervisor, _):
        assert attempt(supervisor, code, place) == "EACCES"
    assert os.listxattr(place / "d/f") == []


def test_a_file_of_other_mounts_is_not_the_caller_s(place: Path) -> None:
    """A descriptor from outside of the container leads to nothing that is set there."""
    code = "fd = os.open(sys.argv[1] + '/f', os.O_RDONLY)" + _CODE
    code += 'say(tried(os.setxattr, fd, "trusted.mine.x", b"y"))'
    with handled(RULE) as (supervisor, _):
        assert attempt(supervisor, code, place) == "EPERM"
    assert os.listxattr(place / "f") == ["trusted.other"]


def test_who_has_no_capability_in_the_container(place: Path) -> None:
    """Neither an ordinary user in there nor one with a namespace of its own gets any."""
    for step in ("os.setresuid(5, 5, 5)", "assert libc.unshare(0x10000000) == 0"):
        code = _CODE + step + '\nsay(tried(os.setxattr, "f", "trusted.mine.x", b"y"))'
        with handled(RULE) as (supervisor, _):
            assert attempt(supervisor, code, place) == "EPERM"
    assert os.listxattr(place / "f") == ["trusted.other"]


def test_a_name_that_is_rewritten_changes_nothing(place: Path) -> None:
    """The name that was decided about is the one that is set, whatever the memory says by then."""
    code = (
        _CODE
        + """
name = ctypes.create_string_buffer(b"trusted.mine.race", 32)
stop = []
def rewrite():
    while not stop:
        name.value = b"trusted.zzzz.race"
        name.value = b"trusted.mine.race"
thread = threading.Thread(target=rewrite)
thread.start()
found = {called(188, b"f", name, b"y", 1, 0) for _ in range(60)}
stop.append(1)
thread.join()
say(sorted(map(str, found)))
"""
    )
    with handled(RULE) as (supervisor, _):
        found = attempt(supervisor, code, place)
    assert set(found) <= {"0", "EPERM"}
    assert set(os.listxattr(place / "f")) <= {"trusted.other", "trusted.mine.race"}


def test_without_a_container_the_caller_s_own_right_counts(place: Path) -> None:
    """Root of the host has what it has; nobody loses anything by the rule."""
    code = "import os, sys; os.setxattr(sys.argv[1], 'trusted.mine.x', b'y')"
    with handled(RULE) as (supervisor, notes):
        python(supervisor, code.replace("sys.argv[1]", repr(str(place / "f"))))
    assert os.getxattr(place / "f", "trusted.mine.x") == b"y"
    assert notes.faults == []


def test_only_the_length(place: Path) -> None:
    """Without room for a value its length is told; and a value of no bytes needs none."""
    code = (
        _CODE
        + """
os.setxattr("f", "trusted.mine.a", b"12345")
os.setxattr("f", "trusted.e", b"")
def length(name, size=0):
    room = ctypes.create_string_buffer(8) if size else None
    done = libc.getxattr(b"f", name, room, size)
    return done if done >= 0 else errno.errorcode[ctypes.get_errno()]
say([length(b"trusted.mine.a"), length(b"trusted.mine.a", 4), length(b"trusted.mine.a", 5),
     length(b"trusted.e"), length(b"trusted.e", 8), length(b"trusted.mine.none")])
"""
    )
    with handled(RULE) as (supervisor, notes):
        found = attempt(supervisor, code, place)
        assert notes.faults == []
    assert found == [5, "ERANGE", 5, 0, 0, "ENODATA"]


def test_files_of_others_are_not_the_container_s(place: Path) -> None:
    """Nothing is set on what belongs to somebody outside, though it is on a mount of its own."""
    for name, uid, gid in (("host", 0, 0), ("user", 0, 100_000), ("group", 100_000, 0)):
        (place / name).mkdir()
        os.chown(place / name, uid, gid)
        (place / name).chmod(0o777)
        os.setxattr(place / name, "trusted.mine.there", b"y")
    code = (
        _CODE
        + """
found = []
for name in ("host", "user", "group", "d"):
    fd = os.open(name, os.O_RDONLY)
    found.append([tried(os.setxattr, what, "trusted.mine.a", b"1") for what in (name, fd)])
    found[-1].append(tried(os.removexattr, name, "trusted.mine.there"))
    found[-1].append(got(name, "trusted.mine.there"))
say(found)
"""
    )
    with handled(RULE) as (supervisor, notes):
        found = attempt(supervisor, code, place)
        assert notes.faults == []
    assert found == [*[["EPERM", "EPERM", "EPERM", "ENODATA"]] * 3, [0, 0, "ENODATA", "ENODATA"]]
    assert os.listxattr(place / "host") == ["trusted.mine.there"]
