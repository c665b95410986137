"""Scenarios of signals and of descriptors: I, A, W."""

from __future__ import annotations

from tests.scenarios.language import Answer, Stage, scenario
from unotify.abi.seccomp import FilterFlag

KILL, USR1, QUIT, TERM, CONT, STOP, WINCH = 9, 10, 3, 15, 18, 19, 28
KILLABLE = FilterFlag.WAIT_KILLABLE_RECV
CLOEXEC = 0o2000000
SETFD, SEND = 1, 2


@scenario("I1", "I2", "I9", "I10", "N10")
def a_signal_without_restart(stage: Stage) -> None:
    """EINTR, received or not; nobody is told, and the answer has no taker."""
    for received in (False, True):
        worker, listener = stage.supervised("getppid")
        worker.handle(USR1, restart=False)
        worker.call("getppid")
        worker.waiting()
        seen = listener.receive() if received else None
        worker.kill(USR1)
        assert worker.answer() == Answer(-1, "EINTR")
        assert worker.handled() == [USR1]
        assert listener.poll() == set()
        if seen is not None:
            assert listener.valid(seen.id) == "ENOENT"
            assert listener.send(seen.id) == "ENOENT"
            assert listener.addfd(seen.id) == "ENOENT"


@scenario("I1", "N4", "I10", "I11")
def a_signal_with_restart(stage: Stage) -> None:
    """The call comes again under the next id."""
    worker, listener = stage.supervised("getppid")
    worker.handle(USR1, restart=True)
    worker.call("getppid")
    old = listener.receive()
    worker.kill(USR1)
    new = listener.receive()
    assert (new.id - old.id) % 2**64 == 1
    assert listener.send(old.id) == "ENOENT"
    assert listener.send(new.id, 9) == ""
    assert worker.answer() == Answer(9)
    assert worker.handled() == [USR1]


@scenario("I3")
def signals_that_disturb_nobody(stage: Stage) -> None:
    """Ignored, and ignored by default."""
    worker, listener = stage.supervised("getppid")
    worker.ignore(USR1)
    worker.call("getppid")
    seen = listener.receive()
    for number in (USR1, WINCH, CONT):
        worker.kill(number)
    assert listener.valid(seen.id) == ""
    assert listener.send(seen.id, 1) == ""
    assert worker.answer() == Answer(1)


@scenario("I4")
def a_stop(stage: Stage) -> None:
    """It ends the notification without any handler; after SIGCONT the call comes again."""
    worker, listener = stage.supervised("getppid")
    worker.call("getppid")
    old = listener.receive()
    worker.kill(STOP)
    worker.becomes("T")
    assert listener.valid(old.id) == "ENOENT"
    assert listener.poll() == set()
    worker.kill(CONT)
    new = listener.receive()
    assert (new.id - old.id) % 2**64 == 1
    listener.send(new.id, 2)
    assert worker.answer() == Answer(2)


@scenario("I4")
def a_stop_of_all_threads(stage: Stage) -> None:
    """A stop ends the notifications of all threads of the process."""
    worker, listener = stage.supervised("getppid")
    worker.thread("a")
    worker.call("getppid", thread="a")
    old = listener.receive()
    worker.kill(STOP)
    worker.becomes("T", thread="a")
    assert listener.valid(old.id) == "ENOENT"
    worker.kill(CONT)
    new = listener.receive()
    assert new.id != old.id
    listener.send(new.id, 2)
    assert worker.answer(thread="a") == Answer(2)


@scenario("I5")
def killable_before_the_receipt(stage: Stage) -> None:
    """Before RECV it is as without."""
    worker, listener = stage.supervised("getppid", flags=KILLABLE)
    worker.handle(USR1, restart=False)
    worker.call("getppid")
    worker.waiting()
    worker.kill(USR1)
    assert worker.answer() == Answer(-1, "EINTR")
    assert listener.poll() == set()


@scenario("I6")
def killable_after_the_receipt(stage: Stage) -> None:
    """The signal waits, the state becomes D, the reply stands, and the handler runs after it."""
    worker, listener = stage.supervised("getppid", flags=KILLABLE)
    worker.handle(USR1, restart=False)
    worker.call("getppid")
    seen = listener.receive()
    worker.becomes("S")
    worker.kill(USR1)
    worker.becomes("D")
    assert listener.valid(seen.id) == ""
    assert listener.send(seen.id, 6) == ""
    assert worker.answer() == Answer(6)
    assert worker.handled() == [USR1]


@scenario("I6", "A8")
def killable_after_a_descriptor(stage: Stage) -> None:
    """Who has taken a descriptor sleeps again, and as killable: the state is D without a signal."""
    worker, listener = stage.supervised("getppid", flags=KILLABLE)
    worker.call("getppid")
    seen = listener.receive()
    assert isinstance(listener.addfd(seen.id), int)
    worker.becomes("D")
    assert listener.send(seen.id, 1) == ""
    assert worker.answer() == Answer(1)


