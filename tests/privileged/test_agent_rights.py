"""The table of capabilities by verb: what is in a row suffices, and each of it is needed."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.kernel.targets import until
from tests.privileged.handlers_support import FIRST, open_to_all
from tests.privileged.rights_support import STORIES, Agents
from unotify.abi.capabilities import Capability as C
from unotify.handlers.cgroups import hierarchies
from unotify.oci import protection
from unotify.oci.protection import names_of

NAMES = list(STORIES)

PERFORMING = {"redirect", "emulate-xattr", "host-socket", "fake-ownership"}
"""What these are not about is performed, or is what `perform` does with another argument."""

OVERLAYS = {C.CAP_CHOWN, C.CAP_FOWNER, C.CAP_FSETID, C.CAP_MKNOD, C.CAP_SETFCAP}
"""An overlay acts below itself with the rights of who has mounted it, at any later time."""


@pytest.fixture(name="agents", scope="module")
def _agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agents]:
    top = hierarchies().unified
    if not top or not os.access(top, os.W_OK):
        missing("this needs control groups of version 2 that can be made")
    above = Path(top) / f"unotify-rights-{os.getpid()}"
    group = above / "box"
    group.mkdir(parents=True)
    for name in ("", "cgroup.procs", "cgroup.subtree_control"):
        os.chown(group / name, FIRST, FIRST)
    with socket.create_server(("127.0.0.1", 0)) as host:
        thread = threading.Thread(target=_serve, args=(host,))
        thread.start()
        agents = Agents(
            open_to_all(tmp_path_factory.mktemp("rights")), group, host.getsockname()[1]
        )
        try:
            yield agents
        finally:
            agents.close()
            host.shutdown(socket.SHUT_RDWR)
            thread.join()
            until(lambda: "populated 0" in (above / "cgroup.events").read_text())
            group.rmdir()
            above.rmdir()


def _serve(host: socket.socket) -> None:
    while True:
        try:
            accepted, _ = host.accept()
        except OSError:
            return
        with accepted:
            accepted.sendall(b"host")


ROWS: dict[int, list[str]] = {}
for _verb, _row in sorted(protection._VERBS.items()):
    ROWS.setdefault(_row, []).append(_verb)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: ROWS[row][0])
def test_a_row_suffices(row: int, agents: Agents) -> None:
    """Confined to it, and under its own filter, an agent answers right for each of its verbs."""
    agent = agents.agent([name for name in NAMES if STORIES[name][0] in ROWS[row]])
    assert f"capabilities: {', '.join(names_of(row))}\n" in agent.said
    assert agent.failing() == {}, agent.said


def test_there_is_a_story_for_each_verb() -> None:
    """None is left out."""
    assert {verb for verb, *_ in STORIES.values()} == protection._VERBS.keys()


TOGETHER = [
    {
        C.CAP_KILL: "perform: a broken pipe",
        C.CAP_FSETID: "perform: what is another's",
        C.CAP_NET_BIND_SERVICE: "perform: bind",
        C.CAP_NET_RAW: "perform: options of a packet",
        C.CAP_AUDIT_WRITE: "perform: a line for the audit log",
        C.CAP_SETFCAP: "perform: file capabilities",
    },
    {
        C.CAP_BPF: "emulate-device-programs",
        C.CAP_PERFMON: "emulate-perf",
        C.CAP_SYS_TIME: "emulate-clock",
        C.CAP_SYS_NICE: "emulate-sched",
        C.CAP_SYS_MODULE: "load-module",
    },
    {C.CAP_CHOWN: "perform: chown"},
    {C.CAP_DAC_OVERRIDE: "perform: what is another's"},
    {C.CAP_FOWNER: "perform: what is another's"},
    {C.CAP_SETGID: "perform"},
    {C.CAP_SETUID: "perform"},
    {C.CAP_SYS_CHROOT: "perform: bind to a path"},
    {C.CAP_SYS_PTRACE: "perform"},
    {C.CAP_SYS_ADMIN: "perform: who sends"},
    {C.CAP_MKNOD: "perform: mknod"},
]
"""Capabilities that an agent is to lack, and a story that shows the lack of each."""


@pytest.mark.parametrize(
    "lacking", TOGETHER, ids=lambda lacking: "-".join(each.name[4:] for each in lacking)
)
def test_each_capability_of_a_row_is_needed(lacking: dict[C, str], agents: Agents) -> None:
    """Who lacks it answers wrong for the verbs that have it in their row, and for no other."""
    agent = agents.agent(NAMES, lacking=sum(1 << each for each in lacking))
    failing = agent.failing()
    assert set(lacking.values()) - failing.keys() == set()
    verbs = {STORIES[name][0] for name in failing}
    rows = {verb for verb, row in protection._VERBS.items() if any(row >> c & 1 for c in lacking)}
    excused = {verb for verb in PERFORMING if verb in rows and "perform" in verbs}
    if lacking.keys() & OVERLAYS:
        excused.add("emulate-mount")
    assert verbs - rows == set()
    assert rows - verbs - excused == set(), failing


def test_all_capabilities_are_looked_at() -> None:
    """The table has no other than these, and the one that `test_a_private_bundle` is about."""
    named = {each for group in TOGETHER for each in group} | {C.CAP_DAC_READ_SEARCH}
    found = {each for each in C if any(row >> each & 1 for row in protection._VERBS.values())}
    assert found == named


def test_a_private_bundle(agents: Agents) -> None:
    """What a runtime has written into another user's directory is read, with the right to it."""
    for lacking, expected in ((0, {}), (1 << C.CAP_DAC_READ_SEARCH, {"emulate-sysinfo"})):
        agent = agents.agent(["emulate-sysinfo"], lacking=lacking, bundle=True)
        assert agent.failing().keys() == set(expected), agent.said
