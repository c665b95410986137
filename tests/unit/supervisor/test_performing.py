"""Perform, redirect and inject over a kernel that only pretends."""

from __future__ import annotations

import errno
import os
import struct
from typing import Any

import pytest

from tests.unit.supervisor.policies_by_hand import act, policy, rule
from tests.unit.supervisor.rig import Rig
from unotify.abi.arch import Arch
from unotify.abi.types import Address
from unotify.calls import Call, Connect, Getpid, MkdirAt, NewfstatAt, OpenAt, Sendmmsg, Stat
from unotify.calls.acts import Act
from unotify.calls.lookups import spot_of
from unotify.errors import Conflict, UnknownName
from unotify.kernel.acts import Outcome
from unotify.protocol import Fail, Reply, Return

PATH, ROOM, ADDRESS = 0x1000, 0x2000, 0x3000
CWD = -100
INET = struct.pack("<H", 2) + struct.pack(">H4s8x", 80, bytes([192, 0, 2, 1]))


@pytest.fixture(name="target")
def _target(embedded: Rig) -> Rig:
    """A target with a path and an address in its memory."""
    embedded.kernel.memory.pieces |= {PATH: b"/a/b\0", ADDRESS: INET, ROOM: bytes(256)}
    return embedded


def performing(
    rig: Rig, *calls: Any, outcome: Outcome | None = None, killable: bool = True, **options: Any
) -> None:
    """Let all *calls* be performed, with an outcome of the fake kernel."""
    supervisor = rig.supervise()
    rig.attach(wait_killable=killable)
    rig.kernel.outcome = outcome or Outcome(0)
    supervisor.on(*calls)(lambda call: call.perform(**options))


def done(rig: Rig) -> Act:
    """What the kernel was asked for."""
    ((found, _),) = rig.kernel.acts
    return found


