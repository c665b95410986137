"""Scenarios of who supervises: in another namespace, interrupted, as 32-bit code, or dead."""

from __future__ import annotations

from tests.scenarios.language import Answer, Seen, Stage, scenario
from unotify.abi.seccomp import Action, FilterFlag

USER, ERRNO = int(Action.USER_NOTIF), int(Action.ERRNO)
KILL, USR1, ALRM = 9, 10, 14
SEND = 2
KILLABLE = FilterFlag.WAIT_KILLABLE_RECV


# -- where ---------------------------------------------------------------------------------


@scenario("P3", "P2", "N12", root=True)
def a_supervisor_in_a_namespace_beside(stage: Stage) -> None:
    """Target and supervisor in pid namespaces that do not see each other: 0, and answered."""
    places = []
    for _ in range(2):
        parent = stage.worker()
        parent.unshare_pids()
        places.append(parent.fork())
    target, supervisor = places
    fd = target.install({"getppid": USER}, FilterFlag.NEW_LISTENER)
    assert isinstance(fd, int)
    listener = stage.take(target, fd)
    held = supervisor.holds(listener)
    target.call("getppid")
    listener.until("IN")
    seen = held.recv()
    assert isinstance(seen, Seen)
    assert (seen.pid, seen.nr) == (0, stage.nr("getppid"))
    assert held.valid(seen.id) == ""
    assert isinstance(held.addfd(seen.id), int)
    assert held.send(seen.id, 3) == ""
    assert target.answer() == Answer(3)


@scenario("P3", "P2", root=True)
def a_supervisor_in_a_namespace_below(stage: Stage) -> None:
    """A supervisor in a pid namespace below the target's does not see it either; we do."""
    target, listener = stage.supervised("getppid")
    parent = stage.worker()
    parent.unshare_pids()
    held = parent.fork().holds(listener)
    for reader, pid in ((held, 0), (listener, target.pid)):
        target.call("getppid")
        listener.until("IN")
        seen = reader.recv()
        assert isinstance(seen, Seen)
        assert seen.pid == pid
        reader.send(seen.id)
        target.answer()


@scenario("N12", "R3")
def a_reader_that_died(stage: Stage) -> None:
    """What a process has received before it died another one answers."""
    target, listener = stage.supervised("getppid")
    reader = stage.worker()
    held = reader.holds(listener)
    target.call("getppid")
    listener.until("IN")
    seen = held.recv()
    assert isinstance(seen, Seen)
    reader.kill(KILL)
    assert reader.ended() == -KILL
    assert listener.valid(seen.id) == ""
    assert listener.send(seen.id, 4) == ""
    assert target.answer() == Answer(4)


@scenario("R7", "R3", "R4")
def a_helper_holds_the_listener(stage: Stage) -> None:
    """A helper that inherited it keeps targets waiting after the supervisor has died."""
    target, listener = stage.supervised("getppid")
    supervisor = stage.worker()
    supervisor.holds(listener)
    helper = supervisor.fork()
    listener.close()
    target.call("getppid")
    target.waiting()
    supervisor.exit()
    target.waiting()
    helper.kill(KILL)
    assert target.answer() == Answer(-1, "ENOSYS")


@scenario("B5")
def a_32_bit_supervisor(stage: Stage) -> None:
    """RECV, ID_VALID, ADDFD and SEND as 32-bit calls: the same numbers, the same structs."""
    target, listener = stage.supervised("getppid")
    held = stage.worker().holds(listener, compat=True)
    target.call("getppid", 1 << 40)
    listener.until("IN")
    seen = held.recv()
    assert isinstance(seen, Seen)
    assert (seen.pid, seen.args[0]) == (target.pid, 1 << 40)
    assert held.valid(seen.id) == ""
    assert isinstance(held.addfd(seen.id), int)
    assert held.send(seen.id, 1 << 41) == ""
    assert target.answer() == Answer(1 << 41)
    assert held.send(seen.id) == "ENOENT"


@scenario("S7", "S3")
def installing_is_one_s_own_act(stage: Stage) -> None:
    """Neither a parent, nor a child that was there before, gets what a process installs."""
    parent = stage.worker()
    before = parent.fork()
    child = parent.fork()
    assert child.install({"getppid": ERRNO | 1}) == 0
    assert [one.filters() for one in (parent, before, child)] == [0, 0, 1]
    for one in (parent, before):
        one.call("getppid")
        assert one.answer().errno == ""
    child.call("getppid")
    assert child.answer() == Answer(-1, "EPERM")


@scenario("S5", root=True)
def a_user_namespace_suffices(stage: Stage) -> None:
    """Who may not install may after unshare(CLONE_NEWUSER), without no_new_privs."""
    worker = stage.worker()
    worker.drop()
    assert worker.install(int(Action.ALLOW)) == "EACCES"
    worker.unshare_users()
    assert worker.install(int(Action.ALLOW)) == 0
    assert not worker.no_new_privs()


