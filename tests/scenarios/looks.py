"""Scenarios of what passes by, of tracers, and of memory: B, M, F3, I4."""

from __future__ import annotations

from tests.scenarios.language import Answer, Stage, scenario
from unotify.abi.seccomp import Action, FilterFlag

USER, ERRNO, TRACE = int(Action.USER_NOTIF), int(Action.ERRNO), int(Action.TRACE)
KILL, USR1 = 9, 10
PAGE = 4096
KILLABLE = FilterFlag.WAIT_KILLABLE_RECV
VSYSCALL_TIME = 0xFFFFFFFFFF600400


# -- other ways into the kernel ------------------------------------------------------------


@scenario("B6", "B2")
def halves_and_multiplexers(stage: Stage) -> None:
    """A 64-bit length of a 32-bit call fills two registers; socketcall has its calls in memory."""
    worker, listener = stage.supervised("ftruncate64", "socketcall", "socket")
    worker.call("ftruncate64", 99, 0x89ABCDEF, 0x01234567, compat=True)
    seen = listener.receive()
    assert (seen.arch, seen.args[:3]) == (
        stage.audit(compat=True),
        (99, 0x89ABCDEF, 0x01234567),
    )
    assert listener.send(seen.id, flags=1) == ""
    assert worker.answer() == Answer(-1, "EBADF")
    words = b"".join(word.to_bytes(4, "little") for word in (1, 1, 0))
    worker.call("socketcall", 1, worker.pages(words), compat=True)
    seen = listener.receive()
    # The rule for socket(2) says nothing of it.
    assert (seen.nr, seen.args[0]) == (stage.nr("socketcall", compat=True), 1)
    listener.send(seen.id, flags=1)
    fd = worker.answer().ret
    assert worker.fds()[fd].startswith("socket:")


@scenario("B7")
def clocks(stage: Stage) -> None:
    """The vDSO's clocks make no call; one of processor time does, and is seen."""
    worker, listener = stage.supervised("clock_gettime")
    worker.clock(1)
    assert listener.poll() == set()
    worker.call("clock_gettime", 2, 0)
    seen = listener.receive()
    assert seen.args[0] == 2
    listener.send(seen.id, 0)
    assert worker.answer() == Answer(0)


@scenario("B8")
def the_vsyscall_page(stage: Stage) -> None:
    """A call of it is seen as that call, from its own address; it can be answered or continued."""
    worker, listener = stage.supervised("time")
    for answer in (77, None):
        worker.jump(VSYSCALL_TIME)
        seen = listener.receive()
        assert (seen.nr, seen.ip & ~0x3FF) == (stage.nr("time"), VSYSCALL_TIME)
        if answer is None:
            listener.send(seen.id, flags=1)
            assert worker.answer().ret > 1_600_000_000
        else:
            listener.send(seen.id, answer)
            assert worker.answer() == Answer(answer)


@scenario("B9")
def a_ring_passes_by(stage: Stage) -> None:
    """What io_uring carries out is not seen, where the plain call waits."""
    worker, listener = stage.supervised("openat2")
    fd = worker.ring_open("/etc/hostname")
    assert fd >= 0
    assert worker.fds()[fd] == "/etc/hostname"
    assert listener.poll() == set()
    worker.call("openat2", -100, worker.text(b"/etc/hostname"), worker.text(bytes(24)), 24)
    listener.send(listener.receive().id, 0, -1)
    assert worker.answer() == Answer(-1, "EPERM")


# -- tracers -------------------------------------------------------------------------------


@scenario("B10", "F3")
def a_tracer_comes_first(stage: Stage) -> None:
    """What a tracer makes of a call at its entry is what filters and supervisors see."""
    worker, listener = stage.supervised("getppid")
    tracer = stage.trace(worker, "entries")
    worker.call("getuid")
    tracer.wait("getuid")
    assert listener.poll() == set()
    tracer.go_on("getppid", 9)
    seen = listener.receive()
    assert (seen.nr, seen.args[0]) == (stage.nr("getppid"), 9)
    tracer.detach()
    # To be detached it was stopped, which ended that notification (I4).
    assert listener.valid(seen.id) == "ENOENT"
    listener.send(listener.receive().id, 6)
    assert worker.answer() == Answer(6)


@scenario("B10")
def a_tracer_skips_a_call(stage: Stage) -> None:
    """A call that a tracer has taken away at its entry is not seen by anybody."""
    worker, listener = stage.supervised("getppid")
    tracer = stage.trace(worker, "entries")
    worker.call("getppid")
    tracer.wait("getppid")
    tracer.go_on(value=21)
    assert worker.answer() == Answer(21)
    assert listener.poll() == set()
    tracer.detach()


