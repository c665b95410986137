"""Scenarios of a notification's life: N, V, C, E, R."""

from __future__ import annotations

from tests.scenarios.language import Answer, Seen, Stage, scenario
from unotify.abi.seccomp import Action, FilterFlag

USER = int(Action.USER_NOTIF)
KILL, USR1 = 9, 10


@scenario("N1", "N2", "E1", "N9", "V1")
def an_exchange(stage: Stage) -> None:
    """A call sleeps, is received, and returns what it is answered."""
    worker, listener = stage.supervised("getppid")
    assert listener.poll() == set()
    worker.call("getppid")
    worker.waiting()
    assert worker.state() == "S"
    assert listener.poll() == {"IN"}
    seen = listener.receive()
    assert (seen.nr, seen.arch, seen.flags) == (stage.nr("getppid"), stage.audit(), 0)
    assert listener.poll() == {"OUT"}
    assert listener.send(seen.id, 5) == ""
    assert worker.answer() == Answer(5)
    assert listener.poll() == set()
    assert listener.send(seen.id) == "ENOENT"


@scenario("N2", "N3", "N4", "R1")
def first_in_first_out(stage: Stage) -> None:
    """Three threads are received in order, with ids that count up, and answered in any order."""
    worker, listener = stage.supervised("getppid", "getuid", "getgid")
    calls = ("getuid", "getppid", "getgid")
    for name in calls:
        worker.thread(name)
        worker.call(name, thread=name)
        worker.waiting(name)
    seen = [listener.receive() for _ in calls]
    assert [one.nr for one in seen] == [stage.nr(name) for name in calls]
    assert [(one.id - seen[0].id) % 2**64 for one in seen] == [0, 1, 2]
    for name, one in reversed(list(zip(calls, seen, strict=True))):
        assert listener.send(one.id, one.nr) == ""
        assert worker.answer(thread=name) == Answer(one.nr)


@scenario("N5")
def bad_buffers(stage: Stage) -> None:
    """RECV into a dirty buffer or to nowhere consumes nothing, and does not wait."""
    worker, listener = stage.supervised("getppid")
    assert listener.recv("null") == "EFAULT"
    worker.call("getppid")
    worker.waiting()
    assert listener.recv("dirty") == "EINVAL"
    assert listener.recv("null") == "EFAULT"
    assert listener.send(listener.receive().id, 1) == ""
    assert worker.answer() == Answer(1)


@scenario("N6")
def a_buffer_that_cannot_be_written(stage: Stage) -> None:
    """A fault while copying makes the notification receivable again."""
    worker, listener = stage.supervised("getppid")
    worker.call("getppid")
    worker.waiting()
    assert listener.recv("read-only") == "EFAULT"
    assert listener.poll() == {"IN"}
    assert listener.recv("read-only") == "EFAULT"
    assert listener.send(listener.receive().id, 1) == ""
    assert worker.answer() == Answer(1)


@scenario("N7", "N1")
def receiving_waits(stage: Stage) -> None:
    """RECV sleeps until something comes."""
    worker, listener = stage.supervised("getppid")
    later = listener.recv_later()
    later.sleeps()
    worker.call("getppid")
    seen = later.result()
    assert isinstance(seen, Seen)
    assert listener.send(seen.id, 1) == ""
    assert worker.answer() == Answer(1)


@scenario("N8", "I1")
def a_stale_wakeup(stage: Stage) -> None:
    """A notification that dies unreceived leaves one ENOENT, and after that RECV sleeps."""
    worker, listener = stage.supervised("getppid", "getuid")
    child = worker.fork()
    child.call("getppid")
    child.waiting()
    child.kill(KILL)
    assert child.ended() == -KILL
    assert listener.poll() == set()
    assert listener.recv() == "ENOENT"
    later = listener.recv_later()
    later.sleeps()
    worker.call("getuid")
    seen = later.result()
    assert seen.nr == stage.nr("getuid")
    listener.send(seen.id)


@scenario("N9")
def validity(stage: Stage) -> None:
    """An id is valid between receipt and reply alone."""
    worker, listener = stage.supervised("getppid")
    worker.thread("one")
    worker.call("getppid", thread="one")
    worker.waiting("one")
    seen = listener.receive()
    assert listener.valid(seen.id) == ""
    assert listener.valid(seen.id, old=True) == ""
    assert listener.valid(seen.id ^ 1 << 40) == "ENOENT"
    worker.thread("other")
    worker.call("getppid", thread="other")
    worker.waiting("other")
    assert listener.valid((seen.id + 1) % 2**64) == "ENOENT"
    assert listener.send((seen.id + 1) % 2**64) == "EINPROGRESS"
    assert listener.addfd((seen.id + 1) % 2**64) == "EINPROGRESS"
    assert listener.valid(seen.id) == ""
    listener.send(seen.id)
    assert worker.answer(thread="one") == Answer(0)
    assert listener.valid(seen.id) == "ENOENT"


