"""What each action does, and which one wins when several filters disagree."""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import random
import signal
import threading
from typing import Any

import pytest

from tests.kernel.spawn_support import Killed, always, answer, apart, nr, receive, respond, until
from unotify.abi.seccomp import MAX_ERRNO, Action
from unotify.kernel._libc import syscall
from unotify.kernel.install import install

KILLS = (Action.KILL_PROCESS, Action.KILL_THREAD, Action.TRAP)
ORDER = list(Action)
TAG = 21


def getpgrp() -> int:
    """The result of getpgrp: positive, or a negative errno."""
    return syscall(nr("getpgrp"))


def under(*actions: int) -> Any:
    """What getpgrp gives with one filter for each action, the first installed first."""

    def work() -> int:
        own = getpgrp()
        for action in actions:
            install(answer({"getpgrp": action}), listener=False)
        result = getpgrp()
        return 0 if result == own else result

    return apart(work)


def ended_by(work: Any) -> int:
    """The signal that ends *work*."""
    with pytest.raises(Killed) as caught:
        apart(work)
    number: int = caught.value.args[0]
    return number


@pytest.mark.parametrize("action", [Action.ALLOW, Action.LOG])
def test_the_call_runs(action: Action) -> None:
    """ALLOW and LOG run the call."""
    assert under(action) == 0


@pytest.mark.parametrize(
    ("data", "expected"),
    [(0, None), (errno.E2BIG, -7), (MAX_ERRNO, -4095), (4096, -4095), (0xFFFF, -4095)],
)
def test_errno(data: int, expected: int | None) -> None:
    """ERRNO gives its data as errno, capped at 4095; 0 is a success that returns 0."""

    def work() -> int:
        install(answer({"getpgrp": Action.ERRNO | data}), listener=False)
        return getpgrp()

    result = apart(work)

    # libc passes on what is no errno; -4095 is the last that is.
    assert result == (0 if expected is None else expected)


@pytest.mark.parametrize("action", [Action.TRACE, Action.USER_NOTIF])
def test_nobody_to_ask(action: Action) -> None:
    """F6: TRACE without a tracer and USER_NOTIF without a listener are ENOSYS."""
    assert under(action) == -errno.ENOSYS


@pytest.mark.parametrize("action", KILLS)
def test_sigsys(action: Action) -> None:
    """Both kills and an uncaught TRAP end the process by SIGSYS."""
    assert ended_by(lambda: under_here(action)) == signal.SIGSYS


def under_here(*actions: int) -> int:
    """As `under`, in this process."""
    for action in actions:
        install(answer({"getpgrp": action}), listener=False)
    return getpgrp()


@pytest.mark.parametrize("value", [0x10000000, 0x90000000, 0x7FFF0001 ^ 0x00020000])
def test_unknown_action_kills(value: int) -> None:
    """A value that is no action kills the process, whether it sorts above ALLOW or inside."""
    assert ended_by(lambda: under_here(value)) == signal.SIGSYS


def test_ignored_sigsys_of_a_trap_kills() -> None:
    """TRAP kills although SIGSYS is ignored."""

    def work() -> None:
        signal.signal(signal.SIGSYS, signal.SIG_IGN)
        under_here(Action.TRAP)

    assert ended_by(work) == signal.SIGSYS


def test_blocked_sigsys_of_a_trap_kills() -> None:
    """TRAP kills although SIGSYS is blocked."""

    def work() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGSYS})
        under_here(Action.TRAP)

    assert ended_by(work) == signal.SIGSYS


def test_caught_trap() -> None:
    """A handler of SIGSYS sees the data as si_errno, the number and the architecture."""

    def work() -> tuple[int, int, int]:
        seen: list[tuple[int, int, int]] = []
        handler_type = ctypes.CFUNCTYPE(
            None, ctypes.c_int, ctypes.POINTER(ctypes.c_char), ctypes.c_void_p
        )

        def handler(number: int, info: Any, context: Any) -> None:
            # siginfo_t: signo, errno, code, padding; call address, number, architecture.
            words = ctypes.cast(info, ctypes.POINTER(ctypes.c_int32))
            seen.append((words[1], words[6], words[7] & 0xFFFFFFFF))

        class Sigaction(ctypes.Structure):
            _fields_ = (
                ("handler", handler_type),
                ("mask", ctypes.c_uint64 * 16),
                ("flags", ctypes.c_int),
                ("restorer", ctypes.c_void_p),
            )

        action = Sigaction(handler_type(handler), flags=4)  # SA_SIGINFO
        assert ctypes.CDLL(None).sigaction(signal.SIGSYS, ctypes.byref(action), None) == 0
        under_here(Action.TRAP | TAG)
        return seen[0]

    from unotify.kernel._libc import NATIVE

    if NATIVE.bits != 64:
        pytest.skip("siginfo_t is laid out here for 64 bits")

    assert apart(work) == (TAG, nr("getpgrp"), NATIVE.audit)


