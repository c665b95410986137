"""Containers of the agent before this one: written down, and made again."""

from __future__ import annotations

import logging
import time

from unotify.errors import PolicyError
from unotify.kernel.journal import MOST_RECORD
from unotify.oci.choosing import REFUSE, Choice
from unotify.oci.containers import Container, Served
from unotify.oci.process_state import ProcessState
from unotify.oci.remembering import Memory, decode, encode
from unotify.oci.shelf import Shelf, Version
from unotify.oci.survival import Survivor
from unotify.oci.wards import Ward, Wards
from unotify.supervisor import Quota

__all__ = ["Restoring", "remember"]

_log = logging.getLogger("unotify.agent")


def remember(container: Container, served: Served) -> bytes:
    """What to write down of a listener."""
    version = container.version
    memory = Memory(
        key=container.key,
        state=served.state,
        first=served.state is container.state,
        policy=container.choice.policy,
        digest="" if version is None else version.digest,
        texts={} if version is None else version.texts,
        by=container.choice.by,
        wait_killable=served.wait_killable,
        since=served.since,
        user_namespace=served.user_namespace,
    )
    return encode(memory, MOST_RECORD)


class Restoring:
    """Makes containers of what was written down of their listeners.

    Args:
        shelf: The policies that are in force now.
        wards: Their supervisors.
        calls: How many calls of one container may be in flight.
    """

    def __init__(self, shelf: Shelf[Ward], wards: Wards, calls: int) -> None:
        self._calls = calls
        self._shelf = shelf
        self._wards = wards
        self._containers: dict[str, Container] = {}
        self._revived: dict[tuple[str, str], Version[Ward] | None] = {}

    def container_of(self, survivor: Survivor) -> tuple[Container, Served]:
        """Whose listener it is, and what to serve it with: the version that it had."""
        memory = decode(survivor.record)
        if memory is None:
            _log.error("a container is refused from now on: what is written of it is not readable")
            memory = Memory("", ProcessState("(unknown)"), True, REFUSE, since=time.time())
        container = self._containers.get(memory.key) if memory.key else None
        if container is None:
            version = self._version(memory)
            container = Container(
                memory.state.id,
                memory.state,
                self._wards.refusing if version is None else version.made,
                Choice(
                    memory.policy if version else REFUSE,
                    memory.by,
                    memory.wait_killable,
                    self._shelf.loaded.choose(memory.state).moves,
                ),
                Quota(self._calls),
                version,
                since=memory.since,
            )
            if memory.key:
                container.key = memory.key
                self._containers[memory.key] = container
        elif memory.first:
            container.state, container.since = memory.state, memory.since
        served = Served(
            survivor.listener,
            memory.state,
            memory.wait_killable,
            memory.since,
            memory.user_namespace,
        )
        return container, served

    def _version(self, memory: Memory) -> Version[Ward] | None:
        if memory.policy == REFUSE:
            return None
        known = self._shelf.loaded.policies.get(memory.policy)
        if known is not None and known.digest == memory.digest:
            return known
        key = memory.policy, memory.digest
        if key not in self._revived:
            self._revived[key] = self._revive(memory)
        return self._revived[key]

    def _revive(self, memory: Memory) -> Version[Ward] | None:
        what = f"the version of policy {memory.policy} that container {memory.state.id} has"
        if not memory.texts:
            _log.error("%s was too long to be kept: it is refused from now on", what)
            return None
        try:
            version = self._shelf.revive(memory.policy, memory.texts)
        except PolicyError as error:
            _log.error("%s cannot be used any more, it is refused from now on: %s", what, error)
            return None
        version.made.outdated = True
        return version