@scenario("N10", "N11", "C5")
def replies_that_make_no_sense(stage: Stage) -> None:
    """Flags are looked at first, then CONTINUE's values, then the id; the call waits on."""
    worker, listener = stage.supervised("getppid")
    worker.call("getppid")
    seen = listener.receive()
    wrong = seen.id ^ 1 << 40
    assert listener.send(seen.id, flags=2) == "EINVAL"
    assert listener.send(wrong, flags=2) == "EINVAL"
    assert listener.send(seen.id, 1, flags=1) == "EINVAL"
    assert listener.send(seen.id, 0, -1, flags=1) == "EINVAL"
    assert listener.send(wrong, 1, flags=1) == "EINVAL"
    assert listener.send(wrong) == "ENOENT"
    assert listener.send(wrong, flags=1) == "ENOENT"
    assert listener.send_nothing() == "EFAULT"
    assert listener.addfd(wrong) == "ENOENT"
    assert listener.send(seen.id, 3) == ""
    assert worker.answer() == Answer(3)
    assert listener.addfd(seen.id) == "ENOENT"


@scenario("N13")
def what_a_listener_is(stage: Stage) -> None:
    """An anonymous inode, close-on-exec in the target too, that cannot be read or mapped."""
    _, listener = stage.supervised("getppid")
    assert listener.link() == "anon_inode:seccomp notify"
    assert listener.cloexec()
    found = [listener.plain(name) for name in ("read", "write", "lseek", "mmap")]
    assert found == ["EINVAL", "EINVAL", "ESPIPE", "ENODEV"]


@scenario("N14", "B1", "V6")
def what_reaches_the_supervisor(stage: Stage) -> None:
    """All six registers and any number do; the filter's own 16 bits do not."""
    worker = stage.worker()
    fd = worker.install({"getppid": USER | 0x1234}, FilterFlag.NEW_LISTENER)
    assert isinstance(fd, int)
    listener = stage.take(worker, fd)
    words = (1, 2**64 - 1, 3, 1 << 40, 5, 6)
    worker.call("getppid", *words)
    seen = listener.receive()
    assert (seen.flags, seen.args) == (0, words)
    listener.send(seen.id)
    assert worker.answer() == Answer(0)


# -- V ---------------------------------------------------------------------------------


@scenario("V1", "V2", "V3", "V4")
def return_values(stage: Stage) -> None:
    """Errors, values, and numbers that are neither; the error wins."""
    worker, listener = stage.supervised("getppid")
    cases = [
        ((7, 0), Answer(7)),
        ((7, -13), Answer(-1, "EACCES")),
        ((0, -4095), Answer(-1, "4095")),
        ((0, 5), Answer(5)),
        ((-13, 0), Answer(-1, "EACCES")),
        ((-4096, 0), Answer(-4096)),
        ((0, -4096), Answer(-4096)),
        ((1 << 40, 0), Answer(1 << 40)),
    ]
    for (value, error), answer in cases:
        worker.call("getppid")
        assert listener.send(listener.receive().id, value, error) == ""
        assert worker.answer() == answer, (value, error)


@scenario("V5")
def internal_numbers_leak(stage: Stage) -> None:
    """The kernel's own numbers for restarts reach the program where there is no signal."""
    worker, listener = stage.supervised("getppid")
    for number in (512, 513, 514, 516):
        worker.call("getppid")
        listener.send(listener.receive().id, 0, -number)
        assert worker.answer() == Answer(-1, str(number))


# -- C ---------------------------------------------------------------------------------


@scenario("C1", "A1")
def continuing(stage: Stage) -> None:
    """CONTINUE runs the call with the target's own registers and descriptors."""
    worker, listener = stage.supervised("dup", "getppid")
    worker.call("dup", 0)
    seen = listener.receive()
    before = set(worker.fds())
    assert listener.send(seen.id, flags=1) == ""
    fd = worker.answer().ret
    assert set(worker.fds()) - before == {fd}


@scenario("C2")
def memory_may_change(stage: Stage) -> None:
    """A continued call reads what is in memory then."""
    worker, listener = stage.supervised("openat")
    path = worker.text(b"/etc/hostname")
    worker.call("openat", -100, path, 0)
    seen = listener.receive()
    worker.poke(path, b"/etc/passwd")
    listener.send(seen.id, flags=1)
    fd = worker.answer().ret
    assert worker.fds()[fd] == "/etc/passwd"


