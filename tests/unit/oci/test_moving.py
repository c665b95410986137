"""Containers that get another policy while they run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from unotify.oci.containers import Container, Containers, Served
from unotify.oci.moving import Moving


def test_what_the_old_policy_has_decided_counts_for_it() -> None:
    """Supervisors tell what they have answered without Python before the container moves."""
    told: list[str] = []
    listener: Any = object()
    nothing: Any = SimpleNamespace(uid=0, id="web")

    def settle() -> None:
        told.append(container.ward.name)

    supervisor = SimpleNamespace(settle_counts=settle, release=lambda listener, then: None)
    old: Any = SimpleNamespace(name="old", supervisor=supervisor, containers=0)
    new: Any = SimpleNamespace(name="new", supervisor=None, containers=0)
    container = Container("web", nothing, old, nothing, nothing)
    containers = Containers()
    containers.add(container, Served(listener, nothing, wait_killable=True))
    moving = Moving(containers, nothing, nothing, lambda: None)
    moving.move(container, nothing, new, None)
    assert container.ward is new
    assert told == ["old"]
