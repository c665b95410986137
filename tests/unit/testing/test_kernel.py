"""Supervisors, handlers and policies on the simulated kernel, with threads and without."""

from __future__ import annotations

import errno
import os
import select
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from unotify.abi.arch import Arch
from unotify.abi.features import Feature
from unotify.abi.seccomp import Action, FilterFlag, ListenerFlag
from unotify.bpf import compile_filter
from unotify.bpf.instructions import Instruction, Op, Program
from unotify.errors import AlreadySupervised, BadAddress, KernelError, TargetGone, Unsupported
from unotify.kernel.interface import Ready
from unotify.protocol import Continue, Exchange, Fail, InstallFd, Return
from unotify.supervisor import Supervisor
from unotify.testing import Answer, FakeTarget, SimulatedKernel

USR1, KILL, TERM = 10, 9, 15
GETPPID = 110


@pytest.fixture(name="kernel")
def _kernel() -> SimulatedKernel:
    return SimulatedKernel()


@pytest.fixture(name="supervisor", params=[True, False], ids=["embedded", "threads"])
def _supervisor(request: pytest.FixtureRequest, kernel: SimulatedKernel) -> Iterator[Supervisor]:
    with Supervisor(kernel=kernel, embedded=request.param) as supervisor:
        yield supervisor


def start(supervisor: Supervisor, program: Callable[..., Any], **options: Any) -> Any:
    """Start a program; with an embedded supervisor serve it to its end."""
    process = supervisor.popen(program, **options)
    if supervisor._embedded:
        supervisor.process_pending()
    return process


def notify(*numbers: int) -> Program:
    """A filter that notifies of these calls of x86-64."""
    table = dict.fromkeys(numbers, int(Action.USER_NOTIF))
    return compile_filter({Arch.X86_64: table}, default=Action.ALLOW)


def receive(listener: Any) -> Exchange:
    """Receive one notification."""
    buffer = bytearray(listener.sizes.notif)
    assert listener.receive_into(buffer)
    return Exchange(buffer)


def test_every_kind_of_reply(supervisor: Supervisor) -> None:
    """A program gets values, errnos, its own result and descriptors, as it does on Linux."""
    got: list[Answer] = []
    replies: list[Any] = [
        Return(7),
        Fail(errno.EACCES),
        Continue(),
        InstallFd.of_bytes(b"hello", cloexec=True),
        None,
    ]

    @supervisor.on("getppid")
    def answer(call: Any) -> Any:
        return replies.pop(0)

    def program(me: FakeTarget) -> Iterator[Any]:
        for _ in range(5):
            got.append((yield me.begin("getppid")))
        fd = got[3].value
        got.append(Answer(int(me.content(fd) == b"hello")))
        return 4

    assert start(supervisor, program).wait(10) == 4
    assert got[:3] == [Answer(7), Answer(-1, errno.EACCES), Answer(1)]
    assert got[3:] == [Answer(0), Answer(-1, errno.EPERM), Answer(1)]
    assert supervisor.wait(10)


def test_memory_is_read_from_the_target(supervisor: Supervisor) -> None:
    """Handlers see paths and structs that the program has in memory; bad addresses are EFAULT."""
    seen: list[str] = []

    @supervisor.on("openat")
    def look(call: Any) -> Fail:
        seen.append(str(call.path))
        return Fail(errno.EROFS)

    answers: list[Answer] = []

    def program(me: FakeTarget) -> Iterator[Any]:
        answers.append((yield me.begin("openat", path="/etc/shadow")))
        answers.append((yield me.begin("openat", path=0x4)))

    start(supervisor, program).wait(10)
    assert seen == ["/etc/shadow"]
    assert [one.errno for one in answers] == [errno.EROFS, errno.EFAULT]


def test_who_calls(supervisor: Supervisor) -> None:
    """A handler sees the ids, the name, the program and the descriptors of the target."""
    seen: dict[str, Any] = {}

    @supervisor.on("dup")
    def look(call: Any) -> Return:
        caller = call.caller
        seen.update(
            pid=caller.pid,
            uid=caller.uid,
            gid=caller.gid,
            comm=caller.comm,
            kind=caller.fd_kind(0),
            path=caller.fd_path(0),
            flags=(caller.fd_flags(0), caller.fd_flags(99)),
            cwd=caller.cwd,
            resolved=caller.resolve(b"../x/./y"),
            namespaces=set(caller.namespaces),
            umask=caller.umask,
        )
        return Return(0)

    tids: list[int] = []

    def program(me: FakeTarget) -> Iterator[Any]:
        tids.append(me.tid)
        me.task.uid, me.task.gid, me.task.comm = 1000, 100, "worker"
        yield me.begin("open", path="/etc/hostname")
        yield me.begin("dup", 0)

    start(supervisor, program).wait(10)
    assert seen == {
        "pid": tids[0],
        "uid": 1000,
        "gid": 100,
        "comm": "worker",
        "kind": "file",
        "path": "/etc/hostname",
        "flags": (0, -1),
        "cwd": "/",
        "resolved": "/x/y",
        "namespaces": {"pid"},
        "umask": 0o022,
    }


