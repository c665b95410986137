"""Scenarios of filters and chains: F, S; and of numbers: B, P."""

from __future__ import annotations

import itertools
import os

from tests.scenarios.language import Answer, Stage, scenario
from unotify.abi.seccomp import Action, FilterFlag
from unotify.bpf.instructions import Instruction, Op

USER, ERRNO, ALLOW = int(Action.USER_NOTIF), int(Action.ERRNO), int(Action.ALLOW)
NEW, TSYNC, ESRCH = FilterFlag.NEW_LISTENER, FilterFlag.TSYNC, FilterFlag.TSYNC_ESRCH
SYS = 31


@scenario("F1")
def the_strongest_wins(stage: Stage) -> None:
    """Of errno, trace, log and allow the strongest wins in any order; of equals the newest."""
    actions = (ERRNO | 11, int(Action.TRACE), int(Action.LOG), ALLOW)
    for order in (actions, tuple(reversed(actions)), (ALLOW, ERRNO | 11, ALLOW)):
        worker = stage.worker()
        for action in order:
            assert worker.install({"getpgrp": action}) == 0
        worker.call("getpgrp")
        assert worker.answer() == Answer(-1, "EAGAIN")
        worker.call("getppid")
        assert worker.answer().errno == ""
        assert worker.install({"getpgrp": ERRNO | 12}) == 0
        worker.call("getpgrp")
        assert worker.answer() == Answer(-1, "ENOMEM")


@scenario("F1", "F2")
def precedence_in_any_order(stage: Stage) -> None:
    """With all actions at once the strongest wins; without it the next, whichever is older."""
    actions = (
        int(Action.KILL_PROCESS),
        int(Action.KILL_THREAD),
        int(Action.TRAP),
        ERRNO | 11,
        int(Action.TRACE),
        int(Action.LOG),
        ALLOW,
    )
    for first, newest_first in itertools.product(range(len(actions)), (False, True)):
        worker = stage.worker()
        rest = actions[first:]
        for action in rest if newest_first else rest[::-1]:
            assert worker.install({"getpgrp": action}) == 0
        worker.call("getppid")
        assert worker.answer().errno == ""
        worker.call("getpgrp")
        if first < 3:
            assert worker.ended() == -SYS
        else:
            wanted = {3: "EAGAIN", 4: "ENOSYS"}.get(first, "")
            found = worker.answer().errno
            # What getpgrp does where it runs is not the filters' business.
            assert found == wanted or (not wanted and found in ("", "ENOSYS"))


@scenario("F2", "B3")
def kill_by_an_argument(stage: Stage) -> None:
    """A filter that looks at the first argument, or at the sixth, kills for it alone."""
    for position in (0, 5):
        code = (
            Instruction(Op.LD_ABS, 0, 0, 0),
            Instruction(Op.JEQ_K, 0, 3, stage.nr("getpgrp")),
            Instruction(Op.LD_ABS, 0, 0, 16 + 8 * position),
            Instruction(Op.JEQ_K, 0, 1, 0x0C0FFEE),
            Instruction(Op.RET_K, 0, 0, int(Action.KILL_PROCESS)),
            Instruction(Op.RET_K, 0, 0, ALLOW),
        )
        worker = stage.worker()
        assert worker.install(code) == 0
        words = [0] * 6
        worker.call("getpgrp", *words)
        worker.answer()
        words[position] = 0x0C0FFEE
        worker.call("getpgrp", *words)
        assert worker.ended() == -SYS


@scenario("F9", "R9")
def operations_and_modes(stage: Stage) -> None:
    """Unknown operations, strict mode with flags or arguments; no way from filters to it."""
    worker = stage.worker()
    assert worker.mode() == 0
    assert worker.seccomp(-1) == "EINVAL"
    assert worker.seccomp(4) == "EINVAL"
    assert worker.seccomp(0, 1) == "EINVAL"
    assert worker.seccomp(0, 0, bare=False) == "EINVAL"
    assert worker.seccomp(1, 0) == "EFAULT"
    assert worker.seccomp(1, 1 << 31) == "EINVAL"
    assert worker.mode() == 0
    assert worker.install(ALLOW) == 0
    assert worker.mode() == 2
    assert worker.seccomp(0) == "EINVAL"
    assert worker.mode() == 2


