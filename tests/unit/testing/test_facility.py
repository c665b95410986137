"""What scenarios cannot show on a running kernel: races in slow motion, and other versions."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from itertools import pairwise

import pytest

from tests.scenarios.language import Answer, Seen
from tests.scenarios.simulated import SimulatedStage
from tests.scenarios.simulated_listener import SimulatedListener
from tests.scenarios.simulated_words import code_of
from tests.scenarios.simulated_worker import SimulatedWorker
from unotify.abi.seccomp import Action, FilterFlag
from unotify.bpf.instructions import Instruction
from unotify.testing.facility import (
    credentials,
    descriptors,
    entering,
    giving,
    installing,
    listening,
    memory,
    noting,
    signals,
    stepping,
    tasks,
    tracing,
)
from unotify.testing.facility.state import CallData, World
from unotify.testing.facility.traits import VERSIONS, Trait, features_of, traits_of

USER, NEW = int(Action.USER_NOTIF), FilterFlag.NEW_LISTENER
KILLABLE = FilterFlag.WAIT_KILLABLE_RECV


def on(version: str) -> SimulatedStage:
    """A kernel of that version."""
    return SimulatedStage(VERSIONS[version])


def received(stage: SimulatedStage) -> tuple[SimulatedWorker, SimulatedListener, Seen]:
    """A target that waits, received."""
    worker, listener = stage.supervised("getppid")
    worker.call("getppid")
    return worker, listener, listener.receive()


# -- descriptors in slow motion ---------------------------------------------------------


def test_a_gift_for_the_dying() -> None:
    """A12: the target dies while ADDFD is queued: ESRCH."""
    stage = SimulatedStage()
    worker, listener, seen = received(stage)
    task = stage.helper()
    signals.send_signal(stage.world, worker.process, signals.SIGKILL)
    # It has woken for the signal, and has not got the lock yet.
    stepping.advance(stage.world, worker.pid)
    giving.begin_give(stage.world, task, listener.fd, seen.id, stage.source)
    stage.settle()
    assert task.result == -errno.ESRCH


def test_one_answer_among_gifts() -> None:
    """A11: ADDFD_FLAG_SEND while another ADDFD is queued is EBUSY; a plain one is not."""
    stage = SimulatedStage()
    _, listener, seen = received(stage)
    first, second, third = stage.helper(), stage.helper(), stage.helper()
    for task, flags in ((first, 0), (second, 2), (third, 0)):
        giving.begin_give(stage.world, task, listener.fd, seen.id, stage.source, flags=flags)
    assert second.result == -errno.EBUSY
    stage.settle()
    # The last that came is the first that is taken.
    assert (first.result, third.result) == (2, 1)


@pytest.mark.parametrize("flags", [0, 2])
@pytest.mark.parametrize("version", ["6.18", "next"])
def test_an_interrupted_supervisor(version: str, flags: int) -> None:
    """A13, A14: nothing is installed; the one-step form leaves a false 0, unless it is cured."""
    stage = on(version)
    worker, listener, seen = received(stage)
    before = worker.fds()
    task = stage.helper()
    signals.set_action(stage.world.process_of(task), signals.SIGUSR1, "handle")
    giving.begin_give(stage.world, task, listener.fd, seen.id, stage.source, flags=flags)
    signals.send_signal(stage.world, stage.world.process_of(task), signals.SIGUSR1, tid=task.tid)
    stepping.advance(stage.world, task.tid)
    assert task.result == -errno.EINTR
    stage.settle()
    assert worker.fds() == before
    if flags and version == "6.18":
        assert worker.answer() == Answer(0)
    else:
        assert listener.send(seen.id, 7) == ""
        assert worker.answer() == Answer(7)


def test_an_interrupted_receiver() -> None:
    """I12: RECV is EINTR, and has consumed nothing."""
    stage = SimulatedStage()
    worker, listener = stage.supervised("getppid")
    later = listener.recv_later()
    process = stage.world.process_of(later.task)
    signals.set_action(process, signals.SIGUSR1, "handle")
    signals.send_signal(stage.world, process, signals.SIGUSR1, tid=later.task.tid)
    assert later.result() == "EINTR"
    worker.call("getppid")
    assert isinstance(listener.receive(), Seen)


def test_a_reply_to_one_who_has_woken() -> None:
    """I1: between the signal and the lock SEND succeeds, and the call comes again all the same."""
    stage = SimulatedStage()
    worker, listener, seen = received(stage)
    worker_process = worker.process
    signals.set_action(worker_process, signals.SIGUSR1, "restart")
    signals.send_signal(stage.world, worker_process, signals.SIGUSR1)
    stepping.advance(stage.world, worker.pid)
    assert listening.send(stage.world, stage.supervisor, listener.fd, seen.id, 7) == 0
    stage.settle()
    again = listener.receive()
    assert (again.id - seen.id) % 2**64 == 1


@pytest.mark.parametrize("disturbed", [False, True])
def test_a_freezer(disturbed: bool) -> None:
    """I4: a wake-up without a signal makes the call come again; not under WAIT_KILLABLE_RECV."""
    stage = SimulatedStage()
    worker, listener = stage.supervised("getppid", flags=0 if disturbed else KILLABLE)
    worker.call("getppid")
    seen = listener.receive()
    signals.disturb(worker.task())
    stage.settle()
    assert listener.valid(seen.id) == ("ENOENT" if disturbed else "")
    assert listener.poll() == ({"IN"} if disturbed else {"OUT"})


def test_a_blocked_signal_waits() -> None:
    """I3: what is blocked disturbs nobody, and is kept."""
    stage = SimulatedStage()
    worker, listener, seen = received(stage)
    task = worker.task()
    task.blocked = frozenset({signals.SIGUSR1})
    worker.handle(signals.SIGUSR1, restart=False)
    worker.kill(signals.SIGUSR1)
    assert listener.valid(seen.id) == ""
    task.blocked = frozenset()
    stage.settle()
    assert worker.answer() == Answer(-1, "EINTR")


# -- namespaces and tables ---------------------------------------------------------------


def test_a_supervisor_in_another_namespace() -> None:
    """P3: who is not visible has the id 0, and is answered all the same."""
    stage = SimulatedStage()
    worker, listener = stage.supervised("getppid")
    tasks.new_space(stage.world, stage.supervisor)
    inner = tasks.fork(stage.world, stage.supervisor)
    worker.call("getppid")
    listening.begin_receive(stage.world, inner, listener.fd)
    assert inner.received is not None
    assert inner.received[1] == 0
    assert listening.send(stage.world, inner, listener.fd, inner.received[0], 3) == 0
    assert worker.answer() == Answer(3)


def test_unshare_without_a_fork_changes_nothing() -> None:
    """P2: the namespace of the caller of RECV is the one it is in, not that of its next child."""
    stage = SimulatedStage()
    worker, listener = stage.supervised("getppid")
    tasks.new_space(stage.world, stage.supervisor)
    worker.call("getppid")
    assert listener.receive().pid == worker.pid


def test_a_number_after_exec() -> None:
    """P5: a thread that executes a program has the process's number; the others are gone."""
    stage = SimulatedStage()
    worker, listener = stage.supervised("getppid", "execve")
    path = worker.program()
    worker.thread("a")
    worker.call("execve", path, thread="a")
    listener.send(listener.receive().id, flags=1)
    assert [task.tid for task in stage.world.threads(worker.pid)] == [worker.pid]
    worker.call("getppid")
    assert listener.receive().pid == worker.pid