def test_performing(supervisor: Supervisor, kernel: SimulatedKernel) -> None:
    """What is performed happens to the kernel's files; descriptors come to the target."""

    @supervisor.on("openat", "mkdir", "unlink", "access")
    def perform(call: Any) -> Any:
        return call.perform()

    answers: list[Any] = []

    def program(me: FakeTarget) -> Iterator[Any]:
        opened = yield me.begin("openat", path="/etc/hostname")
        answers.append(me.content(opened.value))
        answers.append((yield me.begin("openat", path="/nowhere")).errno)
        answers.append((yield me.begin("mkdir", "/srv", 0o755)).value)
        answers.append((yield me.begin("mkdir", "/srv", 0o755)).errno)
        answers.append((yield me.begin("unlink", "/etc/hostname")).value)
        answers.append((yield me.begin("access", "/etc/hostname", 0)).errno)

    start(supervisor, program).wait(10)
    assert answers == [b"simulated\n", errno.ENOENT, 0, errno.EEXIST, 0, errno.ENOENT]
    assert "/srv/" in kernel.files
    assert "/etc/hostname" not in kernel.files


def test_a_policy_decides(kernel: SimulatedKernel, tmp_path: Path) -> None:
    """A policy's filter half and its supervisor half both work."""
    policy = tmp_path / "p.toml"
    policy.write_text(
        """
version = 1
default = "allow"
[[rule]]
calls = ["mkdir"]
where = 'under(path, "/tmp")'
do = { return = 5 }
[[rule]]
calls = ["mkdir"]
do = { fail = "EROFS" }
[[rule]]
calls = ["getuid"]
do = { return = 77 }
"""
    )
    answers: list[Answer] = []

    def program(me: FakeTarget) -> Iterator[Any]:
        for path in ("/tmp/a", "/etc/a"):
            answers.append((yield me.begin("mkdir", path, 0)))
        answers.append((yield me.begin("getuid")))

    with Supervisor(kernel=kernel, embedded=True, policy=policy) as supervisor:
        start(supervisor, program).wait(10)
    assert [str(one) for one in answers] == ["5", "-1 EROFS", "77"]


def test_a_signal_in_a_handler(supervisor: Supervisor) -> None:
    """A call that was interrupted comes again, and the answer to the first has no taker."""
    seen: list[int] = []

    @supervisor.on("getppid")
    def answer(call: Any) -> Return:
        seen.append(call.exchange.id)
        if len(seen) == 1:
            targets[0].kill(USR1)
            assert not call.caller.is_waiting()
        return Return(len(seen))

    targets: list[FakeTarget] = []
    answers: list[Answer] = []

    def program(me: FakeTarget) -> Iterator[Any]:
        targets.append(me)
        me.handle(USR1, restart=True)
        answers.append((yield me.begin("getppid")))

    process = start(supervisor, program, wait_killable=False)
    process.wait(10)
    assert answers == [Answer(2)]
    assert seen[1] == seen[0] + 1
    assert supervisor.statistics().gone == 1


def test_death_in_a_handler(supervisor: Supervisor) -> None:
    """A target that is killed is gone: its memory cannot be read any more."""
    raised: list[type[BaseException]] = []

    @supervisor.on("openat")
    def look(call: Any) -> Fail:
        process[0].kill()
        try:
            _ = call.path
        except TargetGone as gone:
            raised.append(type(gone))
            raise
        return Fail(1)

    process: list[Any] = []
    ready = threading.Event()

    def program(me: FakeTarget) -> Iterator[Any]:
        ready.wait(0)
        yield me.begin("openat", path="/x")

    if supervisor._embedded:
        process.append(supervisor.popen(program))
        supervisor.process_pending()
    else:
        with supervisor.kernel.changed:  # type: ignore[attr-defined]
            process.append(supervisor.popen(program))
    assert process[0].wait(10) == -KILL
    assert supervisor.wait(10)
    assert raised == [TargetGone]