@scenario("F9", "I5", "S1")
def flags_that_are_known(stage: Stage) -> None:
    """EFAULT without a program for each known flag, EINVAL for other bits and for all at once."""
    worker = stage.worker()
    for flag in (TSYNC, FilterFlag.LOG, FilterFlag.SPEC_ALLOW, NEW, ESRCH):
        assert worker.seccomp(1, int(flag)) == "EFAULT"
    assert worker.seccomp(1, int(NEW | FilterFlag.WAIT_KILLABLE_RECV)) == "EFAULT"
    for bit in (6, 7, 31):
        assert worker.seccomp(1, 1 << bit) == "EINVAL"
    assert worker.seccomp(1, 0xFFFFFFFF) == "EINVAL"


@scenario("N5", "F9")
def actions_and_sizes(stage: Stage) -> None:
    """All eight actions are there, and nothing between them; the structs have their sizes."""
    worker = stage.worker()
    assert {worker.available(int(action)) for action in Action} == {""}
    assert worker.available(0x10000000) == "ENOTSUP"
    assert worker.sizes() == (80, 24, 64)


@scenario("F1", "F3")
def errno_and_trace(stage: Stage) -> None:
    """ERRNO 0 is a success, more than 4095 is 4095; TRACE without a tracer is ENOSYS."""
    worker = stage.worker()
    rules = {
        "getpgrp": ERRNO,
        "getuid": ERRNO | 5000,
        "getgid": int(Action.TRACE),
        "geteuid": int(Action.LOG),
    }
    assert worker.install(rules) == 0
    found = []
    for name in rules:
        worker.call(name)
        found.append(worker.answer())
    assert found[:3] == [Answer(0), Answer(-1, "4095"), Answer(-1, "ENOSYS")]
    assert found[3].errno == ""


@scenario("F2")
def what_kills(stage: Stage) -> None:
    """KILL, TRAP and what is no action end the process by SIGSYS, also below a notification."""
    kills = (Action.KILL_PROCESS, Action.KILL_THREAD, Action.TRAP, 0x10000000, 0x90000000)
    for action in kills:
        worker = stage.worker()
        assert worker.install({"getppid": int(action)}) == 0
        fd = worker.install({"getppid": USER}, NEW)
        assert isinstance(fd, int)
        listener = stage.take(worker, fd)
        worker.call("getppid")
        ended = worker.ended()
        # A value between the actions loses to USER_NOTIF only if it is greater.
        assert ended == -SYS, hex(action)
        assert listener.poll() == {"HUP"}


@scenario("F2")
def kill_one_thread(stage: Stage) -> None:
    """KILL_THREAD ends the thread alone, KILL_PROCESS all of them."""
    worker = stage.worker()
    assert worker.install({"getppid": int(Action.KILL_THREAD), "getuid": 0x80000000}) == 0
    worker.thread("a")
    worker.call("getppid", thread="a")
    worker.call("getgid")
    assert worker.answer().errno == ""
    worker.thread("b")
    worker.call("getuid", thread="b")
    assert worker.ended() == -SYS


@scenario("F2", "F3")
def notify_in_the_order(stage: Stage) -> None:
    """ERRNO beats a notification, older and newer; it beats TRACE, LOG and ALLOW."""
    for newer, (action, notified) in itertools.product(
        (False, True),
        ((ERRNO | 11, False), (int(Action.TRACE), True), (int(Action.LOG), True), (ALLOW, True)),
    ):
        worker = stage.worker()
        if not newer:
            assert worker.install({"getppid": action}) == 0
        fd = worker.install({"getppid": USER}, NEW)
        assert isinstance(fd, int)
        listener = stage.take(worker, fd)
        if newer:
            assert worker.install({"getppid": action}) == 0
        worker.call("getppid")
        if notified:
            listener.send(listener.receive().id, 3)
        assert worker.answer() == (Answer(3) if notified else Answer(-1, "EAGAIN"))
        assert listener.poll() == set()


@scenario("F2")
def trap_can_be_caught(stage: Stage) -> None:
    """TRAP is a signal; ignored, it kills all the same."""
    worker = stage.worker()
    worker.ignore(SYS)
    assert worker.install({"getppid": int(Action.TRAP)}) == 0
    worker.call("getppid")
    assert worker.ended() == -SYS
    worker = stage.worker()
    worker.handle(SYS, restart=False)
    assert worker.install({"getppid": int(Action.TRAP)}) == 0
    worker.call("getppid")
    worker.answer()
    assert worker.handled() == [SYS]


