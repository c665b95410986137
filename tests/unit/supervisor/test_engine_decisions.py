"""Which handler is asked, and what becomes of what it says."""

# ruff: noqa: D102 - instruments

from __future__ import annotations

import errno
import logging
from typing import Any

import pytest

from tests.unit.supervisor.rig import Rig
from unotify.abi.arch import Arch
from unotify.calls import Call, Getpid, Kill, Mount, OpenAt, Pwrite64, UnknownCall
from unotify.errors import (
    BadAddress,
    HandlerFault,
    KernelError,
    Refused,
    TargetError,
    TargetGone,
    Unsupported,
)
from unotify.protocol import Continue, Exchange, Fail, Return
from unotify.supervisor import Instrument

PATH = 0x1000


class Faults(Instrument):
    """Keeps the faults."""

    def __init__(self) -> None:
        self.seen: list[HandlerFault] = []

    def fault(self, fault: HandlerFault) -> None:
        self.seen.append(fault)


def test_first_reply_wins(rig: Rig) -> None:
    """Handlers are asked in order until one does not say None."""
    supervisor, asked = rig.supervise(), []

    @supervisor.on(Getpid)
    def first(call: Call) -> None:
        asked.append("first")

    @supervisor.on(Getpid)
    def second(call: Call) -> Return:
        asked.append("second")
        return Return(2)

    @supervisor.on(Getpid)
    def third(call: Call) -> Return:
        asked.append("third")
        return Return(3)

    for _ in range(3):
        assert rig.ask("getpid") == Return(2)
    assert asked == ["first", "second"] * 3


@pytest.mark.parametrize("handlers", [0, 1, 2])
def test_unhandled_is_refused(rig: Rig, handlers: int) -> None:
    """Nobody's call fails with EPERM; it is never continued."""
    supervisor = rig.supervise()
    for _ in range(handlers):
        supervisor.on(Getpid)(lambda call: None)
    for _ in range(2):
        assert rig.ask("getpid") == Fail(errno.EPERM)


def test_unhandled_reply_can_be_chosen(rig: Rig) -> None:
    """The default answer is the user's."""
    rig.supervise(unhandled=Fail(errno.ENOSYS)).on(Getpid)(lambda call: None)
    assert rig.ask("getpid") == Fail(errno.ENOSYS)


@pytest.mark.parametrize("reply", [Return(7), Return(-5000), Fail(errno.EACCES), Continue()])
def test_replies_arrive(rig: Rig, reply: Any) -> None:
    """What the handler says is what the target gets."""
    rig.supervise().on(Getpid)(lambda call: reply)
    assert rig.ask("getpid") == reply
    assert rig.ask("getpid") == reply


def test_handlers_see_the_typed_call(rig: Rig) -> None:
    """A handler gets an instance of the class it registered for, on each ABI."""
    seen: list[Any] = []

    def handler(call: Any) -> Return:
        seen.append(call)
        return Return()

    rig.supervise().on(Pwrite64, "getpid")(handler)
    rig.ask("pwrite64", 3, 0, 0, 5)
    rig.ask("pwrite64", 3, 0, 0, 5, 1, arch=Arch.I386)
    rig.ask("getpid")
    assert [type(call).__name__ for call in seen] == ["Pwrite64", "Pwrite64", "Getpid"]
    assert [isinstance(call, Pwrite64) for call in seen] == [True, True, False]
    assert [call.offset for call in seen[:2]] == [5, (1 << 32) | 5]


@pytest.mark.parametrize(("nr", "audit"), [(-1, Arch.X86_64.audit), (9999, None), (39, 0x1234)])
def test_unknown_calls_are_unhandled(rig: Rig, nr: int, audit: int | None) -> None:
    """B1: whatever arrives has an answer."""
    supervisor = rig.supervise(unhandled=Fail(errno.ENOSYS))
    seen: list[Call] = []

    class Look(Instrument):
        def received(self, call: Call) -> None:
            seen.append(call)

    supervisor.add_instrument(Look())
    assert rig.ask(nr, audit=audit) == Fail(errno.ENOSYS)
    assert isinstance(seen[0], UnknownCall)