def is_open(fd: int) -> bool:
    """Whether *fd* is open here."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("value", "reply"),
    [(0, Return(0)), (7, Return(7)), (-errno.EEXIST, Fail(errno.EEXIST)), (-5000, Fail(errno.EIO))],
)
def test_results_are_replies(target: Rig, value: int, reply: Reply) -> None:
    """A value or an errno; what is neither is EIO."""
    performing(target, MkdirAt, outcome=Outcome(value))
    assert target.ask("mkdirat", CWD, PATH, 0o755) == reply
    assert (done(target).name, done(target).as_supervisor) == ("mkdirat", False)


@pytest.mark.parametrize("cloexec", [True, False])
def test_an_open_gives_its_descriptor(target: Rig, cloexec: bool) -> None:
    """With the O_CLOEXEC that was asked for; ours is closed when it is there."""
    fd = os.eventfd(0)
    performing(target, OpenAt, outcome=Outcome(fd, fd))
    pending = target.notify("openat", CWD, PATH, os.O_CLOEXEC * cloexec)
    assert pending.answer() == Return(100)
    assert pending.installed == [(fd, None, cloexec)]
    assert not is_open(fd)


@pytest.mark.parametrize(
    ("size", "reply"), [((1 << 31) - 1, Return(100)), (1 << 31, Fail(errno.EOVERFLOW))]
)
def test_a_large_file(target: Rig, size: int, reply: Reply, tmp_path: Any) -> None:
    """A 32-bit program that did not ask for O_LARGEFILE does not get one."""
    fd = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    os.truncate(fd, size)
    performing(target, OpenAt, outcome=Outcome(fd, fd))
    assert target.ask("openat", CWD, PATH, 0, arch=Arch.I386) == reply
    assert not is_open(fd)


def test_answers_in_memory(target: Rig) -> None:
    """M8: they are written where the target can only be killed while it waits."""
    performing(target, NewfstatAt, outcome=Outcome(0, outs={"statbuf": b"s" * 144}))
    assert target.ask("newfstatat", CWD, PATH, ROOM, 0) == Return(0)
    assert target.kernel.memory.read(Address(ROOM), 144) == b"s" * 144


@pytest.mark.parametrize(
    ("call", "name", "args"),
    [(NewfstatAt, "newfstatat", (CWD, PATH, ROOM, 0)), (Sendmmsg, "sendmmsg", (5, ROOM, 1, 0))],
)
def test_answers_in_memory_that_anybody_may_use(
    target: Rig, call: Any, name: str, args: tuple[int, ...]
) -> None:
    """M8: elsewhere such a call is refused before anything is done."""
    performing(target, call, killable=False)
    assert target.ask(name, *args) == Fail(errno.EPERM)
    assert target.kernel.acts == []
    assert target.supervisor.statistics().faults == 1


def test_an_answer_that_does_not_fit(target: Rig) -> None:
    """An old struct of a 32-bit target says EOVERFLOW, and nothing is written."""
    performing(target, Stat, outcome=Outcome(0, outs={"statbuf": b"\xff" * 144}))
    assert target.ask("stat", PATH, ROOM, arch=Arch.I386) == Fail(errno.EOVERFLOW)
    assert target.kernel.memory.read(Address(ROOM), 144) == bytes(144)


def test_pins_are_used(target: Rig) -> None:
    """What was asked about is what is acted on, unless another path takes its place."""
    supervisor = target.supervise()
    target.attach()
    options: dict[str, Any] = {}

    @supervisor.on(OpenAt)
    def opened(call: OpenAt) -> Reply:
        call.caller.pin("path", spot_of(call, "path"))
        reply: Reply = call.perform(**options)
        return reply

    target.kernel.outcome = Outcome(-errno.ENOENT)
    target.ask("openat", CWD, PATH, 0)
    options["path"] = "/other"
    target.ask("openat", CWD, PATH, 0)
    (first, pins), (second, none) = target.kernel.acts
    assert (first.spots["path"].path, list(pins)) == (b"/a/b", ["path"])
    assert (second.spots["path"].path, list(none)) == (b"/other", [])
    assert pins["path"].closed


def test_the_pinned_path_of_a_unix_socket_is_acted_through_unless_it_is_replaced(
    target: Rig,
) -> None:
    """What was found for an address is used for that one only."""
    target.kernel.memory.pieces[PATH] = b"\1\0s\0"
    supervisor = target.supervise()
    target.attach(wait_killable=True)
    options: dict[str, Any] = {}

    @supervisor.on(Connect)
    def connected(call: Connect) -> Reply:
        call.caller.pin("address", spot_of(call, "address"))
        reply: Reply = call.perform(**options)
        return reply

    target.kernel.outcome = Outcome(-errno.ECONNREFUSED)
    target.ask("connect", 3, PATH, 4)
    options["address"] = "/other"
    target.ask("connect", 3, PATH, 4)
    assert [list(pins) for _, pins in target.kernel.acts] == [["address"], []]


def test_as_supervisor(target: Rig) -> None:
    """The act says whose rights it wants."""
    performing(target, MkdirAt, as_supervisor=True)
    target.ask("mkdirat", CWD, PATH, 0o755)
    assert done(target).as_supervisor


@pytest.mark.parametrize("wrong", [{"path": ""}, {"address": "/x"}, {"flags": 5}])
def test_wrong_arguments_are_the_handler_s_fault(target: Rig, wrong: dict[str, Any]) -> None:
    """The target gets the default refusal."""
    errors: list[Exception] = []
    supervisor = target.supervise()

    @supervisor.on(MkdirAt)
    def made(call: MkdirAt) -> Reply:
        with pytest.raises((Conflict, UnknownName)) as caught:
            call.perform(**wrong)
        errors.append(caught.value)
        raise caught.value

    assert target.ask("mkdirat", CWD, PATH, 0) == Fail(errno.EPERM)
    assert len(errors) == 1
    assert target.kernel.acts == []


@pytest.mark.parametrize(
    ("value", "reply"), [(0, Return(0)), (-errno.EINPROGRESS, Fail(errno.EINPROGRESS))]
)
@pytest.mark.parametrize("cloexec", [True, False])
def test_a_new_socket_takes_the_place_of_the_old(
    target: Rig, value: int, reply: Reply, cloexec: bool
) -> None:
    """Connected to another family, or soon: at the same number, closed by exec as the old one."""
    fd = os.eventfd(0)
    target.kernel.fds = {5: "socket:[1]"}
    target.kernel.flags[5] = os.O_CLOEXEC if cloexec else 0
    performing(target, Connect, outcome=Outcome(value, fd), address="/run/x")
    pending = target.notify("connect", 5, ADDRESS, 16)
    assert pending.answer() == reply
    assert pending.installed == [(fd, 5, cloexec)]
    assert not is_open(fd)
    assert done(target).values["fresh"] == 1


def redirected(rig: Rig, call: str, *args: int, **parameters: Any) -> Reply:
    """What a policy's redirect makes of a call."""
    rig.supervise(policy=policy(rule(call, act("redirect", **parameters))))
    rig.attach(wait_killable=True)
    rig.kernel.outcome = Outcome(-errno.ENOENT)
    return rig.ask(call, *args)


