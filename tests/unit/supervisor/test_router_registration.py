"""What handlers may be, and the filter that follows from them."""

from __future__ import annotations

import types
from typing import Any

import pytest

from tests.unit.supervisor.fake_kernel import FakeKernel
from tests.unit.supervisor.rig import Rig
from unotify.abi import tables
from unotify.abi.arch import X32_BIT, Arch
from unotify.abi.seccomp import Action
from unotify.bpf.simulator import SeccompData, simulate
from unotify.calls import Call, Getpid, Kill, Mmap, Mount, OpenAt
from unotify.errors import Conflict, NotExpressible, UnknownName
from unotify.protocol import Return
from unotify.supervisor import Supervisor, on
from unotify.supervisor.addons import registrations_of

X86_64, I386 = Arch.X86_64, Arch.I386


def verdict(rig: Rig, call: str | int, *args: int, arch: Arch = X86_64) -> Action:
    """What the supervisor's filter says."""
    nr = call if isinstance(call, int) else tables.number(call, arch)
    assert nr is not None
    registers = [arg & 0xFFFFFFFFFFFFFFFF for arg in args] + [0] * (6 - len(args))
    data = SeccompData(nr, arch.audit, registers)
    return Action(simulate(rig.supervisor.program(), data))


def nothing(call: Call) -> None:
    """A handler."""


def test_filter_notifies_what_somebody_wants(embedded: Rig) -> None:
    """All other calls run at full speed, on each architecture."""
    embedded.supervise().on(Mount, "getpid")(nothing)
    for arch in (X86_64, I386):
        assert verdict(embedded, "mount", arch=arch) is Action.USER_NOTIF
        assert verdict(embedded, "getpid", arch=arch) is Action.USER_NOTIF
        assert verdict(embedded, "getppid", arch=arch) is Action.ALLOW
        assert verdict(embedded, 99999, arch=arch) is Action.ALLOW
    assert verdict(embedded, -1) is Action.ALLOW


def test_filter_without_handlers_allows_all(embedded: Rig) -> None:
    """Nobody wants to hear of anything."""
    embedded.supervise()
    assert verdict(embedded, "getpid") is Action.ALLOW


def test_filter_kills_foreign_architectures(embedded: Rig) -> None:
    """B4: their numbers mean something else, x32's included."""
    embedded.supervise().on(Mount)(nothing)
    assert verdict(embedded, 1, arch=Arch.AARCH64) is Action.KILL_PROCESS
    assert verdict(embedded, X32_BIT | 165) is Action.KILL_PROCESS


def test_filter_decides_conditions(embedded: Rig) -> None:
    """A call that no condition wants is not even notified."""
    supervisor = embedded.supervise()
    supervisor.on(Kill, where=Kill.sig == 9)(nothing)
    supervisor.on(Kill, where=Kill.pid < 0)(nothing)
    assert verdict(embedded, "kill", 1, 9) is Action.USER_NOTIF
    assert verdict(embedded, "kill", 0xFFFFFFFF, 1) is Action.USER_NOTIF
    assert verdict(embedded, "kill", 1, 1) is Action.ALLOW
    assert verdict(embedded, "kill", 0xFF00000001, 0xFF00000009, arch=I386) is Action.USER_NOTIF


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_handler_without_condition_wants_all(embedded: Rig, order: tuple[int, int]) -> None:
    """One unconditional registration makes the others' conditions moot, in either order."""
    supervisor = embedded.supervise()
    for where in [(Kill.sig == 9, None)[at] for at in order]:
        supervisor.on(Kill, where=where)(nothing)
    assert verdict(embedded, "kill", 1, 1) is Action.USER_NOTIF


def test_on_returns_the_function(embedded: Rig) -> None:
    """The decorated function stays what it was, so decorators stack."""
    supervisor = embedded.supervise()
    assert supervisor.on(Getpid)(nothing) is nothing
    assert on(Getpid)(nothing) is nothing
    del nothing.__unotify_marks__  # type: ignore[attr-defined]


