"""The cases that runc's own tests have for listeners, and what crun makes of them.

Runc's own (``tests/integration/seccomp-notify.bats``, and what it refuses in a profile):

============================================  ==================================================
run, both values of noNewPrivileges           ``test_stories.py``: ``test_no_new_privileges``
exec, both values                             ``test_stories.py``: ``test_exec``
important calls, both values                  ``test_important_calls``
a path, and nothing to notify                 ``test_no_call_is_notified``
calls to notify, and an empty path or none    ``test_no_listener_path``
a path where nothing is, an abstract name     ``test_nobody_listens``
no agent: a clear error                       ``test_nobody_listens``, ``test_the_agent_has_gone``
the agent is killed: ENOSYS                   ``test_ends.py``: ``test_the_agent_is_killed``
an error of the agent's choice                ``test_an_error_of_the_agents_choice``
``write``                                     ``test_write``
a default of SCMP_ACT_NOTIFY                  ``test_default``
a hook gets no descriptor                     ``test_hooks_have_no_more_descriptors``
============================================  ==================================================
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.containers.container_support import RUNTIMES, Agent, Bundle, Place, as_text

POLICY = """
version = 1
default = "allow"

[[rule]]
calls = {calls}
do = {do}
log = true
"""
IMPORTANT = ["execve", "open", "openat", "read", "close"]
MKDIR = POLICY.format(calls='["mkdir", "mkdirat"]', do='{ fail = "ENOMEDIUM" }')
NO_MEDIUM = "mkdir: can't create directory '/tmp/a': No medium found\n"


@pytest.fixture(name="agent", scope="module")
def _agent(shared: Place) -> Agent:
    return shared.agent(
        shared.policies(default=MKDIR, important=important(IMPORTANT), write=important(["write"]))
    )


def important(calls: Sequence[str]) -> str:
    """A policy that sees *calls* and lets them go on."""
    return POLICY.format(calls=json.dumps(list(calls)), do='"allow"')


def profile(bundle: Bundle, agent: Agent, calls: Sequence[str], **more: object) -> Bundle:
    """A profile as one is written by hand: *calls* are the agent's."""
    bundle.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(agent.socket),
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [{"names": list(calls), "action": "SCMP_ACT_NOTIFY"}] if calls else [],
        **more,
    }
    return bundle


@pytest.mark.parametrize("privileges", [True, False], ids=["no new privileges", "new privileges"])
@pytest.mark.parametrize("name", RUNTIMES)
def test_important_calls(name: str, privileges: bool, agent: Agent, place: Place) -> None:
    """Calls that the runtime itself makes below the filter wait for the agent, and go on."""
    runtime = place.runtime(name)
    bundle = runtime.bundle().supervised(important(IMPORTANT), agent, metadata="important")
    bundle.config["process"]["noNewPrivileges"] = privileges
    done = runtime.runs(bundle.runs("true; ls /"))
    assert "mnt\n" in done.stdout, as_text(done) + agent.said


def test_no_call_is_notified(agent: Agent, place: Place) -> None:
    """A profile with a listenerPath and nothing for it: runc ignores the path, crun connects."""
    for name in RUNTIMES:
        runtime = place.runtime(name)
        done = runtime.runs(profile(runtime.bundle(), agent, []).runs("mkdir /tmp/a; ls /tmp"))
        assert done.stdout == "a\n", as_text(done) + agent.said


def test_no_listener_path(agent: Agent, place: Place) -> None:
    """Calls to notify and no path: runc refuses the profile, in crun they fail with ENOSYS."""
    runc, crun = (place.runtime(name) for name in RUNTIMES)
    for path in ("", None):
        bundle = profile(runc.bundle(), agent, ["mkdir"], listenerPath=path)
        done = runc.runs(bundle.runs("true"))
        assert done.returncode != 0
        assert "listenerPath is not set" in done.stderr
    bundle = profile(crun.bundle(), agent, ["mkdir"])
    del bundle.config["linux"]["seccomp"]["listenerPath"]
    done = crun.runs(bundle.runs("mkdir /tmp/a"))
    assert done.stderr == NO_MEDIUM.replace("No medium found", "Function not implemented")