@scenario("I5", "N6")
def killable_and_put_back(stage: Stage) -> None:
    """After a RECV that could not be written a signal interrupts as before any RECV."""
    worker, listener = stage.supervised("getppid", flags=KILLABLE)
    worker.handle(USR1, restart=False)
    worker.call("getppid")
    worker.waiting()
    assert listener.recv("read-only") == "EFAULT"
    worker.kill(USR1)
    assert worker.answer() == Answer(-1, "EINTR")


@scenario("I7")
def killable_does_not_stop_what_kills(stage: Stage) -> None:
    """SIGKILL and SIGTERM end it; the id is gone."""
    for number in (KILL, TERM):
        worker, listener = stage.supervised("getppid", flags=KILLABLE)
        worker.call("getppid")
        seen = listener.receive()
        worker.kill(number)
        assert worker.ended() == -number
        assert listener.valid(seen.id) == "ENOENT"
        assert listener.send(seen.id) == "ENOENT"


@scenario("I7", "I8")
def killable_and_a_core_dump(stage: Stage) -> None:
    """A signal that dumps core is not fatal to the wait: it waits for the reply, and kills then."""
    worker, listener = stage.supervised("getppid", flags=KILLABLE)
    worker.call("getppid")
    seen = listener.receive()
    worker.kill(QUIT)
    worker.becomes("D")
    assert listener.valid(seen.id) == ""
    assert listener.send(seen.id) == ""
    assert worker.ended() == -QUIT


@scenario("I8", "I4")
def killable_cannot_be_stopped(stage: Stage) -> None:
    """SIGSTOP waits for the answer."""
    worker, listener = stage.supervised("getppid", flags=KILLABLE)
    worker.call("getppid")
    seen = listener.receive()
    worker.kill(STOP)
    worker.becomes("D")
    assert listener.send(seen.id, 1) == ""
    worker.becomes("T")
    worker.kill(CONT)
    assert worker.answer() == Answer(1)


@scenario("I1", "E5")
def death_of_a_waiter(stage: Stage) -> None:
    """The end of a process ends its notification; the others of its filter go on."""
    worker, listener = stage.supervised("getppid")
    child = worker.fork()
    child.call("getppid")
    seen = listener.receive()
    child.kill(TERM)
    assert child.ended() == -TERM
    assert listener.valid(seen.id) == "ENOENT"
    assert listener.send(seen.id) == "ENOENT"
    worker.call("getppid")
    listener.send(listener.receive().id, 5)
    assert worker.answer() == Answer(5)


# -- A ---------------------------------------------------------------------------------


@scenario("A1", "A3", "A8", "N11")
def numbers_of_descriptors(stage: Stage) -> None:
    """The lowest free; exactly the wanted one, which is replaced; several; none answers."""
    worker, listener = stage.supervised("getppid")
    worker.call("getppid")
    seen = listener.receive()
    taken = set(worker.fds())
    free = min(set(range(64)) - taken)
    assert listener.addfd(seen.id) == free
    assert listener.addfd(seen.id, flags=SETFD, newfd=42) == 42
    assert listener.addfd(seen.id, flags=SETFD, newfd=42) == 42
    assert worker.fds()[42] == "/etc/hostname"
    assert listener.addfd(seen.id, flags=SETFD, newfd=free, newfd_flags=CLOEXEC) == free
    assert listener.valid(seen.id) == ""
    assert listener.send(seen.id, 1) == ""
    assert worker.answer() == Answer(1)
    assert set(worker.fds()) - taken == {free, 42}


@scenario("A1")
def a_shared_description(stage: Stage) -> None:
    """What the target reads moves the supervisor's offset too."""
    worker, listener = stage.supervised("getppid")
    buffer = worker.text(bytes(8))
    worker.call("getppid")
    seen = listener.receive()
    fd = listener.addfd(seen.id)
    assert isinstance(fd, int)
    listener.send(seen.id)
    worker.answer()
    assert stage.offset() == 0
    worker.call("read", fd, buffer, 2)
    assert worker.answer() == Answer(2)
    assert stage.offset() == 2