class Addon:
    """Handlers with a state of their own."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @on(Mount, "getppid")
    def zeta(self, call: Call) -> Return:
        """Named last, defined first."""
        self.seen.append(call.call_name)
        return Return(1)

    @on(Getpid, where=None, deadline=5)
    def alpha(self, call: Call) -> Return:
        """Named first, defined last."""
        return Return(2)

    def helper(self, call: Call) -> None:
        """No handler."""


def test_addons_are_objects(embedded: Rig) -> None:
    """Marked methods become handlers, bound to their object."""
    supervisor, addon = embedded.supervise(), Addon()
    supervisor.add(addon)
    assert embedded.ask("mount") == Return(1)
    assert embedded.ask("getppid") == Return(1)
    assert embedded.ask("getpid") == Return(2)
    assert addon.seen == ["mount", "getppid"]


def test_registrations_are_found_as_defined() -> None:
    """Order is that of the source, and each mark is there once."""
    found = [
        (handler.__name__, mark.calls, mark.deadline) for handler, mark in registrations_of(Addon())
    ]
    assert found == [("zeta", (Mount, "getppid"), None), ("alpha", (Getpid,), 5)]


def test_subclasses_add_and_replace() -> None:
    """A method that is overridden is asked once, by its own mark; the others are inherited."""

    class More(Addon):
        @on(OpenAt)
        def alpha(self, call: Call) -> Return:
            return Return(3)

        @on(Kill)
        def more(self, call: Call) -> None:
            pass

    found = [(handler.__name__, mark.calls) for handler, mark in registrations_of(More())]
    assert found == [("zeta", (Mount, "getppid")), ("alpha", (OpenAt,)), ("more", (Kill,))]


def test_addons_are_modules(embedded: Rig) -> None:
    """A file of marked functions is an addon; the topmost decorator is asked first."""
    module = types.ModuleType("addon")

    @on(Getpid)
    @on(Mount, where=Mount.flags & 1)
    def handler(call: Call) -> Return:
        return Return(4)

    module.handler = handler  # type: ignore[attr-defined]
    found = list(registrations_of(module))
    assert [mark.calls for _, mark in found] == [(Getpid,), (Mount,)]
    embedded.supervise().add(module)
    assert embedded.ask("getpid") == Return(4)


@pytest.mark.parametrize("empty", [object(), types.ModuleType("empty")])
def test_an_addon_without_handlers_is_a_mistake(embedded: Rig, empty: object) -> None:
    """It is told, with what to do."""
    with pytest.raises(Conflict, match="no handlers") as caught:
        embedded.supervise().add(empty)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("calls", "options", "error"),
    [
        ((), {}, Conflict),
        (("no_such_call",), {}, UnknownName),
        ((int,), {}, UnknownName),
        ((Call,), {}, UnknownName),
        ((7,), {}, UnknownName),
        ((Getpid,), {"deadline": 0}, Conflict),
        ((Getpid,), {"deadline": -1}, Conflict),
        ((Getpid,), {"deadline": float("nan")}, Conflict),
        ((Kill,), {"where": True}, NotExpressible),
        ((Kill,), {"where": Kill.sig}, NotExpressible),
        ((Mmap,), {"where": Mmap.prot & 4}, NotExpressible),
    ],
)
def test_on_refuses(embedded: Rig, calls: Any, options: Any, error: type[Exception]) -> None:
    """What cannot be meant is refused when it is registered, and nothing is registered."""
    supervisor = embedded.supervise()
    with pytest.raises(error):
        supervisor.on(*calls, **options)(nothing)
    assert supervisor._router.registrations == []


@pytest.mark.parametrize("handler", [None, 7, "x"])
def test_handlers_are_callable(embedded: Rig, handler: Any) -> None:
    """A handler is a function."""
    with pytest.raises(Conflict, match="function"):
        embedded.supervise().on(Getpid)(handler)


def test_async_handlers_need_a_loop(embedded: Rig) -> None:
    """The plain supervisor says where they belong."""

    async def handler(call: Call) -> None:
        pass

    with pytest.raises(Conflict, match="async def") as caught:
        embedded.supervise().on(Getpid)(handler)
    assert "aio" in str(caught.value.hint)


def test_a_condition_belongs_to_its_call() -> None:
    """The same register means something else in another call: such a mix is refused."""
    supervisor = Supervisor(kernel=FakeKernel())
    for calls in ((Mount,), (Kill, Mount)):
        with pytest.raises(Conflict, match="where= asks about kill"):
            supervisor.on(*calls, where=Kill.sig == 9)(lambda call: None)
    supervisor.on(Kill, where=(Kill.sig == 9) & ~(Kill.pid == 1))(lambda call: None)
    supervisor.close()


@pytest.mark.parametrize("name", ["unhandled", "fault_reply"])
def test_a_standing_reply_has_to_fit_every_abi(name: str) -> None:
    """What a 32-bit target would take for an errno is refused before it can go wrong."""
    with pytest.raises(Conflict, match="32-bit"):
        Supervisor(kernel=FakeKernel(), **{name: Return(0xFFFFFFF0)})