@pytest.mark.parametrize(
    ("given", "start", "expected"),
    [
        (b"/a/b\0", None, b"/x"),
        (b"/a/b\0", "/a", b"/x/b"),
        (b"/a//./b/\0", "/a/", b"/x//./b/"),
        (b"//a\0", "/a", b"/x"),
        (b"/a/.\0", "/a/.", b"/x/."),
        (b"/b\0", "/", b"/x/b"),
    ],
)
def test_redirected_paths(target: Rig, given: bytes, start: str | None, expected: bytes) -> None:
    """One path, or what is below a directory, as it was spelled."""
    target.kernel.memory.pieces[PATH] = given
    parameters = {"path": "/x"} | ({"from": start} if start else {})
    assert redirected(target, "openat", CWD, PATH, 0, **parameters) == Fail(errno.ENOENT)
    assert done(target).spots["path"].path == expected


@pytest.mark.parametrize("given", [b"/c/d\0", b"/ab\0", b"a/b\0", b"/a/../b\0"])
def test_paths_that_are_not_below(target: Rig, given: bytes) -> None:
    """They are refused, dots that may lead out too."""
    target.kernel.memory.pieces[PATH] = given
    found = redirected(target, "openat", CWD, PATH, 0, path="/x", **{"from": "/a"})
    assert found == Fail(errno.EACCES)
    assert target.kernel.acts == []


def test_all_paths_below_are_redirected(target: Rig) -> None:
    """Of two each that is below; the other stays."""
    target.kernel.memory.pieces[ROOM] = b"/c/d\0"
    redirected(target, "rename", PATH, ROOM, path="/x", **{"from": "/a"})
    assert [spot.path for spot in done(target).spots.values()] == [b"/x/b", b"/c/d"]


@pytest.mark.parametrize(
    ("parameters", "ip", "port"),
    [
        ({"address": "127.0.0.1:90"}, (127, 0, 0, 1), 90),
        ({"address": "127.0.0.1"}, (127, 0, 0, 1), 80),
        ({"address": ":90"}, (192, 0, 2, 1), 90),
        ({"address": ":8000-8099", "ports": "1-100"}, (192, 0, 2, 1), 8079),
        ({"address": ":9000", "ports": "1-100"}, (192, 0, 2, 1), 9000),
    ],
)
def test_redirected_addresses(
    target: Rig, parameters: dict[str, str], ip: tuple[int, ...], port: int
) -> None:
    """All of it, or the part that is named."""
    redirected(target, "connect", 5, ADDRESS, 16, **parameters)
    expected = struct.pack("<H", 2) + struct.pack(">H4s8x", port, bytes(ip))
    assert done(target).values["address"] == expected


def test_an_ipv6_address_keeps_what_is_not_named(target: Rig) -> None:
    """Its scope stays with a port; an IPv4 address is mapped."""
    inet6 = struct.pack("<H", 10) + struct.pack(">HI16s", 80, 7, bytes(15) + b"\1") + b"\3\0\0\0"
    target.kernel.memory.pieces[ADDRESS] = inet6
    redirected(target, "connect", 5, ADDRESS, 28, address=":90")
    assert done(target).values["address"] == inet6[:2] + b"\0\x5a" + inet6[4:]


