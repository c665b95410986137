"""Policies that are loaded again while containers run."""

from __future__ import annotations

import logging
from collections.abc import Callable

from unotify.errors import InvalidPolicy
from unotify.oci.choosing import Choice
from unotify.oci.containers import Containers
from unotify.oci.moving import Moving
from unotify.oci.shelf import Shelf, Version
from unotify.oci.wards import Ward

__all__ = ["reload"]

_log = logging.getLogger("unotify.agent")


def reload(
    shelf: Shelf[Ward],
    containers: Containers,
    moving: Moving,
    chosen: Callable[[Choice], tuple[Ward, Version[Ward] | None]],
) -> bool:
    """Load the policies again; False if something is wrong, which changes nothing.

    Args:
        shelf: The policies.
        containers: Who keeps the version that he has, or moves.
        moving: Moves them.
        chosen: Which ward, and which version, a choice means.
    """
    try:
        old, new = shelf.load()
    except InvalidPolicy as error:
        for problem in error.problems:
            place = ":".join(
                str(part)
                for part in (problem.source, problem.line, problem.column)
                if part is not None
            )
            _log.error("%s", f"{place}: {problem}" if place else str(problem))
        _log.error("the policies stay as they were")
        return False
    said = []
    for name in sorted({*old.policies, *new.policies}):
        before, now = old.policies.get(name), new.policies.get(name)
        if before is now:
            continue
        said.append(f"{name} is {'new' if not before else 'changed' if now else 'gone'}")
        if before is not None:
            before.made.outdated = True
    _log.info("policies are loaded: %s", ", ".join(said) or "none has changed")
    for container in containers:
        if container.choice.moves:
            choice = new.choose(container.state)
            moving.move(container, choice, *chosen(choice))
    return True
