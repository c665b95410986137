"""The hand-over of the listener, under filters that trap what others hand it over with."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from tests.kernel.spawn_support import (
    always,
    answer,
    apart,
    let_all_go,
    let_go,
    no_children,
    notify,
    nr,
    open_fds,
    receive,
    respond,
    supervised,
)
from unotify.abi.features import Feature
from unotify.abi.seccomp import Action, FilterFlag
from unotify.abi.structs import NOTIF
from unotify.errors import KernelError
from unotify.kernel import install
from unotify.kernel.interface import Enforcement
from unotify.kernel.popen import Popen
from unotify.kernel.spawn import spawn

PYTHON = sys.executable
PIPED = {"stdout": subprocess.PIPE}
TRAPPED = [
    "sendmsg",
    "write",
    "close",
    "mmap",
    "munmap",
    "brk",
    "futex",
    "execve",
    "read",
    "exit_group",
    "rt_sigreturn",
    "rt_sigprocmask",
]


@pytest.mark.parametrize("name", TRAPPED)
def test_trapped_call_does_not_block_the_launch(name: str) -> None:
    """A program starts and ends as usual though each call of one kind waits for a reply."""
    with supervised(notify(name), ["echo", "hello"], stdout=subprocess.PIPE) as (process, seen):
        output, _ = process.communicate()

    assert (output, process.returncode) == (b"hello\n", 0)
    assert set(seen) <= {name}


def test_all_of_them_trapped() -> None:
    """The same when all the calls that others need for the hand-over are trapped at once."""
    with supervised(notify(*TRAPPED), ["echo", "hello"], stdout=subprocess.PIPE) as (process, seen):
        output, _ = process.communicate()

    assert (output, process.returncode) == (b"hello\n", 0)
    assert {"write", "close", "mmap", "exit_group"} <= set(seen)


def test_every_call_trapped() -> None:
    """The same when the filter notifies of whatever is called."""
    program = always(Action.USER_NOTIF)
    with supervised(program, ["echo", "hello"], stdout=subprocess.PIPE) as (process, seen):
        output, _ = process.communicate()

    assert (output, process.returncode) == (b"hello\n", 0)
    # All of the program's calls and none of the launcher's.
    assert seen[0] in ("brk", "arch_prctl", "set_tid_address")
    assert seen[-1] == "exit_group"
    assert "execve" not in seen


def test_only_the_program_is_heard_of() -> None:
    """An execve that the program itself makes is notified; the launcher's is not."""
    command = ["sh", "-c", "exec /bin/true"]
    with supervised(notify("execve"), command) as (process, seen):
        assert process.wait() == 0

    assert seen == ["execve"]


def test_first_call_waits_in_the_listener_or_the_backlog() -> None:
    """The program's very first call is answered by whoever spawned it, never by the launch."""
    spawned = spawn(always(Action.USER_NOTIF), ["true"])
    listener: Any = spawned.listener
    with spawned.process as process:
        first = spawned.backlog[0] if spawned.backlog else receive(listener)
        assert first is not None
        pid = NOTIF.unpack_from(first)[1]
        process.kill()
        listener.close()

    assert pid == process.pid


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES, errno.ENOSYS])
def test_execve_refused_by_the_filter(number: int) -> None:
    """An errno for execve is raised as subprocess raises it, with a note on the filter."""
    before = open_fds()

    with pytest.raises(OSError, match="'true'") as caught:
        spawn(answer({"execve": Action.ERRNO | number}), ["true"])

    assert caught.value.errno == number
    assert "filter" in caught.value.__notes__[0]
    assert open_fds() == before
    assert no_children()


def test_nothing_but_execve_refused_and_no_way_to_exit() -> None:
    """A launcher that can neither execute nor exit is killed: no hang, nothing left."""
    refused = Action.ERRNO | errno.EPERM
    program = answer(dict.fromkeys(["execve", "exit_group", "exit", "write", "sendmsg"], refused))
    before = open_fds()

    with pytest.raises(PermissionError):
        spawn(program, ["true"])

    assert open_fds() == before
    assert no_children()


def test_trapped_execve_of_a_missing_command() -> None:
    """The launcher's failed attempts and its exit are let go when the filter traps everything."""
    with pytest.raises(FileNotFoundError, match="no-such-command"):
        spawn(always(Action.USER_NOTIF), ["no-such-command"])

    assert no_children()


@pytest.mark.parametrize("action", [Action.KILL_PROCESS, Action.KILL_THREAD, Action.TRAP])
def test_killed_by_its_own_filter(action: Action) -> None:
    """KILL and TRAP for execve give a process that SIGSYS has ended, as with any program."""
    spawned = spawn(answer({"execve": action}), ["true"])

    assert spawned.process.wait() == -signal.SIGSYS
    assert receive(spawned.listener) is None  # type: ignore[arg-type]

    spawned.listener.close()


def test_traced_execve_without_a_tracer() -> None:
    """TRACE without a tracer is ENOSYS, for execve too."""
    with pytest.raises(OSError, match="not implemented"):
        spawn(answer({"execve": Action.TRACE}), ["true"])


