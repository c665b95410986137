"""A target thread, against scripted system calls."""

from __future__ import annotations

import errno
import gc
import os
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from unotify.abi.types import Tid
from unotify.calls.lookups import AT_FDCWD, Spot
from unotify.errors import KernelError, TargetGone
from unotify.kernel import identity
from unotify.kernel import thread as module
from unotify.kernel._libc import SYS_PIDFD_GETFD, SYS_PIDFD_OPEN, SYS_PIDFD_SEND_SIGNAL
from unotify.kernel.home import Home, Homes
from unotify.kernel.thread import PIDFD_THREAD, LinuxThread

ME = Tid(os.getpid())


class Calls:
    """Stands for `syscall`: knows pidfd_open and pidfd_getfd, and what they shall answer."""

    def __init__(self) -> None:
        self.made: list[tuple[int, ...]] = []
        self.thread_pidfds = True
        self.opened: list[int] = []
        self.getfd = 0
        self.then: list[bool] = []

    def __call__(self, number: int, *arguments: int) -> int:
        """One call."""
        self.made.append((number, *arguments))
        if number == SYS_PIDFD_OPEN:
            if arguments[1] == PIDFD_THREAD and not self.thread_pidfds:
                return -errno.EINVAL
        else:
            assert number == SYS_PIDFD_GETFD
            if self.getfd:
                return -self.getfd
        self.opened.append(os.open(os.devnull, os.O_RDONLY))
        return self.opened[-1]

    def still_open(self) -> list[int]:
        """Which of the descriptors that were handed out are open."""
        return [fd for fd in self.opened if Path(f"/proc/self/fd/{fd}").exists()]


@pytest.fixture(name="calls")
def _calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[Calls]:
    calls = Calls()
    monkeypatch.setattr(module, "syscall", calls)
    yield calls
    assert calls.still_open() == []


class Waits:
    """Whether the notification waits: yes, up to so many questions."""

    def __init__(self, times: int = 1000) -> None:
        self.left = times

    def __call__(self) -> bool:
        """Ask."""
        self.left -= 1
        return self.left >= 0


def test_nothing_is_opened_before_it_is_needed(calls: Calls) -> None:
    """A handler that only reads memory pays for no pidfd and no look into /proc."""
    with LinuxThread(ME, Waits(0)):
        assert calls.made == []


@pytest.mark.parametrize("tid", [0, -1])
def test_the_invisible_target_is_never_passed_on(calls: Calls, tid: int) -> None:
    """P3: to most calls 0 means ourselves, so it does not get that far."""
    with pytest.raises(TargetGone, match="not visible"):
        LinuxThread(Tid(tid), Waits())
    assert calls.made == []


def test_the_pidfd_is_of_the_thread_and_opened_once(calls: Calls) -> None:
    """P6: one pidfd, with PIDFD_THREAD, kept until the close."""
    with LinuxThread(ME, Waits()) as thread:
        assert thread.fileno() == thread.fileno() == calls.opened[0]
        assert calls.made == [(SYS_PIDFD_OPEN, ME, PIDFD_THREAD)]


def test_an_older_kernel_gives_the_process_s_pidfd(calls: Calls) -> None:
    """P6: EINVAL for PIDFD_THREAD says that there are only pidfds of processes."""
    calls.thread_pidfds = False
    with LinuxThread(ME, Waits()) as thread:
        thread.fileno()
        assert calls.made[1:] == [(SYS_PIDFD_OPEN, thread.tgid, 0)]


def test_opened_first_and_asked_second(calls: Calls) -> None:
    """P8: a pidfd of a number whose notification is over is closed unused."""
    with LinuxThread(ME, Waits(0)) as thread, pytest.raises(TargetGone):
        thread.fileno()
    assert len(calls.opened) == 1


def test_a_descriptor_stolen_too_late_is_closed(calls: Calls) -> None:
    """P8: between the pidfd and the descriptor the call may end; nothing leaks then."""
    with LinuxThread(ME, Waits(1)) as thread, pytest.raises(TargetGone):
        thread.steal_fd(3)
    assert len(calls.opened) == 2


def test_a_stolen_descriptor_is_the_caller_s(calls: Calls) -> None:
    """Closing the thread leaves it open."""
    with LinuxThread(ME, Waits()) as thread:
        stolen = thread.steal_fd(3)
    assert calls.still_open() == [stolen]
    os.close(stolen)


@pytest.mark.parametrize("number", [errno.EBADF, errno.EPERM, errno.ENOSYS])
def test_why_a_descriptor_cannot_be_stolen(calls: Calls, number: int) -> None:
    """M3: the errno is the kernel's, and says who has to act."""
    calls.getfd = number
    with LinuxThread(ME, Waits()) as thread, pytest.raises(KernelError) as caught:
        thread.steal_fd(3)
    assert (caught.value.errno, caught.value.call) == (number, "pidfd_getfd(2)")


def test_a_thread_that_died_meanwhile(calls: Calls) -> None:
    """ESRCH from pidfd_getfd is a death, and no fault."""
    calls.getfd = errno.ESRCH
    with LinuxThread(ME, Waits()) as thread, pytest.raises(TargetGone):
        thread.steal_fd(3)