@scenario("F3", "F2")
def a_tracer_is_asked(stage: Stage) -> None:
    """TRACE asks it: it lets, fakes, or changes the call, and filters run on what it made of it."""
    worker = stage.worker()
    rules = {"getppid": TRACE | 0x1234, "getuid": ERRNO | 11, "getgid": TRACE | 1}
    assert worker.install(rules) == 0
    tracer = stage.trace(worker, "filters")
    changes = [
        ((), {}, None),
        ((), {"value": 42}, Answer(42)),
        ((), {"value": -13}, Answer(-1, "EACCES")),
        (("getuid",), {}, Answer(-1, "EAGAIN")),
        (("getgid",), {}, None),
    ]
    for names, options, answer in changes:
        worker.call("getppid")
        assert tracer.wait() == 0x1234
        tracer.go_on(*names, **options)  # type: ignore[arg-type]
        found = worker.answer()
        assert found == answer or (answer is None and not found.errno)
    tracer.detach()


@scenario("F3", "F2")
def a_tracer_is_not_asked(stage: Stage) -> None:
    """Where another filter notifies, the supervisor lets a call go on that a tracer should see."""
    worker, listener = stage.supervised("getppid")
    assert worker.install({"getppid": TRACE | 5}) == 0
    tracer = stage.trace(worker, "filters")
    worker.call("getppid")
    seen = listener.receive()
    assert tracer.quiet()
    listener.send(seen.id, flags=1)
    assert worker.answer().errno == ""
    assert tracer.quiet()
    tracer.detach()


@scenario("I4")
def an_interrupting_tracer(stage: Stage) -> None:
    """SEIZE disturbs nobody; INTERRUPT ends the notification, and after it a new one comes."""
    worker, listener = stage.supervised("getppid")
    worker.call("getppid")
    old = listener.receive()
    tracer = stage.trace(worker)
    assert listener.valid(old.id) == ""
    tracer.interrupt()
    assert listener.valid(old.id) == "ENOENT"
    assert worker.state() == "t"
    tracer.detach()
    new = listener.receive()
    assert new.id == (old.id + 1) % 2**64
    listener.send(new.id, 2)
    assert worker.answer() == Answer(2)


@scenario("C6", root=True)
def filters_tell_whether_they_log(stage: Stage) -> None:
    """PTRACE_SECCOMP_GET_METADATA: flags of each filter, the oldest at 0, none beyond."""
    worker = stage.worker()
    assert worker.install(int(Action.ALLOW), FilterFlag.LOG) == 0
    assert worker.install(int(Action.ALLOW)) == 0
    tracer = stage.trace(worker)
    tracer.interrupt()
    found = [tracer.metadata(offset) for offset in range(3)]
    assert found == [int(FilterFlag.LOG), 0, "ENOENT"]
    tracer.detach()


# -- memory ----------------------------------------------------------------------------------


@scenario("M1", "M9")
def reading_stops(stage: Stage) -> None:
    """process_vm_readv is short at an unreadable page, EFAULT if that is the first byte."""
    worker = stage.worker()
    address = worker.pages(b"A" * PAGE)
    hidden = worker.pages(b"B" * PAGE, 0)
    assert stage.look(worker, address, 3) == b"AAA"
    assert stage.look(worker, address + PAGE - 2, 5) == b"AA"
    for bad in (hidden, address + PAGE, 0, 1 << 63, 2**64 - 1):
        assert stage.look(worker, bad, 1) == "EFAULT"


@scenario("M2")
def the_memory_file(stage: Stage) -> None:
    """/proc/TID/mem reads through PROT_NONE and writes what cannot be written; unmapped is EIO."""
    worker = stage.worker()
    hidden, constant = worker.pages(b"B" * PAGE, 0), worker.pages(b"C" * PAGE, 1)
    memory = stage.memory(worker)
    assert memory.read(hidden, 2) == b"BB"
    assert memory.write(constant, b"x") == 1
    assert stage.look(worker, constant, 2) == b"xC"
    assert memory.read(0, 1) == "EIO"
    assert memory.write(0, b"x") == "EIO"


@scenario("M2", "P8")
def memory_of_those_who_left(stage: Stage) -> None:
    """What was opened is that memory: after exec and after death it is empty."""
    worker, listener = stage.supervised("execve")
    for name in ("exec", "death"):
        child = worker.fork()
        memory = stage.memory(child)
        address = child.text(b"/bin/true")
        assert memory.read(address, 4) == b"/bin"
        if name == "exec":
            child.call("execve", address, 0, 0)
            listener.send(listener.receive().id, flags=1)
            if not stage.real:
                child.exit()
        else:
            child.kill(KILL)
        child.ended()
        assert memory.read(address, 4) == b""