@pytest.mark.parametrize("path", ["/nowhere/agent.sock", "@nobody-listens-here", "agent.sock"])
@pytest.mark.parametrize("name", RUNTIMES)
def test_nobody_listens(name: str, path: str, agent: Agent, place: Place) -> None:
    """Where no agent listens no container starts, the runtime says so, and nothing is left."""
    runtime = place.runtime(name)
    bundle = profile(runtime.bundle(), agent, ["mkdir"], listenerPath=path)
    done = runtime.runs(bundle.runs("echo it runs"))
    assert (done.returncode != 0, done.stdout) == (True, ""), as_text(done)
    assert ("seccomp" if name == "runc" else path) in done.stderr
    assert runtime.containers() == []


@pytest.mark.parametrize("name", RUNTIMES)
def test_the_agent_has_gone(name: str, agent: Agent, place: Place) -> None:
    """A socket that nobody listens at any more is as none: the runtime names the agent, or it."""
    path = place.fresh("left")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
        left.listen()
    runtime = place.runtime(name)
    bundle = profile(runtime.bundle(), agent, ["mkdir"], listenerPath=str(path))
    done = runtime.runs(bundle.runs("echo it runs"))
    assert (done.returncode != 0, done.stdout) == (True, ""), as_text(done)
    assert ("failed to connect with seccomp agent" if name == "runc" else str(path)) in done.stderr
    assert "onnection refused" in done.stderr
    assert runtime.containers() == []


def test_write(agent: Agent, place: Place) -> None:
    """Runc refuses to notify write; crun does it, and each write waits for the agent."""
    runc, crun = (place.runtime(name) for name in RUNTIMES)
    done = runc.runs(profile(runc.bundle(), agent, ["write"]).runs("true"))
    assert done.returncode != 0
    assert "SCMP_ACT_NOTIFY cannot be used for the write syscall" in done.stderr
    done = crun.runs(
        profile(crun.bundle(), agent, ["write"], listenerMetadata="write").runs("echo written")
    )
    assert done.stdout == "written\n", as_text(done) + agent.said


def test_default(agent: Agent, place: Place) -> None:
    """Runc refuses a default of SCMP_ACT_NOTIFY."""
    runc = place.runtime("runc")
    bundle = profile(runc.bundle(), agent, [], defaultAction="SCMP_ACT_NOTIFY")
    done = runc.runs(bundle.runs("true"))
    assert done.returncode != 0
    assert "SCMP_ACT_NOTIFY cannot be used as default action" in done.stderr


def test_an_error_of_the_agents_choice(agent: Agent, place: Place) -> None:
    """The errno that a policy names is the one that the program sees, in run and in exec."""
    for name in RUNTIMES:
        runtime = place.runtime(name)
        bundle = runtime.bundle().supervised(MKDIR, agent)
        done = runtime.runs(bundle.runs("mkdir /tmp/a"))
        assert (done.returncode, done.stderr) == (1, NO_MEDIUM), as_text(done)
        container = runtime.detaches(bundle.runs("exec sleep 1000"))
        done = runtime.does("exec", container, "mkdir", "/tmp/a")
        assert (done.returncode, done.stderr.splitlines()[0] + "\n") == (1, NO_MEDIUM)


@pytest.mark.parametrize("name", RUNTIMES)
def test_hooks_have_no_more_descriptors(name: str, agent: Agent, place: Place) -> None:
    """A hook in the container sees neither the listener nor the connection to the agent."""
    runtime = place.runtime(name)
    bundle = runtime.bundle().supervised(MKDIR, agent)
    script = "readlink /proc/self/fd/* > /tmp/fds; ls /proc/self/fd | wc -l > /tmp/count"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin"]}
    bundle.config["hooks"] = {"startContainer": [hook]}
    done = runtime.runs(bundle.runs("true"))
    assert done.returncode == 0, as_text(done)
    seen = Path(bundle.rootfs, "tmp", "fds").read_text()
    assert "seccomp" not in seen
    assert "socket" not in seen
    assert int(Path(bundle.rootfs, "tmp", "count").read_text()) == 4
