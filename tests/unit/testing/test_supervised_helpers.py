"""What authors of handlers use: single calls, a supervised target, expectations, fixtures."""

from __future__ import annotations

import doctest
import errno
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import unotify.testing
from unotify.abi import model, tables
from unotify.abi.arch import Arch
from unotify.calls import call_class
from unotify.errors import Conflict, NotExpressible, UnknownName
from unotify.protocol import Continue, Fail, InstallFd, Return
from unotify.testing import Answer, SimulatedKernel, Supervised, assert_reply, make_call

ROOT = Path(__file__).resolve().parents[3]
UNSEEN = ("uprobe", "uretprobe")
NAMES = [
    name
    for name in model.names()
    if tables.number(name, Arch.X86_64) is not None and name not in UNSEEN
]


@pytest.mark.parametrize(
    "module", ["checks", "kernel", "supervised", "target", "timing", "facility.traits"]
)
def test_examples(module: str) -> None:
    """The examples in docstrings give what they say."""
    found = doctest.testmod(importlib.import_module(f"unotify.testing.{module}"))
    assert found.failed == 0


def test_examples_of_the_documentation() -> None:
    """The page on testing has examples, and they give what it says."""
    found = doctest.testfile(str(ROOT / "docs/testing.md"), module_relative=False)
    assert found.attempted > 10
    assert found.failed == 0


def test_public_names() -> None:
    """All names are there, and no other."""
    assert all(getattr(unotify.testing, name) is not None for name in unotify.testing.__all__)
    assert set(unotify.testing.__all__) <= set(dir(unotify.testing))
    with pytest.raises(AttributeError):
        _ = unotify.testing.nothing


def test_every_typed_call_can_be_made() -> None:
    """There is a factory for each call of the model: the typed call, with what was asked for."""
    for name in UNSEEN:
        with pytest.raises(NotExpressible, match="no filter ever sees"):
            make_call(name)
    for name in NAMES:
        call = make_call(name)
        assert isinstance(call, call_class(name)), name
    assert len(NAMES) > 300


