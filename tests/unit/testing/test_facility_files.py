"""Files of the simulated kernel: whose they are, and who may do what to them.

``tests/kernel/test_simulated_files.py`` compares far more with Linux; this is what must fail here.
"""

from __future__ import annotations

import errno
import stat

import pytest

from tests.scenarios.language import Answer
from tests.scenarios.simulated import SimulatedStage
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.bpf import compile_filter
from unotify.calls.lookups import spot_of
from unotify.errors import NotExpressible
from unotify.testing import FakeTarget, SimulatedKernel, Supervised
from unotify.testing.facility.credentials import set_ids
from unotify.testing.facility.tree import put_file

ALL = compile_filter({Arch.X86_64: {}}, default=Action.ALLOW)
USER = 1000
CREAT, O_WRONLY, RDWR = 0o100, 1, 2


def begin(*, uid: int = USER) -> tuple[SimulatedKernel, FakeTarget]:
    """A target of that user, in a world with a few files of root's and one of its own."""
    kernel = SimulatedKernel()
    for path, mode, owner in (
        ("/own/", 0o755, USER),
        ("/own/file", 0o4711, USER),
        ("/open/", 0o777, 0),
        ("/open/theirs", 0o644, 0),
        ("/open/writable", 0o666, 0),
        ("/open/setuid", 0o4666, 0),
        ("/sticky/", 0o1777, 0),
        ("/sticky/theirs", 0o666, 0),
        ("/group/", 0o2777, 7),
        ("/closed/", 0o700, 0),
        ("/closed/file", 0o666, 0),
    ):
        inode = put_file(kernel.world, path, None if path.endswith("/") else b"x")
        inode.mode = stat.S_IFMT(inode.mode) | mode
        inode.uid = inode.gid = owner
    target, _ = kernel.target(ALL)
    set_ids(kernel.world, target.task, uid, uid)
    return kernel, target


def failures(target: FakeTarget, *calls: tuple[object, ...]) -> list[str]:
    """The errno of each call, or nothing."""
    found = []
    for name, *args in calls:
        answer = target.call(str(name), *args)
        found.append(errno.errorcode[answer.errno] if answer.errno else "")
    return found


def test_modes_count() -> None:
    """C1: what goes on is done with the caller's ids, whose class of the mode counts."""
    _, target = begin()
    assert failures(
        target,
        ("open", "/open/theirs", 0, 0),
        ("open", "/open/theirs", O_WRONLY, 0),
        ("open", "/closed/file", 0, 0),
        ("mkdir", "/closed/x", 0o700),
        ("mkdir", "/etc/x", 0o700),
        ("mkdir", "/open/x", 0o700),
        ("access", "/own/file", 4),
        ("truncate", "/open/theirs", 0),
    ) == ["", "EACCES", "EACCES", "EACCES", "EACCES", "", "", "EACCES"]
    _, root = begin(uid=0)
    assert failures(root, ("open", "/closed/file", RDWR, 0), ("access", "/open/theirs", 1)) == [
        "",
        "EACCES",
    ]


def test_owners_count() -> None:
    """C1: modes and sticky names are the owner's, and others' files are not linked."""
    _, target = begin()
    assert failures(
        target,
        ("chmod", "/open/theirs", 0o666),
        ("chown", "/open/theirs", USER, -1 & 0xFFFFFFFF),
        ("unlink", "/sticky/theirs"),
        ("link", "/open/theirs", "/own/l"),
        ("link", "/open/setuid", "/own/l"),
        ("link", "/open/writable", "/own/l"),
        ("mknod", "/own/null", 0o20666, 0x103),
    ) == ["EPERM", "EPERM", "EPERM", "EPERM", "EPERM", "", "EPERM"]


def test_what_changes_hands() -> None:
    """C1: set-user-ID bits go with the owner, and groups come from set-group-ID directories."""
    kernel, target = begin(uid=0)
    assert failures(
        target,
        ("chown", "/own/file", 5, 6),
        ("mkdir", "/group/d", 0o755),
        ("creat", "/group/f", 0o666),
    ) == ["", "", ""]
    found = {name: kernel.world.inodes[key] for name, key in _entries(kernel, "/group")}
    assert (found["d"].gid, oct(found["d"].mode)) == (7, "0o42755")
    assert (found["f"].gid, oct(found["f"].mode)) == (7, "0o100644")
    file = kernel.world.inodes[dict(_entries(kernel, "/own"))["file"]]
    assert (file.uid, file.gid, oct(file.mode)) == (5, 6, "0o100711")


def _entries(kernel: SimulatedKernel, path: str) -> tuple[tuple[str, int], ...]:
    return put_file(kernel.world, path, None).entries