def test_a_table_of_one_thread() -> None:
    """P7: a thread that has unshared its table has other descriptors than its process."""
    stage = SimulatedStage()
    worker, listener = stage.supervised("getppid")
    worker.thread("a")
    tasks.unshare_files(stage.world, worker.task("a"))
    worker.call("getppid", thread="a")
    fd = listener.addfd(listener.receive().id)
    assert isinstance(fd, int)
    assert descriptors.file_at(stage.world, worker.task("a"), fd) is not None
    assert descriptors.file_at(stage.world, worker.task(), fd) is None


def test_a_helper_that_inherited_the_listener() -> None:
    """R7: a forked copy keeps targets waiting though the supervisor has ended."""
    stage = SimulatedStage()
    worker, _, _ = received(stage)
    tasks.fork(stage.world, stage.supervisor)
    tasks.end_process(stage.world, stage.world.process_of(stage.supervisor), 0)
    stage.settle()
    worker.waiting()


def test_a_message_holds_what_it_carries() -> None:
    """R3: a listener that is under way between processes is open; with the socket it ends."""
    stage = SimulatedStage()
    world, task = stage.world, stage.supervisor
    worker, listener, _ = received(stage)
    left, right = descriptors.socketpair(world, task)
    assert descriptors.pass_on(world, task, left, listener.fd) == 0
    descriptors.close(world, task, listener.fd)
    stage.settle()
    worker.waiting()
    fd = descriptors.take_in(world, task, right)
    assert listening.poll(world, task, fd) == listening.OUT
    descriptors.pass_on(world, task, left, fd)
    descriptors.close(world, task, fd)
    descriptors.close(world, task, right)
    assert worker.answer() == Answer(-1, "ENOSYS")