def test_close_answers_with_enosys(kernel: SimulatedKernel) -> None:
    """R4: what is not answered when the supervisor goes is ENOSYS, and what comes later."""
    target, listener = kernel.target(notify(GETPPID))
    target.start("getppid")
    assert target.waiting
    assert target.state == "S"
    listener.close()
    assert target.answer() == Answer(-1, errno.ENOSYS)
    assert target.call("getppid") == Answer(-1, errno.ENOSYS)
    assert (listener.closed, listener.fileno()) == (True, -1)
    with pytest.raises(KernelError, match="Bad file descriptor"):
        listener.pending()
    with pytest.raises(KernelError, match="Bad file descriptor"):
        listener.receive_into(bytearray(80))


def test_a_poller(kernel: SimulatedKernel) -> None:
    """It tells what pends and what is over; its descriptor is readable just then."""
    target, listener = kernel.target(notify(GETPPID))
    poller = kernel.poller()
    poller.add(listener)

    def readable() -> bool:
        return bool(select.select([poller.fileno()], [], [], 0)[0])

    assert list(poller.wait(0)) == []
    assert not readable()
    target.start("getppid")
    assert readable()
    assert list(poller.wait(1)) == [(listener, Ready.PENDING)]
    listener.send(receive(listener).answer(Return(1)))
    assert not readable()
    assert target.answer() == Answer(1)
    target.exit()
    assert list(poller.wait(1)) == [(listener, Ready.HANGUP)]
    poller.remove(listener)
    assert not readable()
    poller.wake()
    assert readable()
    assert list(poller.wait(None)) == []
    poller.close()


def test_threads_that_wait(kernel: SimulatedKernel) -> None:
    """RECV in a thread sleeps until a target calls, and ends when the last one exits."""
    target, listener = kernel.target(notify(GETPPID))
    found: list[bool] = []

    def read() -> None:
        for _ in range(2):
            found.append(listener.receive_into(bytearray(80)))

    reader = threading.Thread(target=read)
    reader.start()
    target.start("getppid")
    target.exit()
    reader.join(10)
    assert found in ([True, False], [False, False])


def test_descriptors_are_real(kernel: SimulatedKernel) -> None:
    """A closed one is EBADF; the target's limit is EMFILE, and a number beyond it EBADF."""
    target, listener = kernel.target(notify(GETPPID))
    target.start("getppid")
    id = receive(listener).id
    with open("/dev/null" if os.path.exists("/dev/null") else __file__, "rb") as file:
        number = file.fileno()
        assert listener.add_fd(id, number) == 0
        assert listener.add_fd(id, number, at=7, cloexec=True) == 7
        assert set(target.fds) == {0, 7}
        kernel.world.process_of(target.task).limit = 1
        with pytest.raises(KernelError) as caught:
            listener.add_fd(id, number)
        assert caught.value.errno == errno.EMFILE
        with pytest.raises(KernelError) as caught:
            listener.add_fd(id, number, at=9)
        assert caught.value.errno == errno.EBADF
    with pytest.raises(KernelError) as caught:
        listener.add_fd(id, number)
    assert caught.value.errno == errno.EBADF
    target.exit()
    with open(__file__, "rb") as file, pytest.raises(TargetGone):
        listener.add_fd(id, file.fileno())


def test_versions(kernel: SimulatedKernel) -> None:
    """An older kernel says Unsupported, or does without a preferred flag and says so."""
    assert Feature.ADDFD in kernel.features()
    old = SimulatedKernel("5.0")
    assert Feature.ADDFD not in old.features()
    target, listener = old.target(notify(GETPPID))
    with pytest.raises(Unsupported):
        listener.set_flags(ListenerFlag.SYNC_WAKE_UP)
    target.start("getppid")
    with open(__file__, "rb") as file, pytest.raises(KernelError):
        listener.add_fd(receive(listener).id, file.fileno())
    spawned = old.spawn(notify(GETPPID).encode(), lambda me: None)
    assert spawned.enforcement.missing == {Feature.WAIT_KILLABLE_RECV}
    spawned = kernel.spawn(notify(GETPPID).encode(), lambda me: None)
    assert spawned.enforcement.flags & FilterFlag.WAIT_KILLABLE_RECV


def test_what_cannot_be_spawned(kernel: SimulatedKernel) -> None:
    """No such program, and a filter that the facility refuses; nothing is left behind."""
    program = notify(GETPPID).encode()
    with pytest.raises(FileNotFoundError):
        kernel.spawn(program, ["nothing", "x"])
    with pytest.raises(KernelError, match="Invalid argument"):
        kernel.spawn(Program((Instruction(Op.RET_K, 0, 0, 0),)).encode()[:0], lambda me: None)
    kernel.supervisor.privileged = False
    with pytest.raises(KernelError, match="Permission denied"):
        kernel.spawn(program, lambda me: None, no_new_privs=False)
    assert len(kernel.world.processes) == 1
    kernel.programs["hello"] = lambda me, *words: iter(())
    assert kernel.spawn(program, ["hello", "x"]).process.wait(5) == 0