def test_links_lead() -> None:
    """C1: a link on the way is followed, and one at the end where the call says so."""
    kernel, target = begin()
    assert failures(
        target,
        ("symlink", "/open", "/own/way"),
        ("creat", "/own/way/new", 0o600),
        ("symlink", "way/new", "/own/end"),
        ("truncate", "/own/end", 3),
        ("unlink", "/own/end"),
        ("unlink", "/own/end"),
    ) == ["", "", "", "", "", "ENOENT"]
    assert kernel.files["/open/new"] == bytes(3)


def test_who_shares_a_file() -> None:
    """A1: what is opened is the file itself: it is read and written, also by descriptors given."""
    with Supervised() as supervised:
        supervised.on("openat")(lambda call: call.perform())
        supervised.kernel.files["/tmp/f"] = b"before"
        fd = supervised.call("openat", path="/tmp/f", flags=RDWR).value
        target = supervised.target
        data = target.put(b"AFTER")
        assert supervised.call("write", fd, data, 5).value == 5
        assert supervised.kernel.files["/tmp/f"] == b"AFTERe"
        assert target.content(fd) == b"AFTERe"
        assert supervised.call("write", 77, data, 5).errno == errno.EBADF
        assert supervised.call("write", fd, 16, 5).errno == errno.EFAULT


def test_what_is_said_to_sockets() -> None:
    """What a target sends, connects and binds to is noted, and goes nowhere."""
    with Supervised() as supervised:
        supervised.on("connect", "sendto", "bind")(lambda call: call.perform())
        fd = supervised.call("socket", 2, 2, 0).value
        assert supervised.call("connect", fd, "10.0.0.1:53", 16).value == 0
        text = supervised.target.put(b"hello")
        assert supervised.call("sendto", fd, text, 5, 0, "10.0.0.2:7", 16).value == 5
        assert supervised.call("connect", 99, "10.0.0.1:53", 16).errno == errno.EBADF
        contacts = supervised.kernel.contacts
        assert [(one.act, one.address.port, one.data) for one in contacts] == [
            ("connect", 53, b""),
            ("sendmsg", 7, b"hello"),
        ]


def test_what_the_path_of_a_unix_socket_named_is_what_is_acted_on() -> None:
    """A rule looks at it, the name is put on something else, and the act is done all the same."""
    with Supervised() as supervised:
        kernel = supervised.kernel
        for directory in ("/open/", "/closed/"):
            kernel.files[directory] = b""
        seen: list[str] = []

        @supervised.on("connect", "bind")
        def looked(call):  # type: ignore[no-untyped-def]
            seen.append(call.caller.pin("address", spot_of(call, "address")))
            kernel.links["/open/name"] = "/closed/none"
            return call.perform()

        one, other = (supervised.call("socket", 1, 1, 0).value for _ in range(2))
        assert supervised.call("bind", one, "unix:/open/name").value == 0
        assert supervised.call("connect", other, "unix:/open/name").errno == errno.ENOENT
        kernel.links.clear()
        assert supervised.call("connect", other, "unix:/open/name").value == 0
        assert seen == ["/open/name", "/closed/none", "/open/name"]


def test_other_arguments_are_performed() -> None:
    """Handlers may perform with other arguments; what nobody has told is refused with a hint."""
    with Supervised() as supervised:

        @supervised.on("connect")
        def elsewhere(call):  # type: ignore[no-untyped-def]
            return call.perform(address=("127.0.0.1", 15432))

        @supervised.on("open")
        def other(call):  # type: ignore[no-untyped-def]
            return call.perform(path="/etc/hostname")

        @supervised.on("statfs")
        def unknown(call):  # type: ignore[no-untyped-def]
            with pytest.raises(NotExpressible, match="cannot perform statfs"):
                call.perform()

        fd = supervised.call("socket", 2, 1, 0).value
        assert supervised.call("connect", fd, "10.0.0.1:5432", 16).value == 0
        assert supervised.kernel.contacts[0].address.port == 15432
        opened = supervised.call("open", "/nothing", 0, 0).value
        assert supervised.target.content(opened) == b"simulated\n"
        supervised.call("statfs", "/", 0x10000)


def test_files_as_a_dictionary() -> None:
    """Content by path: what is put there makes its directories, and what is empty is listed."""
    files = SimulatedKernel().files
    files["/a/b/c"] = b"1"
    files["/a/d/"] = b""
    assert {"/a/b/c", "/a/d/"} <= set(files)
    assert "/a/b/" in files
    assert "/a/b" not in files
    assert "/a/b/c/" not in files
    del files["/a/b/c"]
    assert "/a/b/c" not in files
    assert "/a/b/" in set(files)
    with pytest.raises(KeyError):
        del files["/a/b/c"]


def test_a_stage_has_files_too() -> None:
    """The worlds of scenarios have the same tree."""
    stage = SimulatedStage()
    worker = stage.worker()
    fd = worker.open("/etc/hostname")
    worker.call("read", fd, worker.pages(b""), 3)
    assert worker.answer() == Answer(3)