# -- what no filter sees, and what is logged ---------------------------------------------


def test_calls_that_pass_by() -> None:
    """B7, B9: what the vDSO or a ring does is not seen."""
    stage = SimulatedStage()
    worker, listener = stage.supervised("getppid")
    call = CallData(stage.nr("getppid"), stage.audit())
    entering.enter_unseen(stage.world, worker.task(), call)
    assert worker.answer() == Answer(stage.supervisor.tid)
    assert listener.poll() == set()


def test_a_length_in_two_halves() -> None:
    """B6, B3: the upper halves of both registers are nothing to a 32-bit call."""
    stage = SimulatedStage()
    worker = stage.worker()
    fd = worker.open("/etc/hostname")
    worker.call("ftruncate64", fd, 3 | 1 << 40, 1 << 50, compat=True)
    assert worker.answer() == Answer(0)
    file = descriptors.file_at(stage.world, worker.task(), fd)
    assert file is not None
    assert stage.world.inodes[file.inode].data == b"her"
    worker.call("ftruncate64", fd, 3, 1, compat=True)
    assert worker.answer() == Answer(-1, "EFBIG")


def test_a_tracer_comes_first() -> None:
    """B10: what a tracer has put into the registers is what the filter and the supervisor see."""
    stage = SimulatedStage()
    worker, listener = stage.supervised("getppid")
    assert tracing.attach(stage.world, stage.supervisor, worker.task(), tracing.ENTRIES) == 0
    worker.call("getuid")
    assert worker.state() == "t"
    call = CallData(stage.nr("getppid"), stage.audit(), (9, 0, 0, 0, 0, 0))
    entering.resume(stage.world, worker.task(), call)
    seen = listener.receive()
    assert (seen.nr, seen.args[0]) == (stage.nr("getppid"), 9)


def test_the_vsyscall_page() -> None:
    """B8: where a call was made is seen: the page has an address of its own."""
    stage = SimulatedStage()
    worker, listener = stage.supervised("time")
    call = CallData(stage.nr("time"), stage.audit(), ip=0xFFFFFFFFFF600400)
    entering.enter(stage.world, worker.task(), call)
    seen = listener.receive()
    assert (seen.nr, seen.ip) == (201, 0xFFFFFFFFFF600400)


@pytest.mark.parametrize(("version", "found"), [("6.6", "EINVAL"), ("6.9", "ENOENT")])
def test_pidfds_of_threads_by_version(version: str, found: str) -> None:
    """P6: PIDFD_THREAD came with 6.9."""
    stage = on(version)
    tid = stage.worker().thread("a")
    assert stage.open_pidfd(tid) == found
    assert stage.open_pidfd(tid, 0o200) == ("" if version == "6.9" else "EINVAL")


@pytest.mark.parametrize(("version", "notified"), [("6.11", True), ("6.18", False)])
def test_trampolines_of_probes(version: str, notified: bool) -> None:
    """Since 6.14 uprobe and uretprobe pass all filters."""
    stage = on(version)
    worker = stage.worker()
    fd = worker.install(USER, NEW)
    assert isinstance(fd, int)
    task = worker.task()
    entering.enter(stage.world, task, CallData(336, stage.audit()))
    assert (noting.note_of(stage.world, task) is not None) == notified