@scenario("C3", "I4")
def a_continued_sleep(stage: Stage) -> None:
    """Stopped and continued, pause comes back as itself, and nanosleep as restart_syscall."""
    worker, listener = stage.supervised("nanosleep", "restart_syscall")
    span = worker.text((1000).to_bytes(8, "little") + bytes(8))
    worker.call("nanosleep", span, 0)
    listener.send(listener.receive().id, flags=1)
    worker.becomes("S")
    worker.kill(19)
    worker.becomes("T")
    worker.kill(18)
    seen = listener.receive()
    assert seen.nr == stage.nr("restart_syscall")
    listener.send(seen.id, 4)
    assert worker.answer() == Answer(4)


@scenario("C4", "N13")
def execve_can_be_continued(stage: Stage) -> None:
    """The new program runs under the same filter, and has no listener."""
    worker, listener = stage.supervised("execve")
    child = worker.fork()
    path = child.program()
    child.call("execve", path, 0, 0)
    listener.send(listener.receive().id, flags=1)
    if not stage.real:
        child.exit()
    assert child.ended() == 0


# -- E ---------------------------------------------------------------------------------


@scenario("E1", "E2", "N10")
def both_bits(stage: Stage) -> None:
    """One that is received and one that is not: IN and OUT."""
    worker, listener = stage.supervised("getppid")
    for name in ("a", "b"):
        worker.thread(name)
        worker.call("getppid", thread=name)
        worker.waiting(name)
    first = listener.receive()
    assert listener.poll() == {"IN", "OUT"}
    second = listener.receive()
    assert listener.poll() == {"OUT"}
    listener.send(first.id)
    worker.answer(thread="a")
    assert listener.poll() == {"OUT"}
    listener.send(second.id)
    worker.answer(thread="b")
    assert listener.poll() == set()


@scenario("E3", "E4", "E6")
def hangup_of_a_zombie(stage: Stage) -> None:
    """HUP comes at the exit of the last user, though nobody has waited for it."""
    worker, listener = stage.supervised("getppid")
    assert listener.poll() == set()
    worker.exit(3)
    listener.until("HUP")
    assert listener.recv() == "ENOENT"
    assert listener.send(1) == "ENOENT"
    assert listener.valid(1) == "ENOENT"
    assert worker.ended() == 3


@scenario("E5", "R1")
def a_grandchild_holds_the_hangup_off(stage: Stage) -> None:
    """Whoever inherited the filter is a user, and notifies on the same listener."""
    worker, listener = stage.supervised("getppid")
    child = worker.fork()
    worker.exit()
    worker.ended()
    assert listener.poll() == set()
    child.call("getppid")
    seen = listener.receive()
    assert seen.pid == child.pid
    assert listener.send(seen.id, 2) == ""
    assert child.answer() == Answer(2)
    child.exit()
    listener.until("HUP")


@scenario("E5", "F4")
def a_newer_filter_is_a_user_too(stage: Stage) -> None:
    """A task with a filter on top still uses the older one."""
    worker, listener = stage.supervised("getppid")
    assert worker.install({"getuid": int(Action.ERRNO) | 1}) == 0
    assert worker.filters() == 2
    assert listener.poll() == set()
    worker.call("getppid")
    listener.send(listener.receive().id, 8)
    assert worker.answer() == Answer(8)
    worker.exit()
    listener.until("HUP")


@scenario("E6")
def a_receiver_is_let_go(stage: Stage) -> None:
    """RECV that sleeps ends when the last user exits."""
    worker, listener = stage.supervised("getppid")
    later = listener.recv_later()
    later.sleeps()
    worker.exit()
    assert later.result() == "ENOENT"


@scenario("E7")
def no_hangup_over_what_pends(stage: Stage) -> None:
    """A task that waits is a user; all of its ends show as HUP alone."""
    worker, listener = stage.supervised("getppid")
    child = worker.fork()
    child.call("getppid")
    child.waiting()
    worker.kill(KILL)
    worker.ended()
    assert listener.poll() == {"IN"}
    child.kill(KILL)
    listener.until("HUP")
    assert listener.recv() == "ENOENT"


@scenario("E8")
def edges(stage: Stage) -> None:
    """Edge-triggered poll has one event for all that came since; receiving makes no new one."""
    worker, listener = stage.supervised("getppid")
    assert listener.edges() == 0
    for name in ("a", "b", "c"):
        worker.thread(name)
        worker.call("getppid", thread=name)
        worker.waiting(name)
    assert [listener.edges(), listener.edges()] == [1, 0]
    seen = [listener.receive(), listener.receive()]
    assert listener.edges() == 0
    worker.call("getppid")
    worker.waiting()
    assert listener.edges() == 1
    for one in (*seen, listener.receive(), listener.receive()):
        listener.send(one.id)


