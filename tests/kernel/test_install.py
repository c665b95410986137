"""Installing filters in the calling thread: rules, limits, errors; each in a forked process."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
from typing import Any

import pytest

from tests.kernel.spawn_support import (
    Killed,
    always,
    answer,
    apart,
    let_go,
    no_children,
    notify,
    open_fds,
    receive,
    respond,
)
from unotify.abi.features import Feature
from unotify.abi.seccomp import (
    BPF_MAXINSNS,
    MAX_CHAIN_INSTRUCTIONS,
    PR_SET_SECCOMP,
    Action,
    FilterFlag,
    Mode,
    Operation,
)
from unotify.errors import AlreadySupervised, KernelError, Unsupported
from unotify.kernel import ancestry
from unotify.kernel._libc import SYS_SECCOMP, prctl, syscall
from unotify.kernel.install import (
    _Fprog,
    action_available,
    install,
    install_strict,
    is_no_new_privs,
    set_no_new_privs,
    unknown_flags,
)
from unotify.kernel.listener import notif_sizes
from unotify.kernel.spawn import spawn

ALLOW = always(Action.ALLOW)
ROOT = os.geteuid() == 0


def filters() -> int:
    """How many filters are on this thread."""
    with open("/proc/thread-self/status") as file:
        return int(next(line for line in file if line.startswith("Seccomp_filters")).split()[1])


def error_of(*args: Any, **options: Any) -> tuple[type, int, str, str | None]:
    """What an install in a process of its own raises, and that it leaves nothing."""

    def work() -> Any:
        before = (filters(), open_fds())
        with pytest.raises(KernelError) as caught:
            install(*args, **options)
        assert (filters(), open_fds()) == before
        return type(caught.value), caught.value.errno, str(caught.value), caught.value.hint

    result: tuple[type, int, str, str | None] = apart(work)
    return result


def test_install_is_for_this_thread_and_later_ones() -> None:
    """S3: the caller, its later threads and processes are filtered; threads from before are not."""

    def work() -> tuple[list[Any], int]:
        found: dict[str, Any] = {}
        go = threading.Event()

        def mkdir(name: str) -> None:
            try:
                os.mkdir("/nonexistent/x")
            except OSError as error:
                found[name] = error.errno

        def old() -> None:
            go.wait()
            mkdir("old")

        early = threading.Thread(target=old)
        early.start()
        install(answer({"mkdir": Action.ERRNO | 77}), listener=False)
        go.set()
        early.join()
        late = threading.Thread(target=mkdir, args=("late",))
        late.start()
        late.join()
        mkdir("caller")
        child = apart(lambda: (mkdir("child"), found["child"])[1])
        return [found["caller"], found["late"], child], found["old"]

    assert apart(work) == ([77, 77, 77], errno.ENOENT)


def test_enforcement_tells_what_was_obtained() -> None:
    """The record has the kernel's flags, the length, and no_new_privs."""

    def work() -> Any:
        first = install(ALLOW * 3, flags=FilterFlag.LOG)
        assert first.listener is not None
        listener_fd = first.listener.fileno()
        assert not os.get_inheritable(listener_fd)  # N13
        first.listener.close()
        second = install(ALLOW, listener=False)
        assert second.listener is None
        return first.enforcement, second.enforcement, filters()

    first, second, count = apart(work)

    all_flags = FilterFlag.NEW_LISTENER | FilterFlag.WAIT_KILLABLE_RECV | FilterFlag.LOG
    assert (first.flags, first.instructions, first.no_new_privs) == (all_flags, 3, True)
    assert (second.flags, second.instructions, second.missing) == (FilterFlag(0), 1, frozenset())
    assert count == 2


@pytest.mark.parametrize(
    "flags", [FilterFlag(0), FilterFlag.LOG, FilterFlag.SPEC_ALLOW, FilterFlag.TSYNC]
)
def test_every_flag_without_a_listener(flags: FilterFlag) -> None:
    """Each flag that needs no listener works without one, and the filter is in force."""

    def work() -> tuple[FilterFlag, int]:
        done = install(answer({"getppid": Action.ERRNO | 5}), flags=flags, listener=False)
        return done.enforcement.flags, syscall_errno("getppid")

    assert apart(work) == (flags, 5)


def syscall_errno(name: str) -> int:
    """The errno of a call without arguments, 0 if it worked."""
    from tests.kernel.spawn_support import nr

    return max(0, -syscall(nr(name)))


def test_wait_killable_needs_a_listener() -> None:
    """WAIT_KILLABLE_RECV is about a listener: without one it is a ValueError before any call."""
    with pytest.raises(ValueError, match="listener"):
        install(ALLOW, flags=FilterFlag.WAIT_KILLABLE_RECV, listener=False)