def test_what_is_audited() -> None:
    """C6: with FLAG_LOG a reply is, a CONTINUE is not."""
    stage = SimulatedStage()
    worker, listener = stage.supervised("getppid", flags=FilterFlag.LOG)
    for flags in (0, 1):
        worker.call("getppid")
        listener.send(listener.receive().id, flags=flags)
    assert stage.world.audit == ((worker.pid, stage.nr("getppid"), USER),)
    quiet, other = stage.supervised("getppid")
    quiet.call("getppid")
    other.send(other.receive().id)
    assert len(stage.world.audit) == 1


def test_actions_and_sizes() -> None:
    """GET_ACTION_AVAIL and GET_NOTIF_SIZES."""
    world = SimulatedStage().world
    assert [installing.available(world, action) for action in (USER, 0x10000000)] == [
        0,
        -errno.EOPNOTSUPP,
    ]
    assert installing.sizes(world) == (80, 24, 64)


def test_prctl_makes_no_listener() -> None:
    """prctl(2) installs a filter and takes no flags; F6: what it notifies is ENOSYS."""
    stage = SimulatedStage()
    worker = stage.worker()
    code = stage.worker()
    assert code.install({"getppid": USER}) == 0
    program = stage.world.programs[-1]
    assert installing.prctl_filter(stage.world, worker.task(), program) == 0
    worker.call("getppid")
    assert worker.answer() == Answer(-1, "ENOSYS")


def test_strict_mode_takes_no_filter() -> None:
    """Whoever is in strict mode stays in it: EINVAL."""
    stage = SimulatedStage()
    worker = stage.worker()
    assert worker.strict() == ""
    assert worker.install({"getppid": USER}) == "EINVAL"


def test_memory() -> None:
    """M1, M5: reading stops at what is not readable; a string without an end is refused."""
    stage = SimulatedStage()
    worker = stage.worker()
    pages = stage.world.memory_of(worker.task())
    address = memory.put(pages, b"x" * 4096)
    assert memory.vm_read(pages, address + 4090, 10) == b"x" * 6
    assert memory.read_text(pages, address, 4096) == -errno.ENAMETOOLONG
    assert memory.read_text(pages, address, 8192) == -errno.EFAULT
    text = memory.put(pages, b"abc\0")
    assert memory.read_text(pages, text, 10) == b"abc"
    assert memory.vm_write(pages, text, b"d") == 1
    memory.protect(pages, text, memory.READ)
    assert memory.vm_write(pages, text, b"e") == -errno.EFAULT
    memory.protect(pages, text, 0)
    assert memory.vm_read(pages, text, 3) == b""


# -- versions ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "send", "dirty", "valid"),
    [("5.0", "EINVAL", "", "EINVAL"), ("5.5", "", "EINVAL", "EINVAL"), ("5.8", "", "EINVAL", "")],
)
def test_the_first_ioctls(version: str, send: str, dirty: str, valid: str) -> None:
    """C5, N5: CONTINUE and clean buffers came with 5.5, the right number of ID_VALID with 5.8."""
    stage = on(version)
    worker, listener = stage.supervised("getppid")
    worker.call("getppid")
    found = listener.recv("dirty")
    assert ("" if isinstance(found, Seen) else found) == dirty
    seen = found if isinstance(found, Seen) else listener.receive()
    assert listener.valid(seen.id) == valid
    assert listener.valid(seen.id, old=True) == ""
    assert listener.send(seen.id, flags=1) == send


@pytest.mark.parametrize(
    ("version", "plain", "at_once"),
    [("5.8", "EINVAL", "EINVAL"), ("5.9", "", "EINVAL"), ("5.14", "", "")],
)
def test_the_first_descriptors(version: str, plain: str, at_once: str) -> None:
    """ADDFD came with 5.9, its one-step form with 5.14."""
    stage = on(version)
    _, listener, seen = received(stage)
    assert listener.other(0x40182103) in (("EINVAL",) if plain else ("ENOENT", "EBADF"))
    if not plain:
        assert isinstance(listener.addfd(seen.id), int)
        found = listener.addfd(seen.id, flags=2)
        assert ("" if isinstance(found, int) else found) == at_once


@pytest.mark.parametrize(
    ("version", "zombie", "reaped"),
    [("5.8", set(), set()), ("5.9", set(), {"HUP"}), ("6.11", {"HUP"}, {"HUP"})],
)
def test_the_hangup(version: str, zombie: set[str], reaped: set[str]) -> None:
    """E4: none before 5.9, at the reaping before 6.11, at exit since."""
    stage = on(version)
    worker, listener = stage.supervised("getppid")
    worker.exit()
    assert listener.poll() == zombie
    worker.ended()
    assert listener.poll() == reaped


