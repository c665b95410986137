"""What the probe says about this kernel, about sandboxes around us, and how long it takes."""

from __future__ import annotations

import errno
import os
import platform
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.spawn_support import (
    always,
    answer,
    apart,
    let_all_go,
    no_children,
    notify,
    open_fds,
)
from unotify.abi.arch import Arch
from unotify.abi.features import Feature
from unotify.abi.seccomp import Action
from unotify.errors import KernelError
from unotify.kernel import probe as module
from unotify.kernel._libc import NATIVE
from unotify.kernel.install import install
from unotify.kernel.linux import LinuxKernel
from unotify.kernel.probe import probe
from unotify.kernel.spawn import spawn


def fresh() -> module.Probed:
    """A probe that is not remembered."""
    return probe.__wrapped__()


def test_remembered() -> None:
    """The probe runs once for a process; `LinuxKernel` gives its features."""
    assert probe() is probe()
    assert LinuxKernel().features() == probe().features


def test_every_feature_is_tried() -> None:
    """Each feature of the table has an answer from the probing process."""
    tried = module._try()["features"]

    assert set(tried) == {feature.label for feature in Feature}
    assert all(isinstance(works, bool) for works in tried.values())


def test_features_that_others_can_see() -> None:
    """The probe agrees with what the kernel says elsewhere, and with what just worked."""
    with open("/proc/sys/kernel/seccomp/actions_avail") as file:
        actions = tuple(file.read().split())
    found = probe()

    assert found.actions == actions
    assert (Feature.USER_NOTIF in found.features) == ("user_notif" in actions)
    assert Feature.NEW_LISTENER in found.features
    assert found.install_error is None
    # Newer features come with older ones, in mainline as in every backport.
    ladder = [Feature.SYNC_WAKE_UP, Feature.ADDFD_SEND, Feature.ADDFD, Feature.CONTINUE]
    have = [feature in found.features for feature in ladder]
    assert have == sorted(have)


def test_features_that_a_spawn_uses() -> None:
    """WAIT_KILLABLE_RECV and SYNC_WAKE_UP are there exactly when a real listener takes them."""
    from unotify.abi.seccomp import FilterFlag, ListenerFlag
    from unotify.errors import Unsupported

    spawned = spawn(notify("getppid"), ["true"])
    try:
        spawned.listener.set_flags(ListenerFlag.SYNC_WAKE_UP)
        takes = True
    except Unsupported:
        takes = False
    let_all_go(spawned)
    spawned.process.wait()

    features = probe().features

    assert (Feature.SYNC_WAKE_UP in features) == takes
    got = bool(spawned.enforcement.flags & FilterFlag.WAIT_KILLABLE_RECV)
    assert (Feature.WAIT_KILLABLE_RECV in features) == got


def test_surroundings() -> None:
    """The rest are facts about this process and machine."""
    found = probe()
    lines = Path("/proc/self/status").read_text().splitlines()
    status = dict(line.split(":\t") for line in lines if ":\t" in line)
    bits = bin(int(status["CapEff"], 16)).count("1")

    assert found.uid == os.getuid()
    assert found.release == platform.release()
    assert found.files == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert len(found.capabilities) == bits
    assert ("sys_admin" in found.capabilities) == bool(int(status["CapEff"], 16) >> 21 & 1)
    assert found.no_new_privs == (status["NoNewPrivs"].strip() == "1")
    assert found.filters == int(status["Seccomp_filters"])
    assert os.path.exists("/proc/sys/kernel/yama/ptrace_scope") == (found.ptrace_scope is not None)


def test_architectures() -> None:
    """The native ABI comes first; on x86 the other two only if a call through them worked."""
    found = LinuxKernel().architectures

    assert found[0] is NATIVE
    assert len(set(found)) == len(found)
    if NATIVE is Arch.X86_64:
        assert set(found) <= {Arch.X86_64, Arch.I386, Arch.X32}
        assert probe().architectures == found


def test_user_namespace() -> None:
    """It says whether a user namespace with a mount namespace can be made, by making one."""
    done = subprocess.run(
        ["unshare", "--user", "--mount", "true"], capture_output=True, check=False
    )

    assert probe().user_namespace == (done.returncode == 0)