def test_arguments() -> None:
    """Registers, paths, addresses, lists, structs and NULL arrive as they were given."""
    call = make_call("openat2", -100, "/etc/x", {"flags": 0o102, "mode": 0o600}, 24)
    assert (str(call.path), call.how.flags, call.how.mode) == ("/etc/x", 0o102, 0o600)
    call = make_call("connect", fd=3, address=("10.1.2.3", 80))
    assert (str(call.address.ip), call.address.port) == ("10.1.2.3", 80)
    call = make_call("connect", fd=3, address=("::1", 80))
    assert str(call.address.ip) == "::1"
    call = make_call("connect", fd=3, address="unix:/run/x")
    assert bytes(call.address.path) == b"/run/x"
    call = make_call("execve", "/bin/sh", ["sh", "-c", "a b"], [])
    assert [bytes(one) for one in call.argv] == [b"sh", b"-c", b"a b"]
    call = make_call("mount", "none", "/x", "tmpfs", 0, None)
    assert (str(call.target), call.fstype, call.data) == ("/x", "tmpfs", None)
    call = make_call("write", 1, b"12 34")
    assert (call.count, call.buf) == (5, b"12 34")
    call = make_call("unlink", Path("/1"))
    assert str(call.path) == "/1"
    assert make_call("close", 3, arch=Arch.I386).arch is Arch.I386


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(("nothing",), {}), (("close", 1, 2), {}), (("close",), {"file": 1}), ((1,), {"fd": 1})],
)
def test_arguments_that_are_none(arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
    """A name that is none says so."""
    target, _ = SimulatedKernel().target(_ALLOW)
    with pytest.raises(UnknownName):
        target.begin(*arguments, **named)


_ALLOW = b"\x06\0\0\0\0\0\xff\x7f"


def test_a_call_runs_through_a_handler() -> None:
    """A handler is called as a function, and what it performs is done."""

    def handler(call: Any) -> Any:
        return call.perform() if call.path.is_relative_to("/tmp") else None

    kernel = SimulatedKernel()
    assert_reply(handler(make_call("mkdir", "/tmp/x", 0o700, kernel=kernel)), Return(0))
    assert_reply(handler(make_call("mkdir", "/etc/x", 0o700, kernel=kernel)), None)
    assert "/tmp/x/" in kernel.files


@pytest.mark.parametrize(
    ("reply", "expected", "message"),
    [
        (Fail(1), Fail(13), "expected EACCES, and it fails with EPERM"),
        (Return(3), Return(4), "expected 4, and it returns 3"),
        (None, Return(4), "expected 4, and there is no reply"),
        (Continue(), None, "expected none, and it is continued"),
        (Return(3), Fail, "expected any Fail, and it returns 3"),
        (InstallFd.of_bytes(b"a"), InstallFd.of_bytes(b"b"), "expected InstallFd"),
    ],
)
def test_expectations(reply: Any, expected: Any, message: str) -> None:
    """What differs is said in words."""
    with pytest.raises(AssertionError, match=message):
        assert_reply(reply, expected)
    assert_reply(reply, reply)
    assert_reply(InstallFd.of_bytes(b"a", sealed=False), InstallFd.of_bytes(b"a"))


def test_supervised(supervised: Callable[..., Supervised]) -> None:
    """Replies are seen as they were sent; what the filter answers has none."""
    one = supervised()
    replies = [Return(3), Fail(13), Continue(), InstallFd.of_bytes(b"data", cloexec=True)]

    @one.on("getppid")
    def answer(call: Any) -> Any:
        return replies[call.exchange.args[0]]

    for number, reply in enumerate(replies):
        answered = one.call(110, number)
        assert_reply(one.reply, reply)
    assert one.target.content(answered.value) == b"data"
    assert one.call("getuid") == Answer(0)
    assert one.reply is None


def test_time(supervised: Callable[..., Supervised]) -> None:
    """A handler's deadline passes when the test says so."""
    one = supervised()

    @one.on("getppid", deadline=5)
    def hold(call: Any) -> Any:
        return one.supervisor.hold(call)

    one.start("getppid")
    one.serve()
    one.advance(4.9)
    assert one.target.waiting
    one.advance(0.2)
    assert one.target.answer() == Answer(-1, errno.EPERM)


def test_a_call_that_nobody_answers(supervised: Callable[..., Supervised]) -> None:
    """It says why there is no answer, and that the target is busy."""
    one = supervised()

    @one.on("getppid")
    def hold(call: Any) -> Any:
        return one.supervisor.hold(call)

    with pytest.raises(TimeoutError, match="a handler holds it"):
        one.call("getppid")
    with pytest.raises(Conflict, match="in a call already"):
        one.call("getuid")
    with pytest.raises(TimeoutError):
        one.target.answer(timeout=0.01)


def test_a_target_that_is_killed(supervised: Callable[..., Supervised]) -> None:
    """The supervisor sees it go; its answer is none."""
    one = supervised()

    @one.on("getppid")
    def kill(call: Any) -> Any:
        call.caller.kill()
        return Return(0)

    with pytest.raises(Conflict, match="has ended"):
        one.call("getppid")
    assert one.supervisor.wait(0)


def test_an_older_kernel(supervised: Callable[..., Supervised]) -> None:
    """Before 5.5 a Continue is a fault: the target gets the fault reply."""
    one = supervised(version="5.0", fault_reply=Fail(errno.EIO))

    @one.on("getppid")
    def let(call: Any) -> Continue:
        return Continue()

    assert one.call("getppid") == Answer(-1, errno.EIO)


def test_somebody_else(simulated_kernel: SimulatedKernel) -> None:
    """A target can be somebody else for a while."""
    target, _ = simulated_kernel.target(_ALLOW)
    with target.identity(uid=1000, privileged=False):
        assert target.call("getuid") == Answer(1000)
    assert target.call("getuid") == Answer(0)
    child = target.fork()
    thread = target.thread()
    assert child.call("getpid") == Answer(child.tid)
    assert thread.call("getpid") == Answer(target.tid)
    target.poke(address := target.text("abc"), b"x")
    assert target.peek(address, 3) == b"xbc"
    assert str(Answer(3)) == "3"