@scenario("E9", "N7")
def the_slower_of_two_readers(stage: Stage) -> None:
    """Both see one notification pending; who comes second sleeps in RECV."""
    worker, listener = stage.supervised("getppid")
    copy = listener.copy()
    worker.call("getppid")
    worker.waiting()
    assert listener.poll() == copy.poll() == {"IN"}
    seen = listener.receive()
    later = copy.recv_later()
    later.sleeps()
    listener.send(seen.id)
    worker.answer()
    later.sleeps()
    worker.call("getppid")
    listener.send(later.result().id, 3)
    assert worker.answer() == Answer(3)


# -- R ---------------------------------------------------------------------------------


@scenario("R2")
def several_readers(stage: Stage) -> None:
    """Three sleep in RECV, three calls come: each is delivered once."""
    worker, listener = stage.supervised("getppid")
    readers = [listener.recv_later() for _ in range(3)]
    for reader in readers:
        reader.sleeps()
    for name in ("a", "b", "c"):
        worker.thread(name)
        worker.call("getppid", thread=name)
    seen = [reader.result() for reader in readers]
    assert len({one.id for one in seen}) == 3
    for one in seen:
        assert listener.send(one.id) == ""
    assert listener.poll() <= {"OUT"}


@scenario("R3", "R4", "F6")
def the_last_close(stage: Stage) -> None:
    """A copy keeps the listener; after the last, who waits and who comes later gets ENOSYS."""
    worker, listener = stage.supervised("getppid")
    copy = listener.copy()
    for name in ("received", "unreceived"):
        worker.thread(name)
        worker.call("getppid", thread=name)
        worker.waiting(name)
        if name == "received":
            listener.receive()
    listener.close()
    assert copy.poll() == {"IN", "OUT"}
    copy.close()
    assert worker.answer(thread="received") == Answer(-1, "ENOSYS")
    assert worker.answer(thread="unreceived") == Answer(-1, "ENOSYS")
    worker.call("getppid")
    assert worker.answer() == Answer(-1, "ENOSYS")


@scenario("R3", "N12")
def a_copy_answers(stage: Stage) -> None:
    """What one descriptor has received another one may answer."""
    worker, listener = stage.supervised("getppid")
    copy = listener.copy()
    worker.call("getppid")
    seen = listener.receive()
    listener.close()
    assert copy.valid(seen.id) == ""
    assert copy.send(seen.id, 4) == ""
    assert worker.answer() == Answer(4)


@scenario("R5")
def a_copy_in_the_target(stage: Stage) -> None:
    """A target that kept its own copy is not let go by the supervisor's end."""
    worker = stage.worker()
    fd = worker.install({"getppid": USER}, FilterFlag.NEW_LISTENER)
    assert isinstance(fd, int)
    assert "seccomp notify" in worker.fds()[fd]
    child = worker.fork()
    listener = stage.take(worker, fd)
    child.call("getppid")
    child.waiting()
    listener.close()
    child.waiting()
    assert child.state() == "S"


@scenario("R6")
def closing_wakes_no_reader(stage: Stage) -> None:
    """A reader that sleeps in RECV keeps the listener until something comes."""
    worker, listener = stage.supervised("getppid")
    later = listener.recv_later()
    later.sleeps()
    listener.close()
    later.sleeps()
    worker.call("getppid")
    assert later.result().nr == stage.nr("getppid")
    assert worker.answer() == Answer(-1, "ENOSYS")


@scenario("R8", "F5")
def a_new_listener_after_the_last_close(stage: Stage) -> None:
    """It is allowed then; where the new filter says nothing, the old one is ENOSYS."""
    worker, listener = stage.supervised("getppid", "getuid")
    listener.close()
    fd = worker.install({"getppid": USER, "getgid": USER}, FilterFlag.NEW_LISTENER)
    assert isinstance(fd, int)
    newer = stage.take(worker, fd)
    worker.call("getuid")
    assert worker.answer() == Answer(-1, "ENOSYS")
    worker.call("getppid")
    newer.send(newer.receive().id, 6)
    assert worker.answer() == Answer(6)


@scenario("R9")
def a_filter_is_for_ever(stage: Stage) -> None:
    """Strict mode does not replace it."""
    worker, listener = stage.supervised("getppid")
    assert worker.strict() == "EINVAL"
    listener.close()
    worker.call("getppid")
    assert worker.answer() == Answer(-1, "ENOSYS")