@pytest.mark.parametrize(
    ("raw", "parameters", "number"),
    [
        (INET, {"address": ":8000-8009", "ports": "1-10"}, errno.EACCES),
        (b"\1\0/run/x\0".ljust(16, b"\0"), {"address": "127.0.0.1:80"}, errno.EAFNOSUPPORT),
    ],
)
def test_addresses_that_are_not_mapped(
    target: Rig, raw: bytes, parameters: dict[str, str], number: int
) -> None:
    """They are refused rather than let through."""
    target.kernel.memory.pieces[ADDRESS] = raw
    assert redirected(target, "connect", 5, ADDRESS, 16, **parameters) == Fail(number)
    assert target.kernel.acts == []


def injected(rig: Rig, call: str, *args: int, **parameters: Any) -> Any:
    """What a policy's inject gives for a call."""
    rig.supervise(policy=policy(rule(call, act("inject", **parameters))))
    rig.attach()
    return rig.notify(call, *args)


@pytest.mark.parametrize(
    ("call", "args", "cloexec"),
    [
        ("openat", (CWD, PATH, os.O_CLOEXEC), True),
        ("openat", (CWD, PATH, 0), False),
        ("open", (PATH, os.O_CLOEXEC), True),
        ("creat", (PATH, 0), False),
        ("socket", (2, 1 | os.O_CLOEXEC, 0), True),
        ("socket", (2, 1, 0), False),
    ],
)
def test_injected_text(target: Rig, call: str, args: tuple[int, ...], cloexec: bool) -> None:
    """A file in memory, sealed unless that is declined, closed by exec if the call asks for it."""
    pending = injected(target, call, *args, text="grüße")
    assert pending.answer() == Return(100)
    assert pending.installed[0][1:] == (None, cloexec)
    assert target.kernel.contents == [("grüße".encode(), True)]


def test_injected_text_of_one_s_own(target: Rig) -> None:
    """Not sealed."""
    injected(target, "openat", CWD, PATH, 0, text="x", sealed=False)
    assert target.kernel.contents == [(b"x", False)]


def test_openat2_asks_for_close_on_exec_in_memory(target: Rig) -> None:
    """Its flags are in its struct."""
    target.kernel.memory.pieces[ROOM] = struct.pack("<3Q", os.O_CLOEXEC, 0, 0)
    pending = injected(target, "openat2", CWD, PATH, ROOM, 24, text="x")
    assert pending.installed[0][1:] == (None, True)


def test_an_injected_file(target: Rig) -> None:
    """It is opened by the supervisor, and closed when the target has it."""
    pending = injected(target, "openat", CWD, PATH, 0, path="/dev/null")
    assert pending.answer() == Return(100)
    assert not is_open(pending.installed[0][0])


def test_an_injected_file_that_is_not_there(target: Rig) -> None:
    """It is a fault of the policy's author."""
    assert injected(target, "openat", CWD, PATH, 0, path="/no/such").answer() == Fail(errno.EPERM)
    assert target.supervisor.statistics().faults == 1


def test_no_descriptor_stays_when_nobody_takes_it(target: Rig) -> None:
    """I10: a target that has gone meanwhile leaves ours closed."""
    fd = os.eventfd(0)
    performing(target, OpenAt, outcome=Outcome(fd, fd))
    target.listener.on_add_fd = target.listener.sent.clear
    target.notify("openat", CWD, PATH, 0)
    assert not is_open(fd)
    assert target.supervisor.statistics().gone == 1


def test_a_call_that_cannot_be_performed(target: Rig) -> None:
    """A handler that tries is at fault, and the call does not go on."""
    supervisor = target.supervise()

    def handler(call: Call) -> Reply:
        reply: Reply = call.perform()
        return reply

    supervisor.on(Getpid)(handler)
    assert target.ask("getpid") == Fail(errno.EPERM)