def test_names_and_processes_are_asked_about_twice() -> None:
    """P8: what /proc says of a number counts only while the notification waits."""
    with LinuxThread(ME, Waits()) as thread:
        assert thread.tgid == os.getpid()
        assert thread.comm() == Path("/proc/self/comm").read_text()[:-1]
    with LinuxThread(ME, Waits(0)) as thread:
        with pytest.raises(TargetGone):
            thread.comm()
        with pytest.raises(TargetGone):
            _ = thread.tgid


def test_a_number_that_nobody_has() -> None:
    """A dead thread has no name, no process and no pidfd."""
    with LinuxThread(Tid(2**22 + 1), Waits()) as thread:
        for attempt in (
            thread.comm,
            thread.fileno,
            lambda: thread.tgid,
            lambda: thread.steal_fd(0),
        ):
            with pytest.raises(TargetGone):
                attempt()


def test_after_the_close_it_is_gone(calls: Calls) -> None:
    """Whatever is asked of a closed thread, the target is gone; closing twice is fine."""
    thread = LinuxThread(ME, Waits())
    thread.fileno()
    thread.close()
    thread.close()
    attempts = (
        thread.fileno,
        thread.comm,
        lambda: thread.tgid,
        lambda: thread.steal_fd(0),
        lambda: thread.memory.read(0, 1),  # type: ignore[arg-type]
    )
    for attempt in attempts:
        with pytest.raises(TargetGone):
            attempt()


def test_a_forgotten_thread_warns_and_closes(calls: Calls) -> None:
    """Its pidfd is freed by the collector, which says so."""

    def forget() -> None:
        # In one step: the collector may run at any time.
        LinuxThread(ME, Waits()).fileno()
        gc.collect()

    with pytest.warns(ResourceWarning, match="LinuxThread"):
        forget()


def test_a_closed_thread_goes_at_once() -> None:
    """One is made for each call that is looked into: no garbage is left to be collected."""
    gc.collect()
    thread = LinuxThread(ME, Waits())
    thread.close()
    del thread
    assert gc.collect() == 0


def test_who_a_thread_is() -> None:
    """Ids, program, cgroup and start are what /proc says; asked about twice (P8)."""
    with LinuxThread(ME, Waits()) as thread:
        assert thread.ids() == (os.geteuid(), os.getegid())
        assert thread.exe() == os.readlink("/proc/self/exe")
        assert thread.started() > 0
        assert thread.cgroup() in ("", *_cgroups())
        with closing(thread.pin(Spot(b"/.."))) as pinned:
            assert pinned.text == "/"
    for look in (LinuxThread.ids, LinuxThread.exe, LinuxThread.cgroup):
        with LinuxThread(ME, Waits(0)) as thread, pytest.raises(TargetGone):
            look(thread)
    with LinuxThread(ME, Waits(1)) as thread, pytest.raises(TargetGone):
        thread.pin(Spot(b"/"))


def _cgroups() -> list[str]:
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    return [line[3:] for line in lines if line.startswith("0::")]


def test_kinds_of_descriptors(tmp_path: Path) -> None:
    """What is open there; nothing is "none", a directory has its name."""
    reading, writing = os.pipe()
    kinds = {
        "file": os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT),
        "directory": os.open(tmp_path, os.O_RDONLY),
        "char": os.open(os.devnull, os.O_RDONLY),
        "anon": os.eventfd(0),
        "pipe": reading,
    }
    try:
        with LinuxThread(ME, Waits()) as thread:
            assert {kind: thread.fd_kind(fd) for kind, fd in kinds.items()} == {
                kind: kind for kind in kinds
            }
            assert thread.fd_path(kinds["directory"]) == str(tmp_path.resolve())
            assert thread.fd_path(-100) == os.getcwd()
            assert [thread.fd_kind(fd) for fd in (-1, 987)] == ["none", "none"]
            assert [thread.fd_path(fd) for fd in (-1, 987)] == ["", ""]
        for look in (LinuxThread.fd_kind, LinuxThread.fd_path):
            with LinuxThread(ME, Waits(0)) as thread, pytest.raises(TargetGone):
                look(thread, reading)
    finally:
        for fd in (*kinds.values(), writing):
            os.close(fd)


def test_killing_goes_through_the_pidfd(monkeypatch: pytest.MonkeyPatch) -> None:
    """P8: no number is ever killed, which may be somebody else by then."""
    calls = Calls()
    killed: list[tuple[int, ...]] = []

    def made(number: int, *arguments: int) -> int:
        if number == SYS_PIDFD_SEND_SIGNAL:
            killed.append(arguments)
            return answers.pop()
        return calls(number, *arguments)

    answers = [-errno.EPERM, -errno.ESRCH, 0]
    monkeypatch.setattr(module, "syscall", made)
    with LinuxThread(ME, Waits()) as thread:
        thread.kill()
        assert killed == [(thread.fileno(), 9, 0, 0)]
        with pytest.raises(TargetGone):
            thread.kill()
        with pytest.raises(KernelError, match="pidfd_send_signal"):
            thread.kill()
    with LinuxThread(ME, Waits(0)) as thread, pytest.raises(TargetGone):
        thread.kill()
    assert len(killed) == 3