@scenario("F4", "F7")
def one_listener_in_a_chain(stage: Stage) -> None:
    """A second one is EBUSY, in forked processes too; siblings may have one each."""
    worker, _ = stage.supervised("getppid")
    assert worker.install({"getuid": USER}, NEW) == "EBUSY"
    child = worker.fork()
    assert child.install({"getuid": USER}, NEW) == "EBUSY"
    assert child.install({"getuid": USER}) == 0
    assert worker.filters() == 1
    _, other = stage.supervised("getppid")
    assert other.poll() == set()


@scenario("F5", "F6")
def shadows(stage: Stage) -> None:
    """A newer USER_NOTIF without a listener is ENOSYS, and the older listener hears nothing."""
    worker = stage.worker()
    assert worker.install({"getuid": USER}) == 0
    worker.call("getuid")
    assert worker.answer() == Answer(-1, "ENOSYS")
    fd = worker.install({"getppid": USER, "getgid": USER}, NEW)
    assert isinstance(fd, int)
    listener = stage.take(worker, fd)
    assert worker.install({"getppid": USER}) == 0
    worker.call("getppid")
    assert worker.answer() == Answer(-1, "ENOSYS")
    assert listener.poll() == set()
    worker.call("getgid")
    listener.send(listener.receive().id, 1)
    assert worker.answer() == Answer(1)


@scenario("F8", "N13")
def a_failed_install_leaves_nothing(stage: Stage) -> None:
    """EMFILE without a free descriptor: no filter, no descriptor."""
    worker = stage.worker()
    before = worker.fds()
    worker.limit(len(before))
    assert worker.install({"getppid": USER}, NEW) == "EMFILE"
    assert (worker.filters(), worker.fds()) == (0, before)
    worker.limit(64)
    fd = worker.install({"getppid": USER}, NEW)
    assert fd == min(set(range(64)) - set(before))


@scenario("F9")
def the_order_of_the_checks(stage: Stage) -> None:
    """Flags, program, descriptor, listener, length of the chain."""
    worker = stage.worker()
    assert worker.install(None, 1 << 7) == "EINVAL"
    assert worker.install(None, NEW | FilterFlag.WAIT_KILLABLE_RECV) == "EFAULT"
    assert worker.install(None, 0) == "EFAULT"
    assert worker.repeat(0) == "EINVAL"
    assert worker.repeat(4097) == "EINVAL"
    fd = worker.install({"getppid": USER}, NEW)
    assert isinstance(fd, int)
    stage.take(worker, fd)
    assert worker.repeat(0, NEW) == "EINVAL"
    assert worker.install({"getppid": USER}, NEW) == "EBUSY"
    worker.limit(len(worker.fds()))
    assert worker.install({"getppid": USER}, NEW) == "EMFILE"
    assert worker.repeat(0, NEW) == "EINVAL"
    worker.limit(64)


@scenario("F9")
def the_longest_chain(stage: Stage) -> None:
    """4096 instructions a filter; a chain that grows too long is ENOMEM, and stays as it was."""
    worker = stage.worker()
    count = 0
    while (found := worker.repeat(4096)) == 0:
        count += 1
        assert count < 9
    assert found == "ENOMEM"
    assert worker.filters() == count
    assert worker.install({"getppid": USER}, NEW | 1 << 7) == "EINVAL"


@scenario("F8", "S2", "F9")
def a_long_chain_before_divergence(stage: Stage) -> None:
    """ENOMEM comes before the threads are looked at."""
    worker = stage.worker()
    worker.thread("a")
    assert worker.install({"getuid": ERRNO | 1}, thread="a") == 0
    while worker.repeat(4096) == 0:
        pass
    assert worker.repeat(4096, TSYNC) == "ENOMEM"
    assert worker.install(ALLOW, TSYNC | ESRCH) == "ESRCH"


# -- S ---------------------------------------------------------------------------------


@scenario("S1", "I5")
def flags_that_do_not_go_together(stage: Stage) -> None:
    """TSYNC with NEW_LISTENER wants TSYNC_ESRCH; WAIT_KILLABLE_RECV wants NEW_LISTENER."""
    worker = stage.worker()
    assert worker.install(None, TSYNC | NEW) == "EINVAL"
    assert worker.install(None, TSYNC | NEW | ESRCH) == "EFAULT"
    assert worker.install(None, FilterFlag.WAIT_KILLABLE_RECV) == "EINVAL"
    assert worker.filters() == 0