# -- interrupted ---------------------------------------------------------------------------


@scenario("I12", "N7")
def a_reader_with_signals(stage: Stage) -> None:
    """RECV is EINTR where the handler does not restart, and sleeps on where it does."""
    target, listener = stage.supervised("getppid")
    reader = stage.worker()
    held = reader.holds(listener)
    reader.handle(USR1, restart=False)
    later = held.recv_later()
    later.sleeps()
    reader.kill(USR1)
    assert later.result() == "EINTR"
    reader.handle(USR1, restart=True)
    later = held.recv_later()
    later.sleeps()
    reader.kill(USR1)
    later.sleeps()
    target.call("getppid")
    seen = later.result()
    assert seen.nr == stage.nr("getppid")
    held.send(seen.id, 5)
    assert target.answer() == Answer(5)
    assert reader.handled() == [USR1, USR1]


@scenario("A11", root=True)
def one_answer_among_descriptors(stage: Stage) -> None:
    """ADDFD_FLAG_SEND while another ADDFD is queued is EBUSY, and answers nothing."""
    target, listener = stage.supervised("getppid")
    held = stage.worker().holds(listener)
    target.call("getppid")
    seen = listener.receive()
    with stage.starved(target):
        later = held.addfd_later(seen.id)
        later.sleeps()
        busy = listener.addfd(seen.id, flags=SEND)
    number = later.result()
    assert busy == "EBUSY"
    assert isinstance(number, int)
    assert listener.valid(seen.id) == ""
    assert listener.send(seen.id, 6) == ""
    assert target.answer() == Answer(6)
    assert number in target.fds()


@scenario("A13", root=True)
def an_interrupted_descriptor(stage: Stage) -> None:
    """A signal to the supervisor while ADDFD is queued: EINTR, and nothing is installed."""
    target, listener = stage.supervised("getppid")
    supervisor = stage.worker()
    supervisor.handle(USR1, restart=False)
    held = supervisor.holds(listener)
    target.call("getppid")
    seen = listener.receive()
    before = set(target.fds())
    with stage.starved(target):
        later = held.addfd_later(seen.id)
        later.sleeps()
        supervisor.kill(USR1)
        assert later.result() == "EINTR"
    assert set(target.fds()) == before
    number = held.addfd(seen.id)
    assert isinstance(number, int)
    assert held.send(seen.id, number) == ""
    assert target.answer() == Answer(number)
    assert set(target.fds()) - before == {number}


@scenario("A13", "I12", root=True)
def a_restarted_descriptor(stage: Stage) -> None:
    """Under SA_RESTART a plain ADDFD is made again: one descriptor, whatever came in between."""
    target, listener = stage.supervised("getppid")
    supervisor = stage.worker()
    supervisor.handle(USR1, restart=True)
    held = supervisor.holds(listener)
    target.call("getppid")
    seen = listener.receive()
    before = set(target.fds())
    with stage.starved(target):
        later = held.addfd_later(seen.id)
        later.sleeps()
        supervisor.kill(USR1)
        later.sleeps()
    number = later.result()
    assert set(target.fds()) - before == {number}
    assert listener.send(seen.id, number) == ""
    assert target.answer() == Answer(number)
    assert supervisor.handled() == [USR1]


@scenario("A14", root=True)
def an_interrupted_descriptor_and_answer(stage: Stage) -> None:
    """With ADDFD_FLAG_SEND the target is told 0 without anything, or all can be done again."""
    target, listener = stage.supervised("getppid")
    supervisor = stage.worker()
    supervisor.handle(USR1, restart=False)
    held = supervisor.holds(listener)
    target.call("getppid")
    seen = listener.receive()
    before = set(target.fds())
    with stage.starved(target):
        later = held.addfd_later(seen.id, flags=SEND)
        later.sleeps()
        supervisor.kill(USR1)
        assert later.result() == "EINTR"
        restored = listener.valid(seen.id) == ""
    if restored:
        number = held.addfd(seen.id, flags=SEND)
        assert target.answer() == Answer(int(number))
        assert set(target.fds()) - before == {number}
    else:
        assert target.answer() == Answer(0)
        assert set(target.fds()) == before


@scenario("I6", "I5", "A10")
def killable_after_the_reply(stage: Stage) -> None:
    """Under a storm of signals no call that was received is made again: each gets its answer."""
    times = 300
    target, listener = stage.supervised("dup", flags=KILLABLE)
    target.handle(ALRM, restart=True)
    target.repeat_call("dup", 0, times=times, alarm=0.0005)
    for _ in range(times):
        assert isinstance(listener.addfd(listener.receive().id, flags=SEND), int)
    assert target.failures() == []
    assert listener.poll() == set()
    assert target.handled()


# -- one file, seen by two -------------------------------------------------------------------


