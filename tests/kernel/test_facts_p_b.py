"""Identity (P1 to P9) and ABIs (B1 to B10)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.kernel.targets import Target, nr, until
from unotify.abi.arch import Arch
from unotify.abi.tables import identify
from unotify.calls import FchownAt
from unotify.calls.call import decode
from unotify.errors import KernelError, TargetGone
from unotify.kernel import default_kernel
from unotify.kernel.thread import LinuxThread


def test_the_pid_is_a_thread_id() -> None:
    """P1: not listed in /proc, but there; its process is in its status."""
    with Target("getppid") as target:
        target.call("getppid", thread=True)
        exchange = target.receive()
        assert exchange.tid != target.pid
        assert str(exchange.tid) not in os.listdir("/proc")
        with LinuxThread(exchange.tid, lambda: True) as thread:
            assert target.pid == thread.tgid
        target.send(exchange)


def test_a_thread_without_leadership_has_a_pidfd() -> None:
    """P6: PIDFD_THREAD opens it; polling tells its end."""
    import select

    with Target("getppid") as target:
        target.call("getppid", thread=True)
        exchange = target.receive()
        with LinuxThread(exchange.tid, lambda: True) as thread:
            poller = select.poll()
            poller.register(thread.fileno(), select.POLLIN)
            assert not poller.poll(0)
            target.send(exchange)
            assert poller.poll(20000)


def test_descriptors_come_from_the_thread_s_own_table() -> None:
    """P7: after unshare(CLONE_FILES) only a pidfd of the thread reads the right table."""
    with Target("fsync") as target:
        target.start("unshare-files-call", nr=nr("fsync"), thread=True)
        exchange = target.receive()
        with LinuxThread(exchange.tid, lambda: target.listener.is_valid(exchange.id)) as thread:
            stolen = thread.steal_fd(exchange.args[0])
            assert "memfd:own" in os.readlink(f"/proc/self/fd/{stolen}")
            os.close(stolen)
            with pytest.raises(KernelError, match="Bad file descriptor"):
                thread.steal_fd(999)
        target.send(exchange)


def test_what_is_opened_is_checked_afterwards() -> None:
    """P8: opened first, asked second: a notification that is over opens nothing."""
    with Target("getppid") as target:
        target.call("getppid", thread=True)
        exchange = target.receive()
        thread = LinuxThread(exchange.tid, lambda: target.listener.is_valid(exchange.id))
        target.send(exchange)
        target.answer()
        for use in (thread.fileno, thread.comm, lambda: thread.tgid):
            with pytest.raises(TargetGone):
                use()
        thread.close()


def test_an_invisible_target_is_nobody_to_reach_into() -> None:
    """P3: thread id 0 can be answered, but not opened; it is never passed to the kernel."""
    with pytest.raises(TargetGone, match="pid namespace"):
        LinuxThread(0, lambda: True)  # type: ignore[arg-type]


def test_non_leader_exec_is_notified_under_its_old_id() -> None:
    """P5: the thread that execs takes the process id over only afterwards."""
    with Target("execve") as target:
        target.start("exec", path="/bin/sleep", argv=["sleep", "60"], thread=True)
        exchange = target.receive()
        assert exchange.tid != target.pid
        target.let_go(exchange)
        until(lambda: Path(f"/proc/{target.pid}/comm").read_text() == "sleep\n")
        assert [str(target.pid)] == os.listdir(f"/proc/{target.pid}/task")


def test_status_counts_filters() -> None:
    """P9: mode 2, and one filter more than we have."""
    with Target("getppid") as target:
        target.ask("pid")
        status = Path(f"/proc/{target.pid}/status").read_text()
        ours = Path("/proc/self/status").read_text()
        assert "Seccomp:\t2\n" in status
        assert filters(ours) + 1 == filters(status)


def filters(status: str) -> int:
    """The number of filters in a status file."""
    return int(status.partition("Seccomp_filters:")[2].split()[0])


@pytest.fixture(name="i386")
def _i386() -> None:
    if Arch.I386 not in default_kernel().architectures:
        missing("this kernel runs no i386 code")


def test_a_64_bit_program_may_make_32_bit_calls(i386: None) -> None:
    """B2: the architecture is one of the call; numbers mean something else there."""
    with Target("getppid") as target:
        target.start("int80", nr=nr("getppid", Arch.I386))
        exchange = target.receive()
        assert Arch.I386.audit == exchange.audit
        assert identify(exchange.audit, exchange.nr).name == "getppid"
        target.send(exchange, value=12)
        assert target.answer()["ret"] == 12


def test_32_bit_calls_show_dirty_upper_halves_and_decoding_cuts_them(i386: None) -> None:
    """B3: the register has 64 bits, the kernel and we look at 32."""
    with Target("fchownat") as target:
        target.start("int80", nr=nr("fchownat", Arch.I386), args=[0x1FFFFFF9C, 0, 0])
        exchange = target.receive()
        assert exchange.args[0] == 0x1FFFFFF9C
        call = decode(exchange, lambda exchange: None)
        assert isinstance(call, FchownAt)
        assert call.dirfd == -100
        target.send(exchange)


def test_int_arguments_of_64_bit_calls_are_cut_too() -> None:
    """B3: AT_FDCWD may come as 0xffffff9c, or with anything above."""
    with Target("fchownat") as target:
        for register in (0xFFFFFF9C, 0xDEADFFFFFF9C, -100):
            target.call("fchownat", register, 0, 0, 0, 0)
            exchange = target.receive()
            call = decode(exchange, lambda exchange: None)
            assert call.register("dirfd") == -100
            target.send(exchange)
            target.answer()


def test_x32_numbers_come_under_x86_64_s_name() -> None:
    """B4: notified even where the kernel has no x32; the bit tells."""
    from unotify.abi.seccomp import Action
    from unotify.bpf import compile_filter

    if default_kernel().arch is not Arch.X86_64:
        missing("x32 is a matter of x86-64")
    notify = int(Action.USER_NOTIF)
    x32 = nr("getppid", Arch.X32)
    program = compile_filter(
        {Arch.X86_64: {}, Arch.X32: {x32: notify}}, default=Action.ALLOW
    ).encode()
    with Target(program=program) as target:
        target.start("call", nr=x32)
        exchange = target.receive()
        assert Arch.X86_64.audit == exchange.audit
        assert identify(exchange.audit, exchange.nr)[:2] == ("getppid", Arch.X32)
        target.send(exchange, value=8)
        assert target.answer()["ret"] == 8


def test_a_call_of_an_abi_without_rules_kills() -> None:
    """B2, B4: what nobody looks at must not pass: an x32 number kills the process."""
    from unotify.abi.seccomp import Action
    from unotify.bpf import compile_filter

    if default_kernel().arch is not Arch.X86_64:
        missing("x32 is a matter of x86-64")
    program = compile_filter({Arch.X86_64: {}}, default=Action.ALLOW).encode()
    with Target(program=program) as target:
        target.start("call", nr=nr("getppid", Arch.X32))
        assert target.process.wait(20) == -31


def test_the_vdso_is_never_seen() -> None:
    """B7: reading the clock makes no call, but for clocks that the vDSO lacks."""
    import time

    with Target("clock_gettime") as target:
        target.start("call", nr=nr("clock_gettime"), args=[2, 0])
        exchange = target.receive()
        assert exchange.args[0] == 2
        target.send(exchange)
        target.answer()
        target.ask("pid")
        assert not target.listener.pending()
        assert time.CLOCK_PROCESS_CPUTIME_ID == 2