def test_conditions_are_asked_again(rig: Rig) -> None:
    """The filter knows that some registration wants the call; the router knows which."""
    supervisor = rig.supervise()
    supervisor.on(Kill, where=Kill.sig == 9)(lambda call: Return(9))
    supervisor.on(Kill, where=Kill.sig == 15)(lambda call: Return(15))
    supervisor.on(Kill, where=Kill.pid < 0)(lambda call: Return(0))
    assert rig.ask("kill", 1, 9) == Return(9)
    assert rig.ask("kill", 1, 15) == Return(15)
    assert rig.ask("kill", 0xFFFFFFFF, 9) == Return(9)
    assert rig.ask("kill", 0xFFFFFFFF, 1) == Return(0)
    assert rig.ask("kill", 1, 1) == Fail(errno.EPERM)
    assert rig.ask("kill", 0xAA00000001, 0xBB00000009, arch=Arch.I386) == Return(9)


def test_a_handler_of_a_running_program(rig: Rig) -> None:
    """R9: what is registered later is asked for what the filter notifies anyway."""
    supervisor = rig.supervise()
    supervisor.on(Getpid)(lambda call: None)
    assert rig.ask("getpid") == Fail(errno.EPERM)
    supervisor.on(Getpid)(lambda call: Return(5))
    assert rig.ask("getpid") == Return(5)


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (Refused(), errno.EPERM),
        (Refused("no", errno=errno.EROFS), errno.EROFS),
        (BadAddress(), errno.EFAULT),
        (TargetError(errno=errno.ENOTTY), errno.ENOTTY),
        (TargetGone(), errno.ESRCH),
    ],
)
def test_target_errors_are_answers(rig: Rig, error: TargetError, number: int) -> None:
    """A TargetError carries the errno of the target; it is no fault."""
    supervisor, faults = rig.supervise(), Faults()

    @supervisor.on(Getpid)
    def handler(call: Call) -> None:
        raise error

    assert rig.ask("getpid") == Fail(number)
    assert rig.ask("getpid") == Fail(number)
    supervisor.add_instrument(faults)
    assert rig.ask("getpid") == Fail(number)
    assert supervisor.statistics().faults == 0
    assert not faults.seen


@pytest.mark.parametrize("number", [0, -1, 512, 5000])
def test_a_target_error_without_a_real_errno_is_a_fault(rig: Rig, number: int) -> None:
    """V3, V5: what cannot be sent is not sent."""
    supervisor = rig.supervise(fault_reply=Fail(errno.EIO))

    @supervisor.on(Getpid)
    def handler(call: Call) -> None:
        raise Refused(errno=number)

    assert rig.ask("getpid") == Fail(errno.EIO)
    rig.settled(lambda: supervisor.statistics().faults == 1)