@scenario("A1", "A3")
def one_description(stage: Stage) -> None:
    """kcmp(2): the target's descriptor and the supervisor's are one open file."""
    target, listener = stage.supervised("getppid")
    target.call("getppid")
    seen = listener.receive()
    number = listener.addfd(seen.id)
    assert isinstance(number, int)
    listener.send(seen.id)
    target.answer()
    assert stage.same_file(target, number)
    assert not stage.same_file(target, target.open("/etc/hostname"))


@scenario("P7")
def a_table_of_one_thread(stage: Stage) -> None:
    """pidfd_getfd of the process sees its leader's table, not that of a thread with its own."""
    target = stage.worker()
    target.thread("a")
    target.unshare_files(thread="a")
    number = target.open("/etc/hostname", thread="a")
    assert stage.take_fd(target, number, thread="a") == "/etc/hostname"
    assert stage.take_fd(target, number, thread="a", whole=True) == "EBADF"
    assert stage.take_fd(target, number) == "EBADF"


# -- TSYNC -----------------------------------------------------------------------------------


@scenario("S2", "S1")
def a_dead_leader_does_not_differ(stage: Stage) -> None:
    """A leader that has ended with a filter of its own stops no TSYNC of those that live."""
    worker = stage.worker()
    worker.set_no_new_privs()
    worker.thread("a")
    worker.thread("b")
    assert worker.install({"getuid": ERRNO | 1}) == 0
    worker.leave("a")
    tsync = FilterFlag.TSYNC | FilterFlag.TSYNC_ESRCH
    # The threads have no_new_privs only if they were started after it was set.
    assert worker.install({"getppid": ERRNO | 2}, tsync) == 0
    worker.call("getppid", thread="b")
    assert worker.answer(thread="b") == Answer(-1, "ENOENT")


@scenario("S2", "S1", "F3")
def who_cannot_install_does_not_differ(stage: Stage) -> None:
    """A filter that fails prctl(2) keeps a thread from installing its own, so all are in step."""
    worker = stage.worker()
    worker.set_no_new_privs()
    worker.thread("a")
    assert worker.install({"prctl": ERRNO | 22}, FilterFlag.TSYNC) == 0
    assert worker.prctl({"getuid": ERRNO | 1}, thread="a") == "EINVAL"
    assert worker.filters(thread="a") == 1
    assert worker.install({"getppid": ERRNO | 2}, FilterFlag.TSYNC) == 0
    worker.call("getppid", thread="a")
    assert worker.answer(thread="a") == Answer(-1, "ENOENT")


@scenario("F9", "F6")
def prctl_has_no_flags(stage: Stage) -> None:
    """A filter that prctl(2) installs counts, and has no listener: what it notifies is ENOSYS."""
    worker = stage.worker()
    worker.set_no_new_privs()
    assert worker.prctl({"getppid": USER}) == ""
    assert (worker.filters(), worker.mode()) == (1, 2)
    worker.call("getppid")
    assert worker.answer() == Answer(-1, "ENOSYS")


@scenario("C6", "F9")
def the_log_flag(stage: Stage) -> None:
    """LOG goes with filters and not with strict mode; what kills kills all the same."""
    worker = stage.worker()
    assert worker.seccomp(0, int(FilterFlag.LOG)) == "EINVAL"
    assert worker.mode() == 0
    assert worker.install(int(Action.ALLOW), FilterFlag.LOG) == 0
    assert worker.install({"getpgrp": int(Action.KILL_PROCESS)}, FilterFlag.LOG) == 0
    worker.call("getppid")
    assert worker.answer().errno == ""
    worker.call("getpgrp")
    assert worker.ended() == -31


@scenario("C6", root=True)
def what_is_audited(stage: Stage) -> None:
    """With LOG an answer leaves a line in the log, a CONTINUE none."""
    worker, listener = stage.supervised("getppid", flags=FilterFlag.LOG)
    stage.audited(worker)
    worker.call("getppid")
    listener.send(listener.receive().id, flags=1)
    worker.answer()
    assert stage.audited(worker) == 0
    # The kernel drops lines where there are many.
    for _ in range(50):
        worker.call("getppid")
        listener.send(listener.receive().id, 4)
        assert worker.answer() == Answer(4)
        if stage.audited(worker):
            return
    raise AssertionError("no answer was logged")


@scenario("W2", "W1")
def waking_on_the_same_processor(stage: Stage) -> None:
    """SYNC_WAKE_UP is a matter of scheduling: what is seen and answered is the same."""
    worker, listener = stage.supervised("getppid")
    histories = []
    for flags in (0, 1, 0):
        assert listener.set_flags(flags) == ""
        worker.call("getppid", 7)
        seen = listener.receive()
        said = [listener.poll(), listener.valid(seen.id), listener.send(seen.id, 9)]
        histories.append((seen._replace(id=0, args=seen.args[:1]), said, worker.answer()))
    assert histories[0] == histories[1] == histories[2]