def test_enforcement() -> None:
    """The record of a launch says what the kernel really took."""
    program = notify("getppid")
    spawned = spawn(program, ["true"], flags=FilterFlag.SPEC_ALLOW)
    let_all_go(spawned)
    spawned.process.wait()

    wanted = FilterFlag.NEW_LISTENER | FilterFlag.WAIT_KILLABLE_RECV | FilterFlag.SPEC_ALLOW
    assert spawned.enforcement == Enforcement(
        flags=wanted, missing=frozenset(), no_new_privs=True, instructions=len(program) // 8
    )


def test_no_preferred_flags() -> None:
    """Without preferred flags only the required ones are used."""
    spawned = spawn(notify("getppid"), ["true"], preferred=FilterFlag(0))
    let_all_go(spawned)
    spawned.process.wait()

    assert spawned.enforcement.flags == FilterFlag.NEW_LISTENER


def test_missing_preferred_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    """A preferred flag that the kernel does not know is done without, and named in `missing`."""
    # A bit that no kernel knows plays the flag which an older kernel lacks.
    future = FilterFlag(1 << 30)
    monkeypatch.setitem(install.FLAG_FEATURES, future, Feature.SYNC_WAKE_UP)

    spawned = spawn(notify("getppid"), ["true"], preferred=future | FilterFlag.WAIT_KILLABLE_RECV)
    let_all_go(spawned)
    spawned.process.wait()

    assert spawned.enforcement.missing == {Feature.SYNC_WAKE_UP}
    assert spawned.enforcement.flags & FilterFlag.WAIT_KILLABLE_RECV


def test_missing_required_flag() -> None:
    """A required flag that the kernel does not know is an error, and nothing runs."""
    with pytest.raises(KernelError, match="0x40000000"):
        spawn(notify("getppid"), ["true"], flags=FilterFlag(1 << 30))

    assert no_children()


def test_tsync_of_one_thread() -> None:
    """S1: TSYNC for a spawn works: TSYNC_ESRCH is added, since both want the return value."""
    spawned = spawn(notify("getppid"), ["true"], flags=FilterFlag.TSYNC)
    let_all_go(spawned)
    spawned.process.wait()

    assert spawned.enforcement.flags & FilterFlag.TSYNC_ESRCH


@pytest.mark.parametrize(("program", "message"), [(b"", "0 instr"), (b"\xff" * 8, "refuses")])
def test_bad_program(program: bytes, message: str) -> None:
    """A program that the kernel refuses is a KernelError with its reason; no process is left."""
    with pytest.raises(KernelError, match=message) as caught:
        spawn(program, ["true"])

    assert caught.value.errno == errno.EINVAL
    assert no_children()


def test_torn_program() -> None:
    """A program that ends within an instruction is refused before anything is started."""
    with pytest.raises(ValueError, match="within an instruction"):
        spawn(notify("getppid")[:-1], ["true"])


def test_answers_reach_the_program() -> None:
    """A call of the program gets the value that its supervisor replies."""
    code = "import os; print(os.getppid())"
    spawned = spawn(notify("getppid"), [PYTHON, "-I", "-S", "-c", code], popen_options=PIPED)
    listener: Any = spawned.listener
    with listener, spawned.process as process:
        raw = receive(listener)
        assert raw is not None
        respond(listener, raw, value=4711)

        assert process.communicate()[0] == b"4711\n"


def test_no_copy_of_the_listener_in_the_target() -> None:
    """R5: the program has the standard descriptors and nothing else, no listener above all."""
    args = [PYTHON, "-I", "-S", "-c", "import os; os.getppid()"]
    spawned = spawn(notify("getppid"), args, popen_options=PIPED)
    listener: Any = spawned.listener
    with listener, spawned.process as process:
        raw = receive(listener)
        assert raw is not None
        found = sorted(os.listdir(f"/proc/{process.pid}/fd"))
        let_go(listener, raw)
        process.communicate()

    assert found == ["0", "1", "2"]


def test_forked_process_keeps_no_listener() -> None:
    """R7: a process that the supervisor forks has no copy: only the supervisor's close counts."""

    def look() -> list[str]:
        return [link for link in open_fds().values() if "seccomp" in link]

    before = look()
    spawned = spawn(notify("getppid"), ["sleep", "60"])
    listener: Any = spawned.listener

    with spawned.process as process:
        here = look()
        there = apart(look)
        process.kill()
        listener.close()

    assert (len(here), there) == (len(before) + 1, [])


def test_popen_is_one_of_subprocess() -> None:
    """`Popen` shows the user's arguments, and communicates like its base class."""
    process = Popen(["cat"], program=notify("getppid"), stdin=-1, stdout=-1, text=True)
    with process.listener, process:
        output, _ = process.communicate("some text\n", timeout=20)

    assert process.args == ["cat"]
    assert isinstance(process, subprocess.Popen)
    assert (output, process.returncode) == ("some text\n", 0)


def test_number_of_the_call() -> None:
    """The notification carries the number that the table of this architecture gives."""
    spawned = spawn(notify("getppid"), [PYTHON, "-I", "-S", "-c", "import os; os.getppid()"])
    listener: Any = spawned.listener
    with listener, spawned.process:
        raw = receive(listener)
        assert raw is not None
        let_go(listener, raw)

    assert NOTIF.unpack_from(raw)[3] == nr("getppid")