@pytest.mark.parametrize("instrumented", [False, True])
@pytest.mark.parametrize(
    "error", [ValueError("boom"), KernelError(errno.EIO, "x(2)"), SystemExit(3)]
)
def test_faults_are_answered_counted_logged_and_told(
    rig: Rig,
    instrumented: bool,
    error: BaseException,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What a handler raises becomes the fault reply, and everybody hears of it."""
    supervisor, faults = rig.supervise(fault_reply=Fail(errno.EIO)), Faults()
    if instrumented:
        supervisor.add_instrument(faults)

    @supervisor.on(Getpid)
    def broken(call: Call) -> None:
        raise error

    if rig.embedded and isinstance(error, SystemExit):
        rig.attach()
        pending = rig.listener.notify("getpid")
        with pytest.raises(SystemExit):
            supervisor.process_pending()
        assert pending.answer() == Fail(errno.EIO)
    else:
        assert rig.ask("getpid") == Fail(errno.EIO)
    rig.settled(lambda: supervisor.statistics().answered == 1)
    assert supervisor.statistics().faults == 1
    text = [record for record in caplog.records if "broken" in record.getMessage()]
    assert text[0].levelno == logging.ERROR
    assert text[0].exc_info is not None
    assert "getpid" in text[0].getMessage()
    if instrumented:
        (fault,) = faults.seen
        assert fault.__cause__ is error
        assert (fault.reply, fault.call.call_name) == (Fail(errno.EIO), "getpid")  # type: ignore[attr-defined]
        assert "broken" in fault.handler


def test_what_a_kernel_or_filter_lacks_is_one_line(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """It is nobody's bug: the log says what is missing and what to do, without a traceback."""
    supervisor = rig.supervise()

    @supervisor.on(Getpid)
    def lacking(call: Call) -> None:
        raise Unsupported("sync-wake-up", "ioctl(2)", hint="Linux 6.6 has it")

    assert rig.ask("getpid") == Fail(errno.EPERM)
    rig.settled(lambda: supervisor.statistics().faults == 1)
    (record,) = [record for record in caplog.records if "lacking" in record.getMessage()]
    assert record.exc_info is None
    assert "sync-wake-up is not available (Linux 6.6 has it)" in record.getMessage()


def test_an_exit_does_not_end_the_service(threaded: Rig) -> None:
    """A handler that calls sys.exit() in a reader's thread has failed; others are served."""
    supervisor = threaded.supervise()
    supervisor.on(Getpid)(lambda call: Return(1))

    @supervisor.on(Mount)
    def leave(call: Call) -> None:
        raise SystemExit

    for _ in range(3):
        assert threaded.ask("mount") == Fail(errno.EPERM)
        assert threaded.ask("getpid") == Return(1)


@pytest.mark.parametrize("nonsense", [0, 7, True, "x", errno.EPERM, object(), [Return()], Return])
def test_nonsense_is_a_fault(rig: Rig, nonsense: object, caplog: pytest.LogCaptureFixture) -> None:
    """What is no reply is not guessed at, zero included."""
    supervisor = rig.supervise()
    supervisor.on(Getpid)(lambda call: nonsense)
    assert rig.ask("getpid") == Fail(errno.EPERM)
    rig.settled(lambda: supervisor.statistics().faults == 1)
    assert "no reply" in caplog.text


def test_plain_continue_after_a_read_is_a_fault(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """C2: the target may have rewritten what was read; it gets EPERM and the log says why."""
    supervisor = rig.supervise()
    rig.kernel.memory.pieces[PATH] = b"/etc/passwd\0"

    @supervisor.on(OpenAt)
    def handler(call: OpenAt) -> Continue | None:
        return Continue() if str(call.path) == "/etc/passwd" else None

    for count in (1, 2):
        assert rig.ask("openat", -100, PATH) == Fail(errno.EPERM)
        rig.settled(lambda: supervisor.statistics().faults == count)  # noqa: B023
    assert "memory" in caplog.text


def test_racy_continue_is_allowed_and_counted(rig: Rig) -> None:
    """With a reason it goes through, and the statistics tell."""
    supervisor = rig.supervise()
    rig.kernel.memory.pieces[PATH] = b"/x\0"

    @supervisor.on(OpenAt)
    def handler(call: OpenAt) -> Continue:
        assert call.path
        return Continue.racy(because="only a log")

    for _ in range(3):
        assert rig.ask("openat", -100, PATH) == Continue()
    rig.settled(lambda: supervisor.statistics().racy == 3)
    assert supervisor.statistics().faults == 0


def test_continue_without_a_read_is_fine(rig: Rig) -> None:
    """Registers cannot change: what they decide may go on."""
    supervisor = rig.supervise()
    supervisor.on(OpenAt)(lambda call: Continue() if call.dirfd == -100 else None)
    assert rig.ask("openat", 0xFFFFFF9C) == Continue()
    assert supervisor.statistics().racy == 0


def test_32_bit_return_that_is_an_errno_is_a_fault(rig: Rig) -> None:
    """V4: such a Return is refused by the exchange, and the target gets the fault reply."""
    supervisor = rig.supervise()
    supervisor.on(Getpid)(lambda call: Return(0xFFFFFFFF))
    assert rig.ask("getpid", arch=Arch.I386) == Fail(errno.EPERM)
    assert rig.ask("getpid") == Return(0xFFFFFFFF)


def test_reply_that_the_kernel_does_not_know_is_a_fault(rig: Rig) -> None:
    """C5: an old kernel says EINVAL to Continue; the target gets another answer."""
    supervisor = rig.supervise()
    supervisor.on(Getpid)(lambda call: Continue())
    rig.listener.send_errors.append(KernelError(errno.EINVAL, "ioctl(2)"))
    assert rig.ask("getpid") == Fail(errno.EPERM)
    rig.settled(lambda: supervisor.statistics().faults == 1)


def test_target_that_has_gone_is_counted(rig: Rig) -> None:
    """N10, I10: SEND finds nobody; that is life."""
    supervisor = rig.supervise()
    told: list[str] = []

    class Look(Instrument):
        def gone(self, call: Call) -> None:
            told.append(call.call_name)

    def handler(call: Call) -> Return:
        rig.listener.interrupt(rig.listener.sent[call.exchange.id])
        return Return()

    supervisor.on(Getpid)(handler)
    rig.notify("getpid")
    rig.settled(lambda: supervisor.statistics().gone == 1)
    supervisor.add_instrument(Look())
    rig.notify("getpid")
    rig.settled(lambda: told == ["getpid"])
    numbers = supervisor.statistics()
    assert (numbers.gone, numbers.answered, numbers.faults) == (2, 0, 0)


def test_reading_from_a_target_that_has_gone(rig: Rig) -> None:
    """M6: what was read after the target left is thrown away."""
    supervisor = rig.supervise()
    rig.kernel.memory.pieces[PATH] = b"/x\0"
    errors: list[Exception] = []

    @supervisor.on(OpenAt)
    def handler(call: OpenAt) -> Return:
        rig.listener.interrupt(rig.listener.sent[call.exchange.id])
        try:
            call.path  # noqa: B018
        except TargetGone as error:
            errors.append(error)
            raise
        return Return()

    rig.notify("openat", -100, PATH)
    rig.settled(lambda: supervisor.statistics().gone == 1)
    assert len(errors) == 1


def test_spurious_readiness_is_life(embedded: Rig) -> None:
    """N8: RECV may say ENOENT; nothing is served and nothing is wrong."""
    embedded.supervise().on(Getpid)(lambda call: Return(1))
    embedded.attach()
    listener = embedded.listener
    original = listener.receive_into

    def vanishing(buffer: bytearray) -> bool:
        listener.receive_into = original  # type: ignore[method-assign]
        listener.queue.clear()
        return False

    listener.receive_into = vanishing  # type: ignore[method-assign]
    embedded.notify("getpid")
    assert embedded.ask("getpid") == Return(1)


def test_broken_listener_is_closed(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """A listener that cannot be read any more is closed, not asked for ever."""
    supervisor = rig.supervise()
    supervisor.on(Getpid)(lambda call: Return(1))
    assert rig.ask("getpid") == Return(1)
    assert rig.ask("getpid") == Return(1)
    rig.listener.receive_error = KernelError(errno.EBADF, "ioctl(2)")
    if rig.embedded:
        supervisor.process_pending()
    else:
        with rig.kernel.changed:
            rig.kernel.tell()
    assert supervisor.wait(20)
    assert rig.listener.closed
    assert len([r for r in caplog.records if "broken" in r.getMessage()]) == 1


def test_several_listeners(rig: Rig) -> None:
    """N4: each has its own ids, and the answer goes where the call came from."""
    supervisor = rig.supervise()
    supervisor.on(Kill)(lambda call: Return(call.pid))
    other = rig.kernel.listener()
    rig.attach()
    supervisor.attach(other)
    pairs = [
        (rig.listener.notify("kill", n, tid=n), other.notify("kill", 50 + n, tid=n))
        for n in range(1, 9)
    ]
    if rig.embedded:
        supervisor.process_pending()
    for n, (one, two) in enumerate(pairs, 1):
        assert one.id == two.id
        assert (one.answer(), two.answer()) == (Return(n), Return(50 + n))
    assert supervisor.statistics().listeners == 2


def test_hangup_ends_the_wait(rig: Rig) -> None:
    """E3: when the last task is gone the listener is closed and wait() returns."""
    supervisor = rig.supervise()
    assert supervisor.wait(0)
    rig.attach()
    assert not supervisor.wait(0)
    rig.listener.hang_up()
    if rig.embedded:
        supervisor.process_pending()
    assert supervisor.wait(20)
    assert rig.listener.closed
    assert supervisor.statistics().listeners == 0


def test_sync_wake_up_is_asked_for(rig: Rig) -> None:
    """W1, W3: the scheduling hint is given where there is one, and missed by nobody else."""
    from tests.unit.supervisor.fake_kernel import unsupported
    from unotify.abi.seccomp import ListenerFlag

    rig.supervise()
    rig.attach()
    assert rig.listener.flags is ListenerFlag.SYNC_WAKE_UP
    old = rig.kernel.listener()
    old.flags_error = unsupported()
    rig.supervisor.attach(old)
    assert rig.supervisor.statistics().listeners == 2


def test_what_somebody_else_has_answered(rig: Rig) -> None:
    """It is known no more, and neither counted nor answered again; what waited for it is served."""
    supervisor = rig.supervise()
    supervisor.on(Getpid)(lambda call: Return(7))
    rig.attach()
    engine, source = supervisor._engine, supervisor._readers.sources[rig.listener]
    exchange = Exchange(rig.listener.notification("getpid", tid=300).raw)
    source.protocol.begin(exchange)
    assert engine.register(source, exchange) is exchange
    follower = rig.notify("getpid", tid=300)
    rig.settled(lambda: follower.sent)
    assert follower.reply is None
    engine.over(source, exchange)
    assert follower.answer() == Return(7)
    assert not source.protocol.under_way
    assert (supervisor.statistics().answered, supervisor.statistics().gone) == (1, 0)
    engine.over(source, exchange)  # a deadline was quicker
    assert supervisor.statistics().answered == 1
