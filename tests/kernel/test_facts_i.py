"""Signals and interruption: I1 to I12."""

from __future__ import annotations

import errno
import os
import signal
import threading
from pathlib import Path

import pytest

from tests.kernel.targets import Target, until

USR1 = int(signal.SIGUSR1)


@pytest.mark.parametrize("received", [False, True])
def test_a_signal_without_restart_interrupts_the_call(received: bool) -> None:
    """I1, I2, I9: even getppid fails with EINTR, received or not, and nobody tells us."""
    with Target("getppid") as target:
        target.ask("handle", signal=USR1, restart=False)
        target.call("getppid")
        until(target.listener.pending)
        exchange = target.receive() if received else None
        target.process.send_signal(USR1)
        assert target.answer() == {"ret": -1, "errno": errno.EINTR}
        assert target.ask("handled")["handled"] == [USR1]
        if exchange is not None:
            assert not target.listener.is_valid(exchange.id)
            assert not target.send(exchange)


@pytest.mark.parametrize("received", [False, True])
def test_a_signal_with_restart_makes_a_new_notification(received: bool) -> None:
    """I1, N4, I10: the call comes again under the next id; the old one takes no answer."""
    with Target("getppid") as target:
        target.ask("handle", signal=USR1, restart=True)
        target.call("getppid")
        until(target.listener.pending)
        old = target.receive() if received else None
        target.process.send_signal(USR1)
        until(lambda: not old or not target.listener.is_valid(old.id))
        if old is None:
            until(lambda: handled(target))
        new = target.receive()
        if old is not None:
            assert (old.id + 1) % 2**64 == new.id
            assert not target.send(old)
        assert target.send(new, value=9)
        assert target.answer()["ret"] == 9


def handled(target: Target) -> bool:
    """Whether the target has taken the signal, and its restarted call waits."""
    status = Path(f"/proc/{target.pid}/status").read_text()
    pending = int(status.partition("ShdPnd:")[2].split()[0], 16)
    return not pending >> (USR1 - 1) & 1 and target.listener.pending()


def test_ignored_signals_disturb_nothing() -> None:
    """I3: neither a signal that is ignored nor one whose default is to be ignored."""
    with Target("getppid") as target:
        target.ask("ignore", signal=USR1)
        target.call("getppid")
        exchange = target.receive()
        target.process.send_signal(USR1)
        target.process.send_signal(signal.SIGWINCH)
        assert target.listener.is_valid(exchange.id)
        assert target.send(exchange, value=1)
        assert target.answer()["ret"] == 1


def test_a_stop_ends_the_notification_without_any_handler() -> None:
    """I4: after SIGCONT the call comes again."""
    with Target("getppid") as target:
        target.call("getppid")
        old = target.receive()
        target.process.send_signal(signal.SIGSTOP)
        until(lambda: target.state() == "T")
        assert not target.listener.is_valid(old.id)
        target.process.send_signal(signal.SIGCONT)
        new = target.receive()
        assert old.id != new.id
        target.send(new, value=2)
        assert target.answer()["ret"] == 2


def test_wait_killable_protects_only_after_the_receipt() -> None:
    """I5: before RECV a signal interrupts as ever."""
    with Target("getppid", killable=True) as target:
        target.ask("handle", signal=USR1, restart=False)
        target.call("getppid")
        until(target.listener.pending)
        target.process.send_signal(USR1)
        assert target.answer() == {"ret": -1, "errno": errno.EINTR}


def test_wait_killable_keeps_signals_waiting_until_the_reply() -> None:
    """I6: the state becomes D, the reply stands, the handler runs afterwards."""
    with Target("getppid", killable=True) as target:
        target.ask("handle", signal=USR1, restart=False)
        target.call("getppid")
        exchange = target.receive()
        target.process.send_signal(USR1)
        until(lambda: target.state() == "D")
        assert target.listener.is_valid(exchange.id)
        assert target.send(exchange, value=6)
        assert target.answer()["ret"] == 6
        assert target.ask("handled")["handled"] == [USR1]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_wait_killable_does_not_stop_what_kills(number: signal.Signals) -> None:
    """I7: fatal signals still end it; the id is gone."""
    with Target("getppid", killable=True) as target:
        target.call("getppid")
        exchange = target.receive()
        target.process.send_signal(number)
        assert -number == target.process.wait(20)
        assert not target.listener.is_valid(exchange.id)
        assert not target.send(exchange)


def test_a_received_killable_target_cannot_be_stopped() -> None:
    """I8: SIGSTOP waits for the answer; a supervisor that forgets it makes a D process."""
    with Target("getppid", killable=True) as target:
        target.call("getppid")
        exchange = target.receive()
        target.process.send_signal(signal.SIGSTOP)
        until(lambda: target.state() == "D")
        target.send(exchange)
        until(lambda: target.state() == "T")
        target.process.send_signal(signal.SIGCONT)
        assert target.answer()["ret"] == 0


def test_receiving_is_retried_after_a_signal_to_the_supervisor() -> None:
    """I12: a Python handler runs, and RECV goes on waiting."""
    with Target("getppid") as target:
        seen: list[int] = []
        old = signal.signal(signal.SIGUSR2, lambda number, frame: seen.append(number))
        try:
            main = threading.main_thread().ident
            assert main is not None

            def disturb() -> None:
                until(lambda: Path(f"/proc/self/task/{os.getpid()}/wchan").read_text() != "0")
                signal.pthread_kill(main, signal.SIGUSR2)
                until(lambda: seen)
                target.call("getppid")

            thread = threading.Thread(target=disturb)
            thread.start()
            buffer = bytearray(80)
            assert target.listener.receive_into(buffer)
            thread.join()
            assert seen == [signal.SIGUSR2]
        finally:
            signal.signal(signal.SIGUSR2, old)


def test_calls_that_never_fail_so_do_it_here() -> None:
    """I2: umask has no errors at all, and still says EINTR; so do not trap such calls."""
    with Target("umask") as target:
        target.ask("handle", signal=USR1, restart=False)
        target.call("umask", 0o22)
        target.receive()
        target.process.send_signal(USR1)
        assert target.answer()["errno"] == errno.EINTR