@pytest.mark.parametrize(("version", "ends"), [("6.6", False), ("6.11", True)])
def test_the_end_of_receiving(version: str, ends: bool) -> None:
    """E6: before 6.11 RECV sleeps for ever where nobody is left."""
    stage = on(version)
    worker, listener = stage.supervised("getppid")
    later = listener.recv_later()
    worker.exit()
    worker.ended()
    stage.settle()
    assert (not later.task.doing) == ends


@pytest.mark.parametrize(
    ("flag", "version"),
    [(FilterFlag.TSYNC_ESRCH, "5.7"), (KILLABLE | NEW, "5.19"), (FilterFlag.LOG, "5.0")],
)
def test_flags_by_version(flag: FilterFlag, version: str) -> None:
    """EFAULT for a known flag, EINVAL before the version that brought it."""
    for one in VERSIONS:
        known = list(VERSIONS).index(one) >= list(VERSIONS).index(version)
        assert on(one).worker().install(None, flag) == ("EFAULT" if known else "EINVAL")


@pytest.mark.parametrize(("version", "found"), [("5.19", "EINVAL"), ("6.6", "")])
def test_listener_flags_by_version(version: str, found: str) -> None:
    """W3: SET_FLAGS came with 6.6."""
    stage = on(version)
    _, listener = stage.supervised("getppid")
    assert listener.set_flags(1) == found
    assert listener.other(0x40082104) == found


def test_a_version_is_a_set_that_grows() -> None:
    """Each version has all that the one before had, and its probe finds it again."""
    sets = list(VERSIONS.values())
    assert all(older < newer for older, newer in pairwise(sets))
    assert sets[-1] == frozenset(Trait)
    unseen = {Trait.SEND_RESTORED, Trait.FAST_REPLY, Trait.UPROBE_UNSEEN}
    for traits in sets:
        assert traits_of(features_of(traits)) - unseen == traits - unseen


def test_ids_wrap_around() -> None:
    """N4: ids are 64 bits wide."""
    stage = SimulatedStage()
    stage.world.first_id = (1 << 64) - 1
    worker, listener = stage.supervised("getppid")
    ids = []
    for _ in range(2):
        worker.call("getppid")
        ids.append(listener.receive().id)
        listener.send(ids[-1])
    assert ids == [(1 << 64) - 1, 0]


def test_a_world_can_be_kept() -> None:
    """A frozen world thaws to one that goes on as the first would have; the first is unchanged."""
    stage = SimulatedStage()
    worker, listener, seen = received(stage)
    kept = stage.world.freeze()
    listener.send(seen.id, 5)
    assert worker.answer() == Answer(5)
    other: World = stage.world.thaw(kept)
    assert other.freeze() == kept
    assert listening.send(other, other.tasks[1], listener.fd, seen.id, 6) == 0
    stepping.settle(other)
    assert other.tasks[worker.pid].result == 6
    assert worker.answer() == Answer(5)


# -- what a supervisor's own signals do, and the lock of a listener ------------------------------


@pytest.mark.parametrize(("version", "found"), [("6.18", -errno.EINPROGRESS), ("next", None)])
def test_an_interrupted_answer_that_is_made_again(version: str, found: int | None) -> None:
    """A14: ADDFD_FLAG_SEND under SA_RESTART finds its own reply; where it is cured it waits on."""
    stage = on(version)
    worker, listener, seen = received(stage)
    supervisor = stage.worker()
    supervisor.handle(signals.SIGUSR1, restart=True)
    held = supervisor.holds(listener)
    giving.begin_give(stage.world, supervisor.task(), held.fd, seen.id, 0, flags=2)
    signals.send_signal(stage.world, supervisor.process, signals.SIGUSR1)
    stepping.advance(stage.world, supervisor.pid)
    assert supervisor.task().result == found
    assert supervisor.handled() == [signals.SIGUSR1]
    assert worker.answer().ret == (0 if found else supervisor.task().result)


