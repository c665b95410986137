"""What an agent has of the agent before it, and what it keeps for the next one.

The order of all this is `unotify.oci.restart`'s; here is what its steps mean to an agent.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Protocol

from unotify.errors import Error
from unotify.kernel.interface import Listener
from unotify.oci.bundles import Bundle
from unotify.oci.containers import Container, Served
from unotify.oci.restart import Begin, Put, Recover, Settle, Take, WriteDown, keep, restore, run
from unotify.oci.restoring import Restoring, remember
from unotify.oci.survival import Survival, Survivor

__all__ = ["Continuing"]

_log = logging.getLogger("unotify.agent")


class _Serve(Protocol):
    def __call__(
        self, container: Container, served: Served, backlog: Iterable[bytes] = ()
    ) -> None: ...


class Continuing:
    """Makes containers survive their agent.

    Args:
        survival: Where what they need is kept.
        serve: Serves a listener from now on.
    """

    def __init__(self, survival: Survival, serve: _Serve) -> None:
        self.survival = survival
        self._serve = serve

    def restore(
        self,
        restoring: Restoring,
        handed: Iterable[Bundle],
        before: Callable[[], None],
    ) -> list[Survivor]:
        """Serve what the agent before did.

        Args:
            restoring: Makes containers of what is written of them.
            handed: What that agent handed over itself.
            before: Called when it is known who is to be served, and nobody is yet.

        Raises:
            OSError: The store does not say what it has.
        """
        survival = self.survival
        found: dict[str, tuple[Survivor, Container, Served]] = {}

        def do(step: Put | Take | Recover | Settle | Begin) -> Any:
            match step:
                case Put(name):
                    survival.put(name)
                case Take():
                    return survival.take()
                case Recover(name):
                    survivor = survival.recover(name)
                    if survivor is not None:
                        found[name] = (survivor, *restoring.container_of(survivor))
                    return survivor is not None
                case Settle():
                    before()
                case Begin(name):
                    self._begin(*found[name])
            return None

        run(restore(survival.accept(handed)), do)
        return [survivor for survivor, _, _ in found.values()]

    def _begin(self, survivor: Survivor, container: Container, served: Served) -> None:
        listener = survivor.listener
        for notification in survivor.hopeless:
            listener.refuse(notification, errno.EPERM)
            _log.error("a call that agents died of is refused")
        listener.try_again(survivor.again)
        try:
            self._serve(container, served, survivor.again)
        except Error as error:
            _log.error("container %s cannot be served any more: %s", container.id, error)
            self.let_go(listener)
            listener.close()

    def keep(self, container: Container, served: Served, backlog: Iterable[bytes]) -> None:
        """Serve a listener that has come, so that it survives.

        Args:
            container: Whose it is.
            served: It; taken over unless this raises.
            backlog: Notifications that were received from it and not answered.

        Raises:
            Error: It cannot be served.
        """
        survival, backlog, kept = self.survival, list(backlog), served

        def do(step: WriteDown | Put | Begin) -> None:
            nonlocal kept
            match step:
                case WriteDown(name):
                    record = remember(container, served)
                    listener = survival.write_down(name, served.listener, record)
                    if listener is not None:
                        kept = replace(served, listener=listener)
                        for notification in backlog:
                            listener.note(notification)
                case Put(name) if kept is not served:
                    try:
                        survival.put(name)
                    except OSError as error:
                        # To be served by this agent alone is better than not to be served.
                        _log.error("container %s may not survive: %s", container.id, error)
                case Begin():
                    self._serve(container, kept, backlog)

        try:
            run(keep(survival.new_name()), do)
        except BaseException:
            if kept is not served:
                self.let_go(kept.listener)
                kept.listener.close()
            raise

    def let_go(self, listener: Listener) -> None:
        """Keep *listener* no more."""
        try:
            self.survival.release(listener)
        except OSError as error:
            _log.error("a listener that is not needed any more may still be kept: %s", error)

    def write_down(self, container: Container, served: Served) -> None:
        """Something has changed that the next agent has to know."""
        journal = getattr(served.listener, "journal", None)
        if journal is not None:
            journal.record = remember(container, served)

    def check(self) -> None:
        """See to it that what is kept is still kept."""
        try:
            self.survival.store.check()
        except OSError as error:
            _log.error("containers will not survive this agent: %s", error)