@scenario("S1", "S4", "R1", root=True)
def all_threads_are_synchronised(stage: Stage) -> None:
    """TSYNC gives all the filter and no_new_privs; all notify on the listener."""
    worker = stage.worker()
    for name in ("a", "b"):
        worker.thread(name)
    worker.set_no_new_privs()
    assert not worker.no_new_privs(thread="a")
    fd = worker.install({"getppid": USER}, NEW | TSYNC | ESRCH)
    assert isinstance(fd, int)
    listener = stage.take(worker, fd)
    for number, name in enumerate(("a", "b", "")):
        assert (worker.filters(thread=name), worker.no_new_privs(thread=name)) == (1, True)
        worker.call("getppid", thread=name)
        listener.send(listener.receive().id, number)
        assert worker.answer(thread=name) == Answer(number)


@scenario("S3", "S6", "P9", root=True)
def only_the_caller(stage: Stage) -> None:
    """Without TSYNC threads that are there stay free; later ones inherit, and processes."""
    worker = stage.worker()
    worker.thread("old")
    worker.set_no_new_privs()
    assert worker.install({"getpgrp": ERRNO | 11}) == 0
    worker.thread("new")
    child = worker.fork()
    found = [worker.filters(thread=name) for name in ("old", "", "new")]
    assert (found, child.filters()) == ([0, 1, 1], 1)
    privileges = [worker.no_new_privs(thread=name) for name in ("old", "", "new")]
    assert (privileges, child.no_new_privs()) == ([False, True, True], True)


@scenario("S2", "F8")
def divergence(stage: Stage) -> None:
    """A thread with a filter of its own stops TSYNC: its id, or ESRCH; it dies, and all is well."""
    worker = stage.worker()
    tid = worker.thread("a")
    worker.thread("b")
    assert worker.install({"getpgrp": ERRNO | 11}, thread="a") == 0
    assert worker.install({"getpgrp": ERRNO | 12}, TSYNC) == tid
    assert worker.install({"getpgrp": ERRNO | 12}, TSYNC | ESRCH) == "ESRCH"
    before = worker.fds()
    assert worker.install({"getppid": USER}, TSYNC | ESRCH | NEW) == "ESRCH"
    assert worker.fds() == before
    assert [worker.filters(thread=name) for name in ("", "a", "b")] == [0, 1, 0]
    worker.end_thread("a")
    assert worker.install({"getpgrp": ERRNO | 12}, TSYNC) == 0
    assert [worker.filters(thread=name) for name in ("", "b")] == [1, 1]


@scenario("E3", "E5", "R1")
def hangup_after_threads_and_processes(stage: Stage) -> None:
    """HUP comes when the last thread of the last process with the filter has gone."""
    worker, listener = stage.supervised("getppid")
    worker.thread("a")
    child = worker.fork()
    worker.end_thread("a")
    assert listener.poll() == set()
    child.exit()
    assert child.ended() == 0
    assert listener.poll() == set()
    worker.exit()
    listener.until("HUP")


@scenario("S2", "S3")
def synchronise_before_anybody_differs(stage: Stage) -> None:
    """A thread that has a filter of its own may synchronise the others, if they have none."""
    worker = stage.worker()
    worker.thread("a")
    assert worker.install({"getpgrp": ERRNO | 11}) == 0
    assert worker.install({"getuid": ERRNO | 12}, TSYNC) == 0
    assert [worker.filters(thread=name) for name in ("", "a")] == [2, 2]


@scenario("S2")
def a_common_ancestor(stage: Stage) -> None:
    """A filter that all have already is no divergence."""
    worker = stage.worker()
    assert worker.install({"getpgrp": ERRNO | 11}) == 0
    worker.thread("a")
    assert worker.install({"getuid": ERRNO | 12}, TSYNC) == 0
    assert [worker.filters(thread=name) for name in ("", "a")] == [2, 2]


@scenario("S5", root=True)
def privilege(stage: Stage) -> None:
    """An ordinary user needs no_new_privs, else EACCES; that comes after EFAULT and length."""
    worker = stage.worker()
    worker.drop()
    assert worker.install(None) == "EFAULT"
    assert worker.repeat(0) == "EINVAL"
    assert worker.install(ALLOW) == "EACCES"
    worker.set_no_new_privs()
    assert worker.install(ALLOW) == 0


@scenario("F9", "R9")
def strict_mode(stage: Stage) -> None:
    """Strict mode ends whoever calls anything but read, write, exit and sigreturn."""
    worker = stage.worker()
    worker.strict("getppid")
    assert worker.ended() == -9
    worker = stage.worker()
    assert worker.install(ALLOW) == 0
    assert worker.strict() == "EINVAL"