def test_one_chain_has_one_listener(kernel: SimulatedKernel) -> None:
    """F4: a supervisor under a supervisor is `AlreadySupervised`."""
    from unotify.testing.facility.installing import add_filter

    add_filter(kernel.world, kernel.supervisor, notify(GETPPID), int(FilterFlag.NEW_LISTENER))
    with pytest.raises(AlreadySupervised):
        kernel.target(notify(GETPPID))


def test_processes(kernel: SimulatedKernel) -> None:
    """Signals, exit codes, time-outs and sleeps in simulated time."""
    import subprocess

    ended: list[str] = []

    def sleeper(me: FakeTarget) -> Iterator[Any]:
        yield me.begin("nanosleep", request=me.put((5).to_bytes(8, "little") + bytes(8)))
        ended.append("slept")
        return 2

    program = notify(GETPPID).encode()
    process = kernel.spawn(program, sleeper).process
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    kernel.advance(4)
    assert process.poll() is None
    kernel.advance(1)
    assert (process.communicate(), process.returncode, ended) == ((None, None), 2, ["slept"])
    process = kernel.spawn(program, sleeper).process
    process.terminate()
    with process:
        pass
    assert process.returncode == -TERM


def test_memory_of_a_thread(kernel: SimulatedKernel) -> None:
    """P8, M6: reading stops where a mapping ends; writing shows; after the reply it is gone."""
    target, listener = kernel.target(notify(GETPPID))
    address = target.put(b"a" * 4096)
    text = target.text("name")
    target.start("getppid")
    exchange = receive(listener)
    valid = [True]
    thread = kernel.open_thread(exchange.tid, lambda: valid[0])
    assert thread.read(address, 3) == b"aaa"
    with pytest.raises(BadAddress):
        thread.read(address, 4097)
    assert thread.read_string(text, 10) == b"name"
    thread.write(text, b"N")
    assert target.peek(text, 5) == b"Name\0"
    with pytest.raises(BadAddress):
        thread.write(4, b"x")
    valid[0] = False
    with pytest.raises(TargetGone):
        thread.read(address, 1)
    with pytest.raises(TargetGone):
        kernel.open_thread(exchange.tid, lambda: False)
    with pytest.raises(TargetGone):
        kernel.open_thread(0, lambda: True)  # type: ignore[arg-type]


def test_stolen_descriptors(kernel: SimulatedKernel) -> None:
    """steal_fd is a real descriptor with what the target's one has; P7: of its own table."""
    target, listener = kernel.target(notify(GETPPID))
    opened = target.call("open", path="/etc/hostname")
    target.start("getppid")
    thread = kernel.open_thread(receive(listener).tid, lambda: True)
    fd = thread.steal_fd(opened.value)
    assert os.read(fd, 100) == b"simulated\n"
    os.close(fd)
    with pytest.raises(KernelError):
        thread.steal_fd(99)
    thread.kill()
    assert target.ended


def test_the_same_seed_gives_the_same_order() -> None:
    """Programs that run at the same time do so in an order that the seed decides."""

    def order(seed: int | None) -> str:
        kernel = SimulatedKernel(seed=seed)
        seen: list[str] = []

        def program(me: FakeTarget, name: str) -> Iterator[Any]:
            for _ in range(3):
                yield me.begin("getuid")
                seen.append(name)

        kernel.programs["say"] = program
        with kernel.changed:
            # Both are there before either goes on.
            kernel.settle = lambda: None  # type: ignore[method-assign]
            for name in "ab":
                kernel.spawn(notify(GETPPID).encode(), ["say", name])
            del kernel.settle  # type: ignore[method-assign]
            kernel.settle()
        return "".join(seen)

    assert order(None) == "aaabbb"
    found = {order(seed) for seed in range(20)}
    assert len(found) > 3
    assert [order(seed) for seed in range(20)] == [order(seed) for seed in range(20)]


def test_many_programs_with_threads(kernel: SimulatedKernel) -> None:
    """Twenty programs make fifty calls each; every one gets its own answers."""
    with Supervisor(kernel=kernel) as supervisor:

        @supervisor.on("getppid")
        def echo(call: Any) -> Return:
            return Return(call.exchange.args[0])

        wrong: list[Any] = []

        def program(me: FakeTarget) -> Iterator[Any]:
            for number in range(50):
                word = me.tid * 1000 + number
                answer = yield me.begin(GETPPID, word)
                if answer.value != word:
                    wrong.append((word, answer))

        processes = [supervisor.popen(program) for _ in range(20)]
        for process in processes:
            assert process.wait(30) == 0
        assert supervisor.wait(10)
        assert wrong == []
        assert supervisor.statistics().received == 1000
