"""The containers that an agent serves: by id, with their listeners.

Thread-safe: listeners are closed in threads of supervisors.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from secrets import token_hex
from threading import Lock
from typing import Self

from unotify.kernel.interface import Kernel, Listener
from unotify.oci.choosing import Choice
from unotify.oci.killable import is_wait_killable
from unotify.oci.process_state import ProcessState
from unotify.oci.shelf import Version
from unotify.oci.wards import Ward
from unotify.supervisor import Quota

__all__ = ["Container", "Containers", "Served"]


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """One listener of a container: of its first process, or of an exec.

    Attributes:
        state: What the runtime said.
        wait_killable: Whether its filter has WAIT_KILLABLE_RECV, as far as we know.
        since: When it came, in seconds since the epoch.
        user_namespace: The one that its container began in, as its link says; empty if unknown.
    """

    listener: Listener
    state: ProcessState
    wait_killable: bool
    since: float = field(default_factory=time.time)
    user_namespace: str = ""

    @classmethod
    def of(
        cls, listener: Listener, state: ProcessState, container: Container, kernel: Kernel
    ) -> Self:
        """*listener*, with what can be told of it."""
        # An exec has the filter of its container's profile, but not each runtime says where that
        # is, or who it is; and it may not begin in another user namespace.
        first = next(iter(container.listeners.values()), None)
        killable = container.choice.wait_killable
        if killable is None:
            others = container.listeners.values()
            killable = (
                is_wait_killable(state.bundle)
                if first is None
                else any(served.wait_killable for served in others)
            )
        if first is not None:
            namespace = first.user_namespace
        else:
            namespace = kernel.user_namespace(state.pid) if state.pid else ""
        return cls(listener, state, killable, user_namespace=namespace)


@dataclass(slots=True, eq=False)
class Container:
    """One container.

    Attributes:
        state: What the runtime said of its first listener.
        ward: Who serves it.
        choice: Why that one.
        quota: How many of its calls may be in flight.
        version: The version of its policy; ``None`` if it is refused.
        key: What it is called in what the agent leaves to its successor.
        since: When it came, in seconds since the epoch.
        listeners: What is open of it.
    """

    id: str
    state: ProcessState
    ward: Ward
    choice: Choice
    quota: Quota
    version: Version[Ward] | None = None
    key: str = field(default_factory=lambda: token_hex(8))
    since: float = field(default_factory=time.time)
    listeners: dict[Listener, Served] = field(default_factory=dict)

    def attach(
        self,
        served: Served,
        on_close: Callable[[Listener], None],
        backlog: Iterable[bytes] = (),
    ) -> None:
        """Let its ward serve one of its listeners; raises as `Supervisor.attach`."""
        self.ward.supervisor.attach(
            served.listener,
            wait_killable=served.wait_killable,
            container=served.user_namespace,
            on_close=on_close,
            quota=self.quota,
            backlog=backlog,
        )


class Containers:
    """All containers that have an open listener.

    An id may come twice, from two runtimes or after an end that nobody has seen yet: an exec
    belongs to the newest of the same user. Others' share neither its policy nor its calls.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._containers: dict[str, list[Container]] = {}
        self._by_listener: dict[Listener, Container] = {}

    def __iter__(self) -> Iterator[Container]:
        with self._lock:
            return iter([each for several in self._containers.values() for each in several])

    def __len__(self) -> int:
        with self._lock:
            return sum(map(len, self._containers.values()))

    @property
    def listeners(self) -> int:
        """How many are open."""
        return len(self._by_listener)

    def of(self, listener: Listener) -> Container | None:
        """Whose *listener* is, or ``None``: nobody's any more."""
        return self._by_listener.get(listener)

    def running(self, state: ProcessState) -> Container | None:
        """The container that *state* is an exec in, if it is one."""
        if state.status == "creating":
            return None
        with self._lock:
            found = self._containers.get(state.id, ())
            return next((each for each in reversed(found) if each.state.uid == state.uid), None)

    def add(self, container: Container, served: Served) -> None:
        """Note that *container*, a new one perhaps, has one more listener."""
        with self._lock:
            if not container.listeners:
                several = self._containers.setdefault(container.id, [])
                if container not in several:
                    several.append(container)
                    container.ward.containers += 1
            container.listeners[served.listener] = served
            self._by_listener[served.listener] = container

    def move(
        self, container: Container, choice: Choice, ward: Ward, version: Version[Ward] | None
    ) -> list[Served]:
        """Give *container* to another ward; returns its listeners, which the old one still has.

        Each of them counts for the old one until `moved`.
        """
        with self._lock:
            served = list(container.listeners.values())
            if not served:
                return []  # it has ended in this moment
            container.ward.containers += len(served) - 1
            container.ward, container.version, container.choice = ward, version, choice
            ward.containers += 1
            return served

    def moved(self, ward: Ward) -> None:
        """A listener has left *ward*, where it was, or was closed there."""
        with self._lock:
            ward.containers -= 1

    def closed(self, listener: Listener) -> Container | None:
        """Forget *listener*; returns its container if that was the last."""
        with self._lock:
            container = self._by_listener.pop(listener, None)
            if container is None:
                return None
            del container.listeners[listener]
            if container.listeners:
                return None
            several = self._containers[container.id]
            several.remove(container)
            if not several:
                del self._containers[container.id]
            container.ward.containers -= 1
            return container
