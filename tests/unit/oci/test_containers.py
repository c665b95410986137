"""Which container a listener belongs to."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from unotify.oci.choosing import Choice
from unotify.oci.containers import Container, Containers, Served
from unotify.oci.process_state import ProcessState
from unotify.supervisor.quotas import Quota


def _come(containers: Containers, state: ProcessState) -> Container:
    """A container, and its first listener."""
    ward: Any = SimpleNamespace(containers=0)
    container = Container(state.id, state, ward, Choice("p", 0, None, False), Quota(1))
    listener: Any = object()
    containers.add(container, Served(listener, state, wait_killable=False))
    return container


def test_an_exec_belongs_to_the_newest() -> None:
    """Of that id; a first process is always another container."""
    containers = Containers()
    _come(containers, ProcessState("c", status="creating", uid=0))
    newest = _come(containers, ProcessState("c", status="creating", uid=0))
    assert containers.running(ProcessState("c", status="running", uid=0)) is newest
    assert containers.running(ProcessState("c", status="creating", uid=0)) is None
    assert containers.running(ProcessState("d", status="running", uid=0)) is None


def test_nobody_joins_the_container_of_another_user() -> None:
    """Who knows its name gets neither its policy nor its room for calls."""
    containers = Containers()
    roots = _come(containers, ProcessState("c", status="creating", uid=0))
    assert containers.running(ProcessState("c", status="running", uid=1000)) is None
    own = _come(containers, ProcessState("c", status="running", uid=1000))
    assert containers.running(ProcessState("c", status="running", uid=1000)) is own
    assert containers.running(ProcessState("c", status="running", uid=0)) is roots