@scenario("A4", "A5", "A6", "N11")
def descriptors_that_are_refused(stage: Stage) -> None:
    """Size, tail, flags, number, source, id, in this order."""
    worker, listener = stage.supervised("getppid")
    worker.call("getppid")
    seen = listener.receive()
    wrong = seen.id ^ 1 << 40
    before = worker.fds()
    assert listener.addfd(seen.id, size=23) == "EINVAL"
    assert listener.addfd(seen.id, size=4096, flags=4) == "EINVAL"
    assert listener.addfd(seen.id, size=32, dirty=True) == "E2BIG"
    assert listener.addfd(wrong, size=32, dirty=True, flags=4) == "E2BIG"
    assert listener.addfd(seen.id, newfd_flags=1) == "EINVAL"
    assert listener.addfd(seen.id, flags=4) == "EINVAL"
    assert listener.addfd(seen.id, newfd=5) == "EINVAL"
    assert listener.addfd(wrong, newfd=5, source="closed") == "EINVAL"
    assert listener.addfd(seen.id, source="closed") == "EBADF"
    assert listener.addfd(seen.id, source="path") == "EBADF"
    assert listener.addfd(wrong, source="closed") == "EBADF"
    assert listener.addfd(wrong) == "ENOENT"
    assert worker.fds() == before
    assert isinstance(listener.addfd(seen.id, size=32), int)
    assert listener.send(seen.id) == ""
    worker.answer()


@scenario("A6", "W1")
def ioctl_numbers(stage: Stage) -> None:
    """Numbers must match, but for direction and size of ADDFD."""
    _, listener = stage.supervised("getppid")
    assert listener.other(0xC0182103) == "EBADF" or listener.other(0xC0182103) == "ENOENT"
    assert listener.other(0x40202103) == listener.other(0x40182103)
    assert listener.other(0x40102103) == "EINVAL"
    assert listener.other(0x40182105) == "EINVAL"
    assert listener.other(0xC0082102) == "EINVAL"
    assert listener.other(0x80082102) == "ENOENT"


@scenario("A2", "A7")
def the_target_s_limit(stage: Stage) -> None:
    """No room is EMFILE; a number beyond the limit EBADF; the call can be answered still."""
    worker, listener = stage.supervised("getppid")
    worker.limit(max(worker.fds()) + 1)
    worker.call("getppid")
    seen = listener.receive()
    while isinstance(found := listener.addfd(seen.id), int):
        pass
    assert found == "EMFILE"
    assert listener.addfd(seen.id, flags=SEND) == "EMFILE"
    assert listener.addfd(seen.id, flags=SETFD, newfd=100) == "EBADF"
    assert listener.addfd(seen.id, flags=SETFD, newfd=0xFFFFFFFF) == "EBADF"
    assert listener.addfd(seen.id, flags=SETFD | SEND, newfd=100) == "EBADF"
    assert listener.valid(seen.id) == ""
    assert listener.send(seen.id, 2) == ""
    assert worker.answer() == Answer(2)


@scenario("A10", "A15", "N9")
def install_and_answer_at_once(stage: Stage) -> None:
    """ADDFD_FLAG_SEND returns the number to both; with SETFD too."""
    worker, listener = stage.supervised("getppid")
    worker.call("getppid")
    seen = listener.receive()
    fd = listener.addfd(seen.id, flags=SEND)
    assert isinstance(fd, int)
    assert worker.answer() == Answer(fd)
    assert worker.fds()[fd] == "/etc/hostname"
    assert listener.send(seen.id) == "ENOENT"
    worker.call("getppid")
    seen = listener.receive()
    assert listener.addfd(seen.id, flags=SEND | SETFD, newfd=42) == 42
    assert worker.answer() == Answer(42)


@scenario("A5")
def a_listener_can_be_given(stage: Stage) -> None:
    """The target gets its own listener, and could answer itself: so nobody should."""
    worker, listener = stage.supervised("getppid")
    worker.call("getppid")
    seen = listener.receive()
    fd = listener.addfd(seen.id, source="listener")
    assert isinstance(fd, int)
    listener.send(seen.id)
    worker.answer()
    assert worker.fds()[fd] == "anon_inode:seccomp notify"


@scenario("A9")
def a_descriptor_and_then_a_signal(stage: Stage) -> None:
    """The call fails, and the descriptor stays."""
    worker, listener = stage.supervised("getppid")
    worker.handle(USR1, restart=False)
    worker.call("getppid")
    seen = listener.receive()
    fd = listener.addfd(seen.id)
    assert isinstance(fd, int)
    worker.kill(USR1)
    assert worker.answer() == Answer(-1, "EINTR")
    assert worker.fds()[fd] == "/etc/hostname"


@scenario("W1", "W3")
def listener_flags(stage: Stage) -> None:
    """A mask by value, of one bit."""
    worker, listener = stage.supervised("getppid")
    assert listener.set_flags(0xFFFFFFFF) == "EINVAL"
    assert listener.set_flags(2) == "EINVAL"
    assert listener.set_flags(1) == ""
    assert listener.set_flags(0) == ""
    worker.call("getppid")
    listener.send(listener.receive().id, 1)
    assert worker.answer() == Answer(1)