def test_kill_thread_kills_one_thread() -> None:
    """KILL_THREAD ends only the thread that called; the process lives."""

    def work() -> bool:
        install(answer({"getpgrp": Action.KILL_THREAD}), listener=False)
        read, write = os.pipe()
        thread = threading.Thread(target=lambda: (os.write(write, b"x"), getpgrp()), daemon=True)
        thread.start()
        os.read(read, 1)
        tid = thread.native_id
        until(lambda: not os.path.exists(f"/proc/self/task/{tid}"))
        return True

    assert apart(work) is True


def test_kill_process_kills_all_threads() -> None:
    """KILL_PROCESS by one thread ends all of them."""

    def work() -> None:
        install(answer({"getpgrp": Action.KILL_PROCESS}), listener=False)
        threading.Thread(target=getpgrp).start()
        signal.pause()

    assert ended_by(work) == signal.SIGSYS


def strength(action: Action) -> int:
    """The place in the order that the kernel documents, 0 the strongest."""
    return ORDER.index(action)


@pytest.mark.parametrize(("first", "second"), list(itertools.product(ORDER, ORDER)))
def test_precedence_of_two(first: Action, second: Action) -> None:
    """F1, F2: of two filters the stronger action wins, whichever is older."""
    winner = min(first, second, key=strength)
    outcome = outcome_of((first, second))

    assert outcome == outcome_of((winner,))


@pytest.mark.parametrize("seed", range(4))
def test_precedence_of_all_in_any_order(seed: int) -> None:
    """F1: with all actions at once, dropping the strongest leaves the next one to win."""
    actions = list(ORDER)
    random.Random(seed).shuffle(actions)
    for weakest in range(len(ORDER)):
        present = [action for action in actions if strength(action) >= weakest]

        assert outcome_of(present) == outcome_of((ORDER[weakest],))


def outcome_of(actions: Any) -> object:
    """What happens to getpgrp under these filters; ERRNO is told by its data."""
    values = [action | TAG if action is Action.ERRNO else action for action in actions]
    try:
        return under(*values)
    except Killed as killed:
        return killed.args


def test_newest_of_equals_wins() -> None:
    """F1: of two errnos it is the newest filter's."""
    assert under(Action.ERRNO | 3, Action.ERRNO | 5, Action.ERRNO | 4) == -4


@pytest.mark.parametrize("other", [a for a in ORDER if a is not Action.USER_NOTIF])
@pytest.mark.parametrize("newer", [True, False])
def test_place_of_notifications_in_the_order(other: Action, newer: bool) -> None:
    """F2, F3: kills, TRAP and ERRNO beat a notification; it beats TRACE, LOG and ALLOW."""
    stronger = strength(other) < strength(Action.USER_NOTIF)
    value = other | TAG if other is Action.ERRNO else other

    def work() -> object:
        if not newer:
            install(answer({"getpgrp": value}), listener=False)
        done = install(answer({"getpgrp": Action.USER_NOTIF}))
        listener = done.listener
        assert listener is not None
        pid = os.fork()
        if pid == 0:
            if newer:
                install(answer({"getpgrp": value}), listener=False)
            os._exit(-getpgrp() & 0xFF)
        raw = receive_or_end(listener, pid)
        if raw is not None:
            respond(listener, raw, error=99)
        _, status = os.waitpid(pid, 0)
        listener.close()
        return raw is not None, os.waitstatus_to_exitcode(status)

    heard, status = apart(work)

    assert heard == (not stronger)
    if not stronger:
        assert status == 99
    elif other is Action.ERRNO:
        assert status == TAG
    else:
        assert status == -signal.SIGSYS


def receive_or_end(listener: Any, pid: int) -> bytes | None:
    """The first notification, or ``None`` when that process ended without one."""
    import select

    pidfd = os.pidfd_open(pid)
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    poller.register(listener, select.POLLIN)
    poller.poll()
    os.close(pidfd)
    return receive(listener) if listener.pending() else None


@pytest.mark.parametrize("position", [0, 5])
def test_kill_on_one_argument(position: int) -> None:
    """A filter may look at the first and at the last argument."""
    import struct

    instruction = struct.Struct("=HBBI").pack
    program = (
        instruction(0x20, 0, 0, 0)
        + instruction(0x15, 0, 3, nr("getpgrp"))
        + instruction(0x20, 0, 0, 16 + 8 * position)
        + instruction(0x15, 0, 1, 0x1234)
        + instruction(0x06, 0, 0, Action.ERRNO | TAG)
        + always(Action.ALLOW)
    )

    def work() -> tuple[int, bool]:
        install(program, listener=False)
        words = [0] * 6
        plain = syscall(nr("getpgrp"), *words)
        words[position] = 0x1234
        return syscall(nr("getpgrp"), *words), plain > 0

    assert apart(work) == (-TAG, True)