@scenario("P8", "M6")
def looking_and_asking(stage: Stage) -> None:
    """Opened after RECV and valid afterwards, it is the right one; later nobody says so."""
    worker, listener = stage.supervised("getppid")
    address = worker.text(b"first")
    worker.call("getppid", address)
    seen = listener.receive()
    memory = stage.memory(worker)
    assert listener.valid(seen.id) == ""
    assert memory.read(address, 5) == b"first"
    assert listener.valid(seen.id) == ""
    listener.send(seen.id)
    worker.answer()
    worker.poke(address, b"later")
    assert memory.read(address, 5) == b"later"
    assert listener.valid(seen.id) == "ENOENT"


@scenario("M7", "C2")
def reading_twice(stage: Stage) -> None:
    """Two reads of one object may differ; what was copied does not."""
    worker, listener = stage.supervised("getppid")
    address = worker.text(b"/tmp/good")
    worker.call("getppid", address)
    seen = listener.receive()
    first = stage.look(worker, address, 9)
    worker.poke(address, b"/etc/evil")
    second = stage.look(worker, address, 9)
    assert (first, second) == (b"/tmp/good", b"/etc/evil")
    assert listener.valid(seen.id) == ""
    listener.send(seen.id)
    worker.answer()


@scenario("M8", "I1", "I6")
def writing_is_never_safe(stage: Stage) -> None:
    """After an interruption the memory is somebody else's; WAIT_KILLABLE_RECV keeps it waiting."""
    for flags, answer in ((FilterFlag(0), Answer(-1, "EINTR")), (KILLABLE, Answer(8))):
        worker, listener = stage.supervised("getppid", flags=flags)
        worker.handle(USR1, restart=False)
        address = worker.text(b"ours")
        worker.call("getppid", address)
        seen = listener.receive()
        worker.kill(USR1)
        memory = stage.memory(worker)
        if flags:
            worker.becomes("D")
            assert listener.valid(seen.id) == ""
            assert memory.write(address, b"done") == 4
            assert listener.send(seen.id, 8) == ""
            assert worker.answer() == answer
            assert stage.look(worker, address, 4) == b"done"
        else:
            assert worker.answer() == answer
            worker.poke(address, b"theirs")
            assert listener.valid(seen.id) == "ENOENT"
            # Nothing stops it from going where other things are by now.
            assert memory.write(address, b"done") == 4
            assert stage.look(worker, address, 6) == b"doners"


@scenario("M4", root=True)
def a_page_that_does_not_come(stage: Stage) -> None:
    """A page that the target delivers itself stalls whoever reads it, until it comes."""
    worker = stage.worker()
    address = worker.guard()
    later = stage.look_later(worker, address, 4)
    later.sleeps()
    worker.deliver(address, b"page")
    assert later.result() == b"page"


@scenario("M4", root=True)
def a_page_of_the_dead(stage: Stage) -> None:
    """A stalled read ends when the target is killed."""
    worker = stage.worker()
    later = stage.look_later(worker, worker.guard(), 4)
    later.sleeps()
    worker.kill(KILL)
    assert worker.ended() == -KILL
    # Whether it finds zeros or nothing depends on who is quicker.
    assert later.result() in (bytes(4), "EFAULT")


@scenario("M3", root=True)
def who_may_look(stage: Stage) -> None:
    """Not another user, nor the same one once it has changed its ids; a listener works."""
    privileged, reader, other = stage.worker(), stage.worker(), stage.worker()
    target, listener = stage.supervised("getppid")
    address = target.text(b"secret")
    child = target.fork()
    held = reader.holds(listener)
    reader.drop()
    for one in (other, target):
        assert reader.look(one, address) == "EPERM"
        assert reader.look(one, address, way="mem") == "EACCES"
        assert reader.look(one, 0, way="fd") == "EPERM"
    target.drop()
    # The same ids now, and both have changed them.
    assert reader.look(target, address) == "EPERM"
    assert reader.look(target, address, way="mem") == "EACCES"
    assert privileged.look(target, address, 6) == b"secret"
    assert privileged.look(child, address, 6, way="mem") == b"secret"
    target.call("getppid")
    listener.until("IN")
    seen = held.recv()
    assert not isinstance(seen, str)
    assert isinstance(held.addfd(seen.id), int)
    assert held.send(seen.id, 3) == ""
    assert target.answer() == Answer(3)


@scenario("M5", "M1")
def strings_without_an_end(stage: Stage) -> None:
    """A path ends at its NUL: EFAULT at a page that is not there, ENAMETOOLONG after 4096 bytes."""
    worker = stage.worker()
    page = worker.pages(b"/" * PAGE)
    name = b"/etc/hostname"
    ended = worker.pages(b"/" * (PAGE - len(name) - 1) + name)
    for address, errno in (
        (page, "ENAMETOOLONG"),
        (page + 1, "EFAULT"),
        (ended + PAGE - len(name) - 1, ""),
        (worker.pages(b"/etc/hostname", 0), "EFAULT"),
    ):
        worker.call("openat", -100, address, 0)
        assert worker.answer().errno == errno