@pytest.mark.parametrize(("version", "found"), [("6.6", ""), ("5.19", "EINTR")])
def test_a_receiver_that_is_made_again(version: str, found: str) -> None:
    """I12: RECV goes on after a handler with SA_RESTART since 6.6; before that it is EINTR."""
    stage = on(version)
    _, listener = stage.supervised("getppid")
    reader = stage.worker()
    reader.handle(signals.SIGUSR1, restart=True)
    later = reader.holds(listener).recv_later()
    reader.kill(signals.SIGUSR1)
    assert bool(reader.task().doing) is not bool(found)
    assert found == "" or later.result() == found


def test_the_lock_of_a_listener() -> None:
    """E10, I12: whoever has a signal does not wait for it: POLLERR, and EINTR of each ioctl."""
    stage = SimulatedStage()
    _, listener, seen = received(stage)
    world, task = stage.world, stage.supervisor
    filter = next(iter(world.filters.values()))
    signals.set_action(world.process_of(task), signals.SIGUSR1, "handle")
    for busy, signal, disturbed in ((True, False, False), (False, True, False), (True, True, True)):
        filter.busy, task.pending = busy, (signals.SIGUSR1,) if signal else ()
        wanted = -errno.EINTR if disturbed else 0
        poll = listening.ERR if disturbed else listening.OUT
        assert listening.poll(world, task, listener.fd) == poll
        assert listening.is_valid(world, task, listener.fd, seen.id) == wanted
        assert listening.set_flags(world, task, listener.fd, 0) == wanted
        giving.begin_give(world, task, listener.fd, seen.id, stage.source, flags=4)
        assert task.result == -errno.EINVAL
        giving.begin_give(world, task, listener.fd, seen.id ^ 1, stage.source)
        assert task.result == (wanted or -errno.ENOENT)
        assert listening.send(world, task, listener.fd, seen.id, flags=4) == -errno.EINVAL
        assert listening.send(world, task, listener.fd, seen.id ^ 1) == (wanted or -errno.ENOENT)


@pytest.mark.parametrize(("version", "found"), [("6.11", 0), ("6.9", -errno.ESRCH)])
def test_a_leader_that_is_dead(version: str, found: int) -> None:
    """S2: a dead leader's own filter stops TSYNC before 6.11, for it has it still."""
    stage = on(version)
    worker = stage.worker()
    worker.thread("a")
    worker.install({"getuid": int(Action.ERRNO)})
    worker.leave("a")
    flags = int(FilterFlag.TSYNC | FilterFlag.TSYNC_ESRCH)
    assert installing.add_filter(stage.world, worker.task(), program(), flags) == found


def program() -> Sequence[Instruction]:
    """A filter that allows all."""
    found = code_of(int(Action.ALLOW))
    assert found is not None
    return found


def test_capabilities_and_user_namespaces() -> None:
    """S5, M3: who made a user namespace has all in it, and in those below; nothing above."""
    stage = SimulatedStage()
    world = stage.world
    maker, inside = stage.worker(), stage.worker()
    maker.drop()
    child = maker.fork()
    child.unshare_users()
    space = child.task().user_space
    assert credentials.capable(world, maker.task(), space)
    assert credentials.capable(world, child.task(), space)
    assert credentials.capable(world, inside.task(), space)
    assert not credentials.capable(world, child.task(), 0)
    inside.unshare_users()
    assert not credentials.capable(world, inside.task(), space)


def test_what_a_tracer_may() -> None:
    """M3, C6: one traces at a time, who may; filters are told to those without any."""
    stage = SimulatedStage()
    world, worker, other = stage.world, stage.worker(), stage.worker()
    stranger = stage.worker()
    stranger.drop()
    assert tracing.attach(world, stranger.task(), worker.task()) == -errno.EPERM
    assert tracing.attach(world, other.task(), worker.task()) == 0
    assert tracing.attach(world, stage.supervisor, worker.task()) == -errno.EPERM
    assert tracing.metadata(world, other.task(), worker.task(), 0) == -errno.EINVAL
    worker.install(int(Action.ALLOW))
    assert tracing.metadata(world, stranger.task(), worker.task(), 0) == -errno.EACCES
    other.install(int(Action.ALLOW))
    assert tracing.metadata(world, other.task(), worker.task(), 0) == -errno.EACCES