# -- B, P ------------------------------------------------------------------------------


@scenario("B1", "B4", "V6")
def numbers_that_are_no_calls(stage: Stage) -> None:
    """-1, unknown ones and those of x32 arrive, and are answered."""
    worker = stage.worker()
    code = (
        Instruction(Op.LD_ABS, 0, 0, 0),
        Instruction(Op.JGE_K, 0, 1, 9999),
        Instruction(Op.RET_K, 0, 0, USER),
        Instruction(Op.RET_K, 0, 0, ALLOW),
    )
    fd = worker.install(code, NEW)
    assert isinstance(fd, int)
    listener = stage.take(worker, fd)
    for number in (-1, -101, 9999, 0x40000000 | stage.nr("getppid")):
        worker.call(number, 7)
        seen = listener.receive()
        assert (seen.nr, seen.arch) == (number, stage.audit())
        assert listener.send(seen.id, 3) == ""
        assert worker.answer() == Answer(3)
        worker.call(number, 7)
        assert listener.send(listener.receive().id, flags=1) == ""
        if number < 0x40000000:
            assert worker.answer() == Answer(-1, "ENOSYS")
        else:
            worker.answer()
    assert worker.install((Instruction(Op.LD_ABS, 0, 0, 64), *code[1:])) == "EINVAL"
    assert worker.install(code[:1]) == "EINVAL"


@scenario("B2", "B3")
def the_other_abi(stage: Stage) -> None:
    """Int 0x80 shows i386's numbers, and registers that are not cut."""
    worker, listener = stage.supervised("umask")
    worker.call("umask", 0x1FFFFFFFF, compat=True)
    seen = listener.receive()
    assert (seen.arch, seen.nr) == (stage.audit(compat=True), stage.nr("umask", compat=True))
    assert seen.args[0] == 0x1FFFFFFFF
    listener.send(seen.id, 3)
    assert worker.answer() == Answer(3)


@scenario("P1", "R1")
def the_id_is_the_thread_s(stage: Stage) -> None:
    """A notification has the id of the thread."""
    worker, listener = stage.supervised("getppid")
    tid = worker.thread("a")
    worker.call("getppid", thread="a")
    seen = listener.receive()
    assert seen.pid == tid
    assert tid != worker.pid
    listener.send(seen.id)
    worker.answer(thread="a")
    worker.call("getppid")
    seen = listener.receive()
    assert seen.pid == worker.pid
    listener.send(seen.id, flags=1)
    if stage.real:
        assert worker.answer() == Answer(os.getpid())


@scenario("P6")
def pidfds_of_threads(stage: Stage) -> None:
    """Of a thread that leads no process pidfd_open wants PIDFD_THREAD."""
    worker = stage.worker()
    tid = worker.thread("a")
    assert stage.open_pidfd(worker.pid) == ""
    assert stage.open_pidfd(tid) == "ENOENT"
    assert stage.open_pidfd(tid, os.O_EXCL) == ""
    assert stage.open_pidfd(worker.pid, 1) == "EINVAL"
    worker.end_thread("a")
    assert stage.open_pidfd(tid, os.O_EXCL) == "ESRCH"


@scenario("P4", "P2")
def a_target_in_a_namespace_of_its_own(stage: Stage) -> None:
    """Its id is the one that the supervisor's namespace has for it."""
    worker, listener = stage.supervised("getppid")
    worker.unshare_pids()
    child = worker.fork()
    child.call("getpid")
    assert child.answer() == Answer(1)
    child.call("getppid")
    seen = listener.receive()
    assert seen.pid == child.global_pid()
    assert seen.pid > 1
    listener.send(seen.id, 2)
    assert child.answer() == Answer(2)
    worker.call("getppid")
    seen = listener.receive()
    assert seen.pid == worker.pid
    listener.send(seen.id)


@scenario("P5", "C4")
def exec_by_another_thread(stage: Stage) -> None:
    """It is notified under its own id, and has the process's afterwards; the others are gone."""
    worker, listener = stage.supervised("execve", "getppid")
    path = worker.program()
    worker.thread("b")
    tid = worker.thread("a")
    worker.call("getppid", thread="b")
    waiting = listener.receive()
    worker.call("execve", path, 0, 0, thread="a")
    seen = listener.receive()
    assert seen.pid == tid
    assert listener.send(seen.id, flags=1) == ""
    if not stage.real:
        worker.exit()
    assert worker.ended() == 0
    assert listener.valid(waiting.id) == "ENOENT"
    listener.until("HUP")