def test_unknown_required_flag() -> None:
    """An unknown flag is EINVAL, and the message names the bit."""
    kind, number, message, _ = error_of(ALLOW, flags=FilterFlag(1 << 29 | 1 << 28))

    assert (kind, number) == (KernelError, errno.EINVAL)
    assert "0x30000000" in message


def test_known_flag_that_an_older_kernel_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A named flag that the kernel lacks is `Unsupported`, with the version that brought it."""
    from unotify.kernel import install as module

    future = FilterFlag(1 << 29)
    monkeypatch.setitem(module.FLAG_FEATURES, future, Feature.WAIT_KILLABLE_RECV)

    kind, number, message, hint = error_of(ALLOW, flags=future)

    assert (kind, number) == (Unsupported, errno.EOPNOTSUPP)
    assert "does not know" in message
    assert hint == "it came with Linux 5.19"


def test_flags_are_probed_without_an_install() -> None:
    """EFAULT for a missing program means known: all six flags are, bits 6 and 7 are not [P]."""
    every = FilterFlag(0b111111)

    assert unknown_flags(every) == FilterFlag(0)
    assert int(unknown_flags(every | FilterFlag(1 << 29))) == 1 << 29


@pytest.mark.parametrize("length", [0, BPF_MAXINSNS + 1])
def test_length_limits(length: int) -> None:
    """A program of 0 or of 4097 instructions is EINVAL, and the message says which."""
    kind, number, message, _ = error_of(always(Action.ALLOW, length))

    assert (kind, number) == (KernelError, errno.EINVAL)
    assert f"{length} instructions" in message


def test_longest_program() -> None:
    """4096 instructions are accepted."""

    def work() -> int:
        done = install(always(Action.ALLOW, BPF_MAXINSNS), listener=False)
        return done.enforcement.instructions

    assert apart(work) == BPF_MAXINSNS


def test_chain_limit() -> None:
    """All filters together have at most 32768 instructions, 4 more for each: then ENOMEM."""

    def work() -> tuple[int, int, str | None]:
        program = always(Action.ALLOW, BPF_MAXINSNS)
        count = 0
        while True:
            try:
                install(program, listener=False)
            except KernelError as error:
                return count, error.errno or 0, error.hint
            count += 1

    count, number, hint = apart(work)

    # The kernel counts what it made of the program: a return becomes two instructions.
    assert count == MAX_CHAIN_INSTRUCTIONS // (2 * BPF_MAXINSNS + 4)
    assert number == errno.ENOMEM
    assert hint is not None
    assert "32768" in hint


@pytest.mark.parametrize(
    "program",
    [
        struct.pack("=HBBI", 0x20, 0, 0, 64) + ALLOW,
        struct.pack("=HBBI", 0x20, 0, 0, 2) + ALLOW,
        struct.pack("=HBBI", 0x15, 9, 0, 0) + ALLOW,
        struct.pack("=HBBI", 0x20, 0, 0, 0),
        struct.pack("=HBBI", 0x28, 0, 0, 0) + ALLOW,
    ],
    ids=["args[6]", "unaligned", "jump past the end", "no return", "16-bit load"],
)
def test_refused_programs(program: bytes) -> None:
    """The kernel's checks of a program come back as EINVAL with a hint on what it wants."""
    kind, number, _, hint = error_of(program)

    assert (kind, number) == (KernelError, errno.EINVAL)
    assert hint is not None
    assert "forward jumps" in hint


def test_order_of_the_checks() -> None:
    """F9: flags, then the program, then the descriptor, then EBUSY, then the chain's length."""

    def tried(flags: int, program: bytes | None) -> int:
        if program is None:
            return -syscall(SYS_SECCOMP, Operation.SET_MODE_FILTER, flags, 0)
        fprog = _Fprog(len(program) // 8, program)
        return -syscall(SYS_SECCOMP, Operation.SET_MODE_FILTER, flags, ctypes.addressof(fprog))

    def work() -> list[int]:
        new = int(FilterFlag.NEW_LISTENER)
        long = always(Action.ALLOW, BPF_MAXINSNS)
        first = install(notify("getpgid"))
        assert first.listener is not None
        kept = os.dup(first.listener.fileno())
        while tried(0, long) == 0:
            pass
        results = [tried(0, long), tried(new, long)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 4096))
        results += [tried(new, long), tried(new, b"\xff" * 8), tried(new | 1 << 29, None)]
        os.close(kept)
        first.listener.close()
        return results

    assert apart(work) == [
        errno.ENOMEM,  # only the chain is too long
        errno.EBUSY,  # and a listener is open above
        errno.EMFILE,  # and there is no free descriptor
        errno.EINVAL,  # and the program is bad
        errno.EINVAL,  # a bad flag: EFAULT otherwise, since there is no program
    ]