def test_quick_and_clean() -> None:
    """A probe takes less than 150 ms of processor time; no process and no descriptor is left."""
    before = open_fds()
    times = []
    for _ in range(5):
        start = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        fresh()
        times.append(sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - start)

    # Of the quickest: other tests run on the same processors, and hide it in the clock's time.
    assert min(times) < 0.15
    assert open_fds() == before
    assert no_children()


def test_under_a_sandbox_that_forbids_filters() -> None:
    """An outer sandbox that refuses seccomp(2) is an answer: its errno, and no feature of it."""

    def work() -> Any:
        install(answer({"seccomp": Action.ERRNO | errno.EPERM}), listener=False)
        return fresh()

    found = apart(work)

    assert found.install_error == "EPERM"
    assert Feature.NEW_LISTENER not in found.features
    assert Feature.CONTINUE not in found.features
    assert Feature.PROCESS_VM_READV in found.features
    assert found.filters == 1
    assert found.no_new_privs


def test_under_a_sandbox_that_kills() -> None:
    """A sandbox that kills for seccomp(2) is an answer too."""

    def work() -> Any:
        install(answer({"seccomp": Action.KILL_THREAD}), listener=False)
        return fresh()

    found = apart(work)

    assert found.install_error == "SIGSYS"
    assert Feature.PIDFD_GETFD in found.features


def test_under_a_sandbox_that_hides_other_processes() -> None:
    """Calls that a container's profile refuses are features that are not there."""

    def work() -> Any:
        refused = ["process_vm_readv", "pidfd_getfd", "pidfd_open", "unshare"]
        install(answer(dict.fromkeys(refused, Action.ERRNO | errno.EPERM)), listener=False)
        return fresh()

    found = apart(work)

    missing = {Feature.PROCESS_VM_READV, Feature.PIDFD_GETFD, Feature.PIDFD_THREAD}
    assert not missing & found.features
    assert not found.user_namespace
    assert found.install_error is None


def test_under_a_supervisor() -> None:
    """F4: below an open listener nothing can be supervised: the answer is EBUSY."""
    code = """if True:
        from unotify.abi.features import Feature
        from unotify.kernel.probe import probe
        found = probe()
        print(found.install_error, Feature.USER_NOTIF in found.features, found.filters)
    """
    spawned = spawn(
        notify("getpgid"),
        [sys.executable, "-c", code],
        popen_options={"stdout": subprocess.PIPE},
    )
    let_all_go(spawned)

    assert spawned.process.communicate()[0] == b"EBUSY True 1\n"


def test_no_process_at_all() -> None:
    """Only when nothing can be started is there an error, and it says so."""

    def work() -> str:
        install(answer({"execve": Action.ERRNO | errno.EPERM}), listener=False)
        with pytest.raises(KernelError) as caught:
            fresh()
        return str(caught.value)

    assert "probing process" in apart(work)


def test_probing_process_that_dies() -> None:
    """A probing process that is killed is an error with its status."""

    def work() -> str:
        # Inherited, and the interpreter needs it.
        install(answer({"getrandom": Action.ALLOW}), listener=False)
        module._CHILD = "/dev/null/none"
        with pytest.raises(KernelError) as caught:
            fresh()
        return str(caught.value)

    assert "ended with" in apart(work)


def test_ctrl_c_is_not_swallowed() -> None:
    """KeyboardInterrupt during a probe propagates, and the next probe works."""

    def interrupted() -> None:
        # Armed in here: on a busy machine it may go off at once.
        signal.setitimer(signal.ITIMER_REAL, 0.005)
        list(iter(fresh, None))

    def work() -> bool:
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        return Feature.USER_NOTIF in fresh().features

    assert apart(work) is True


def test_everything_trapped() -> None:
    """A supervisor may trap all that the probe does: nothing in it depends on who answers."""
    code = "from unotify.kernel.probe import probe; print(len(probe().features) > 5)"
    spawned = spawn(
        always(Action.USER_NOTIF),
        [sys.executable, "-c", code],
        popen_options={"stdout": subprocess.PIPE},
    )
    let_all_go(spawned)

    assert spawned.process.communicate()[0] == b"True\n"
