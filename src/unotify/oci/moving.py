"""Containers that get a policy which is loaded while they run.

Each of their listeners is released by one supervisor and attached to the other. Between the two
calls wait in the kernel, and none is in flight: what the old policy has begun it finishes.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from unotify.errors import Error
from unotify.kernel.interface import Listener
from unotify.oci.choosing import Choice
from unotify.oci.containers import Container, Containers, Served
from unotify.oci.shelf import Version
from unotify.oci.wards import Ward

__all__ = ["Moving"]

_log = logging.getLogger("unotify.agent")


class Moving:
    """Moves containers from one supervisor to another.

    Args:
        containers: The registry.
        closed: What supervisors are to call when they close a listener.
        write_down: Is given each listener that has another policy now, for a successor to know.
        wake: Makes the agent's thread call `go_on` soon.
    """

    def __init__(
        self,
        containers: Containers,
        closed: Callable[[Listener], None],
        write_down: Callable[[Container, Served], None],
        wake: Callable[[], None],
    ) -> None:
        self._containers = containers
        self._closed = closed
        self._write_down = write_down
        self._wake = wake
        self._released: deque[tuple[Container, Served, Ward]] = deque()

    def move(
        self, container: Container, choice: Choice, ward: Ward, version: Version[Ward] | None
    ) -> None:
        """Begin to give *container* to *ward*, if it is with another one; in the agent's thread."""
        old = container.ward
        if old is ward:
            container.choice = choice
            return
        _log.info("container %s gets policy %s", container.id, ward.name)
        old.supervisor.settle_counts()  # what the old policy has decided counts for that one
        for served in self._containers.move(container, choice, ward, version):

            def released(listener: Listener, served: Served = served) -> None:
                # In the old supervisor's thread.
                self._released.append((container, served, old))
                self._wake()

            try:
                old.supervisor.release(served.listener, released)
            except Error:
                # It has ended in this moment.
                self._containers.moved(old)

    def go_on(self) -> None:
        """Attach what was released; in the agent's thread."""
        while self._released:
            container, served, old = self._released.popleft()
            self._containers.moved(old)
            self._write_down(container, served)
            try:
                container.attach(served, self._closed)
            except (Error, OSError) as error:
                _log.error("container %s cannot be served any more: %s", container.id, error)
                served.listener.close()
                self._closed(served.listener)

    def close(self) -> None:
        """Close what was released and not attached: the agent ends."""
        while self._released:
            _, served, _ = self._released.popleft()
            served.listener.close()