def test_rights_of_who_exits() -> None:
    """Whoever is killed meanwhile has no umask any more, and has gone."""
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    try:
        with LinuxThread(Tid(pid), lambda: True) as thread, pytest.raises(TargetGone):
            thread.rights()
    finally:
        os.waitpid(pid, 0)


class Notification:
    """Whether it waits, as the test says; counts who asks."""

    def __init__(self) -> None:
        self.waits = True
        self.asked = 0

    def __call__(self) -> bool:
        """Ask."""
        self.asked += 1
        return self.waits


def test_one_question_for_several_looks() -> None:
    """P8: after `defer` it is asked once, at `settle`, and after each look from then on."""
    notification = Notification()
    with LinuxThread(ME, notification) as thread:
        thread.defer()
        thread.defer()
        thread.comm()
        thread.rights()
        assert thread.place.root >= 0
        assert notification.asked == 0
        thread.settle()
        assert notification.asked == 1
        thread.settle()
        assert notification.asked == 1
        thread.comm()
        assert notification.asked == 2


def test_nothing_was_looked_at() -> None:
    """Then there is nothing to ask about."""
    notification = Notification()
    with LinuxThread(ME, notification) as thread:
        thread.defer()
        thread.settle()
        thread.defer()
        thread.forget()
        assert notification.asked == 0
        thread.comm()
        assert notification.asked == 1


LOOKS = [
    LinuxThread.status,
    LinuxThread.rights,
    LinuxThread.user_namespace,
    LinuxThread.fileno,
    lambda thread: thread.tgid,
    lambda thread: thread.home.directory,
    lambda thread: thread.place.root,
    lambda thread: thread.place.start(AT_FDCWD),
]


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("end", [LinuxThread.settle, LinuxThread.forget])
def test_what_was_somebody_elses_is_not_kept(
    look: Callable[[LinuxThread], object], end: Callable[[LinuxThread], None]
) -> None:
    """P8: what was looked at since `defer` of a thread that had gone by then is told to nobody."""
    notification = Notification()
    with LinuxThread(ME, notification) as thread:
        thread.defer()
        look(thread)
        notification.waits = False
        with suppress(TargetGone):
            end(thread)
        with pytest.raises(TargetGone):
            look(thread)


@pytest.mark.parametrize("look", LOOKS)
def test_nor_is_what_was_found_too_late(look: Callable[[LinuxThread], object]) -> None:
    """P8: a second look finds as little as the first."""
    notification = Notification()
    notification.waits = False
    with LinuxThread(ME, notification) as thread:
        for _ in range(2):
            with pytest.raises(TargetGone):
                look(thread)


def test_what_was_looked_at_stays_if_it_waits() -> None:
    """A look whose act was refused has held a descriptor, and who acts again gets the same."""
    notification = Notification()
    reading, writing = os.pipe()
    try:
        with LinuxThread(ME, notification) as thread:
            thread.fd_kind(reading)
            thread.defer()
            held = thread.place.held(reading)
            thread.rights()
            thread.forget()
            assert thread.place.held(reading) == held is not None
    finally:
        os.close(reading)
        os.close(writing)


def test_the_status_is_read_once() -> None:
    """It is that of the call: for as long as it waits, its thread changes nothing."""
    with LinuxThread(ME, Waits()) as thread:
        status = thread.status()
        before = os.umask(0o017)
        os.umask(before)
        assert thread.status() is status


@pytest.mark.parametrize("number", [errno.ESRCH, errno.ENOENT, errno.EMFILE, errno.EACCES])
def test_a_status_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Whose task has ended has gone; all else is our trouble."""

    def fail(_: Home) -> bytes:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Home, "status", fail)
    with LinuxThread(ME, Waits()) as thread:
        if number in (errno.ESRCH, errno.ENOENT):
            with pytest.raises(TargetGone):
                thread.status()
        else:
            with pytest.raises(KernelError) as caught:
                thread.status()
            assert caught.value.errno == number


class Keeper:
    """Stands for who acts: it has homes, and does nothing."""

    def __init__(self) -> None:
        self.homes = Homes()


def test_a_home_is_given_back() -> None:
    """When the call is over the next one of that thread has it; also of one that had gone."""
    keeper = Keeper()
    notification = Notification()
    with LinuxThread(ME, notification, actor=keeper) as thread:  # type: ignore[arg-type]
        home = thread.home
    notification.waits = False
    with LinuxThread(ME, notification, actor=keeper) as thread:  # type: ignore[arg-type]
        with pytest.raises(TargetGone):
            _ = thread.home
    assert keeper.homes.take(ME) is home
    home.close()


def test_a_control_group_with_an_odd_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may make one chooses its name; that ends where the line does, and not before."""
    table = b"4:cpu:/x\n0::/allowed\r0::/y\x0b\x0c\n"
    monkeypatch.setattr(identity, "entry", lambda *_: table)
    with LinuxThread(ME, Waits()) as thread:
        assert thread.cgroup() == "/allowed\r0::/y\x0b\x0c"