def test_no_free_descriptor() -> None:
    """F8: with no free descriptor the install is EMFILE and no filter stays."""

    def work() -> Any:
        notif_sizes()
        program = notify("getppid")
        with pytest.raises(KernelError):
            install(ALLOW, flags=FilterFlag(1 << 29))  # what is imported lazily is there now
        used = len(open_fds())
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 4096))
        with pytest.raises(KernelError) as caught:
            install(program)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 4096))
        return caught.value.errno, str(caught.value), filters(), len(open_fds()) - used

    number, message, count, more = apart(work)

    assert number == errno.EMFILE
    assert "no free descriptor" in message
    assert (count, more) == (0, 0)


def test_no_new_privs_is_set_and_inherited() -> None:
    """S6: the default sets no_new_privs, which a forked process and a program inherit."""

    def work() -> tuple[bool, bool, str]:
        before = is_no_new_privs()
        install(ALLOW, listener=False)
        status = subprocess.run(
            ["grep", "NoNewPrivs", "/proc/self/status"], capture_output=True, check=True
        ).stdout
        return before, is_no_new_privs() and apart(is_no_new_privs), status.decode()

    before, after, status = apart(work)

    assert (before, after) == (False, True)
    assert status.split() == ["NoNewPrivs:", "1"]


def drop() -> None:
    """Be an ordinary user."""
    if ROOT:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)


def test_neither_privileged_nor_no_new_privs() -> None:
    """S5: without no_new_privs an ordinary user gets EACCES, and is told what is needed."""

    def work() -> Any:
        drop()
        with pytest.raises(KernelError) as caught:
            install(ALLOW, no_new_privs=False)
        return caught.value.errno, caught.value.hint, is_no_new_privs()

    number, hint, locked = apart(work)

    assert number == errno.EACCES
    assert "CAP_SYS_ADMIN" in hint
    assert not locked


def test_own_user_namespace_is_privilege_enough() -> None:
    """S5: after unshare(CLONE_NEWUSER) an ordinary user needs no no_new_privs."""

    def work() -> Any:
        from unotify.kernel._libc import libc

        drop()
        if libc.unshare(0x10000000):
            return None
        done = install(ALLOW, no_new_privs=False, listener=False)
        return done.enforcement.no_new_privs, filters()

    result = apart(work)
    if result is None:
        pytest.skip("no user namespaces for ordinary users here")

    assert result == (False, 1)


def test_spawn_without_privilege() -> None:
    """S5: a spawn with ``no_new_privs=False`` by an ordinary user is EACCES; no process is left."""
    if ROOT:
        pytest.skip("for ordinary users")
    with pytest.raises(KernelError) as caught:
        spawn(notify("getppid"), ["true"], no_new_privs=False)

    assert caught.value.errno == errno.EACCES
    assert no_children()


def test_second_listener_in_a_chain() -> None:
    """F4: a second NEW_LISTENER is EBUSY, said as `AlreadySupervised`, in forked processes too."""

    def work() -> Any:
        first = install(notify("getpgid"))
        assert first.listener is not None
        kept = os.dup(first.listener.fileno())

        def second() -> tuple[int, str, int]:
            count = filters()
            with pytest.raises(AlreadySupervised) as caught:
                install(notify("getppid"))
            return caught.value.errno or 0, caught.value.ancestor, filters() - count

        here, there = second(), apart(second)
        os.close(kept)
        first.listener.close()
        return os.getpid(), here, there

    pid, here, there = apart(work)

    assert here == there
    assert (here[0], here[2]) == (errno.EBUSY, 0)
    assert f"process {pid}" in here[1]


def test_install_below_a_listener_without_one() -> None:
    """F4: a filter without a listener may follow one that has an open listener."""

    def work() -> int:
        first = install(notify("getpgid"))
        assert first.listener is not None
        install(ALLOW, listener=False)
        first.listener.close()
        return filters()

    assert apart(work) == 2


def test_new_listener_after_the_last_close() -> None:
    """R8: after the last close a new listener is possible; the old rules still say ENOSYS."""

    def work() -> tuple[int, int]:
        first = install(notify("getpgrp", "getppid"))
        assert first.listener is not None
        first.listener.close()
        second = install(notify("getppid"))
        assert second.listener is not None
        kept = second.listener

        # The one who waits is another process: this one answers.
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(write, struct.pack("=ii", syscall_errno("getpgrp"), syscall_errno("getppid")))
            os._exit(0)
        raw = receive(kept)
        assert raw is not None
        respond(kept, raw, error=42)
        data = os.read(read, 8)
        os.waitpid(pid, 0)
        kept.close()
        return struct.unpack("=ii", data)

    assert apart(work) == (errno.ENOSYS, 42)


def test_notification_without_a_listener() -> None:
    """F6: USER_NOTIF in a filter that never had a listener is ENOSYS."""

    def work() -> int:
        install(notify("getppid"), listener=False)
        return syscall_errno("getppid")

    assert apart(work) == errno.ENOSYS


def test_newer_filter_without_a_listener_shadows() -> None:
    """F5: a newer USER_NOTIF without a listener wins: ENOSYS, and the older listener is deaf."""
    code = """if True:
        import os, sys
        from tests.kernel.spawn_support import notify
        from tests.kernel.test_install import syscall_errno
        from unotify.kernel.install import install
        first = syscall_errno("getpgrp")
        install(notify("getpgrp"), listener=False)
        print(first, syscall_errno("getpgrp"), flush=True)
    """
    spawned = spawn(
        notify("getpgrp"),
        [sys.executable, "-c", code],
        popen_options={"stdout": subprocess.PIPE},
    )
    listener: Any = spawned.listener
    heard = 0
    with listener, spawned.process as process:
        while (raw := receive(listener)) is not None:
            heard += 1
            respond(listener, raw, error=33)
        output, _ = process.communicate()

    assert (output, heard) == (f"33 {errno.ENOSYS}\n".encode(), 1)


def test_listener_in_the_same_process() -> None:
    """S7, R1: an install is the caller's own act; what it forks later notifies on its listener."""

    def work() -> list[str]:
        done = install(notify("getpgrp"))
        listener = done.listener
        assert listener is not None
        pids = []
        for _ in range(3):
            pid = os.fork()
            if pid == 0:
                os._exit(syscall_errno("getpgrp"))
            pids.append(pid)
        seen = []
        for _ in pids:
            raw = receive(listener)
            assert raw is not None
            seen.append(let_go(listener, raw))
        for pid in pids:
            assert os.waitpid(pid, 0)[1] == 0
        listener.close()
        return seen

    assert apart(work) == ["getpgrp"] * 3


def test_strict_mode() -> None:
    """Strict mode kills by SIGKILL for anything but read, write, _exit and sigreturn."""

    def work() -> None:
        install_strict()
        os.getppid()

    with pytest.raises(Killed) as caught:
        apart(work)

    assert caught.value.args == (signal.SIGKILL,)


def test_strict_mode_after_a_filter() -> None:
    """A thread with a filter cannot move to strict mode: EINVAL."""

    def work() -> int:
        install(ALLOW, listener=False)
        with pytest.raises(KernelError) as caught:
            install_strict()
        return caught.value.errno or 0

    assert apart(work) == errno.EINVAL


def test_prctl_makes_no_listener() -> None:
    """PR_SET_SECCOMP installs a filter but takes no flags, so it never returns a listener."""

    def work() -> tuple[int, int]:
        set_no_new_privs()
        program = notify("getppid")
        fprog = _Fprog(len(program) // 8, program)
        result = prctl(PR_SET_SECCOMP, Mode.FILTER, ctypes.byref(fprog))
        return result, syscall_errno("getppid")

    assert apart(work) == (0, errno.ENOSYS)


def test_actions_that_the_kernel_knows() -> None:
    """All eight actions are available here; /proc agrees."""
    with open("/proc/sys/kernel/seccomp/actions_avail") as file:
        names = file.read().split()

    assert [action.name.lower() for action in Action if action_available(action)] == names
    assert len(names) == 8


def test_seccomp_forbidden_by_an_outer_sandbox() -> None:
    """EPERM and ENOSYS of seccomp(2) are told as an outer sandbox's doing."""

    def work(number: int) -> str:
        install(answer({"seccomp": Action.ERRNO | number}), listener=False)
        with pytest.raises(KernelError) as caught:
            install(ALLOW, listener=False)
        return str(caught.value)

    assert "sandbox" in apart(lambda: work(errno.EPERM))
    assert "sandbox" in apart(lambda: work(errno.ENOSYS))


def test_ancestor_of_nobody() -> None:
    """Without any filter above there is no ancestor to name by its pid."""
    found = ancestry.find()

    assert found.pid is None
    assert found.filters is None


def test_ancestor_with_a_filter() -> None:
    """P9: the outermost filtered ancestor is found by its `Seccomp` line, with its filters."""

    def work() -> Any:
        install(ALLOW, listener=False)
        install(ALLOW, listener=False)
        return os.getpid(), apart(ancestry.find)

    pid, found = apart(work)

    assert (found.pid, found.filters) == (pid, 2)
    assert f"process {pid}" in found.description
