"""The agent: gives each listener that a runtime brings to the supervisor of its policy.

Theory of operation. One thread, the caller's, waits for sockets, signals and the clock, and
never for a target: calls are served in the threads of supervisors (`wards`). The parts know
nothing of each other: `reception` turns connections into states and listeners, `shelf`
knows the policies, `containers` who is served. What they share passes through here.
"""

from __future__ import annotations

import errno
import logging
import os
import selectors
import socket
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from unotify.calls import Call
from unotify.errors import Error, InvalidPolicy, KernelError, TargetGone
from unotify.kernel import default_kernel
from unotify.kernel.interface import Listener
from unotify.kernel.journaled import JournaledListener
from unotify.kernel.listener import LinuxListener
from unotify.kernel.surroundings import user_namespace_of
from unotify.oci.attending import Attendant
from unotify.oci.bundles import Bundle, PeerError
from unotify.oci.choosing import REFUSE, Choice
from unotify.oci.containers import Container, Containers, Served
from unotify.oci.door import Door
from unotify.oci.killable import is_wait_killable
from unotify.oci.lxc_reception import LxcReception
from unotify.oci.moving import Moving
from unotify.oci.process_state import ProcessState
from unotify.oci.reception import Reception
from unotify.oci.restoring import Restoring, remember
from unotify.oci.shelf import Shelf, Version
from unotify.oci.sockets import Peer
from unotify.oci.survival import Survival
from unotify.oci.takeover import hand_over
from unotify.oci.wards import Ward, Wards
from unotify.supervisor import Instrument, Quota, Supervisor

__all__ = ["CALLS", "READERS", "Agent"]

_log = logging.getLogger("unotify.agent")

CALLS: Final = 64
"""Calls of one container that may be in flight, unless somebody says otherwise."""

READERS: Final = 512
"""The most threads for one policy; there are that many only while so many calls take long."""

_LOOK: Final = 1.0
"""Seconds between looks at the directory of policies."""

_BREATH: Final = 0.1
"""Seconds of rest after a mistake, which may come again at once."""

_LAST: Final = 1.0
"""Seconds that a runtime has to finish when the agent is to leave."""


class Agent:
    """Serves container runtimes.

    Args:
        policies: The directory of policies.
        uids: Users whose runtimes may connect; ourselves and root by default.
        prepare: Adds handlers to the supervisor of each policy.
        calls: How many calls of one container may be in flight.
        drain: Seconds that calls in flight have to finish at the end.
        options: What each supervisor is made with, such as ``deadline``.

    Attributes:
        containers: Who is served.
        shelf: The policies.
        wards: Their supervisors.
        attendants: Who is told what the agent does.
        selector: What `run` waits for; the data of each file is a function of it.
        survival: Keeps what the next agent needs to go on; without it all ends with this one.

    Raises:
        InvalidPolicy: Some policy is wrong.
    """

    def __init__(
        self,
        policies: str | os.PathLike[str],
        *,
        uids: Collection[int] | None = None,
        prepare: Callable[[Supervisor], None] = lambda _: None,
        calls: int = CALLS,
        drain: float = 5.0,
        **options: Any,
    ) -> None:
        self.survival: Survival | None = None
        self._successor: socket.socket | None = None
        self.leaving = False
        """Whether another agent goes on with what this one has."""
        self.containers = Containers()
        self.wards = Wards(prepare, **{"readers": READERS, **options})
        self.shelf: Shelf[Ward] = Shelf(
            Path(policies),
            native=default_kernel().arch,
            make=self.wards.make,
            discard=self.wards.discard,
        )
        self._calls = calls
        self.attendants: list[Attendant] = []
        self._drain = drain
        self.selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        self.selector.register(self._woken, selectors.EVENT_READ, self._on_wake)
        uids = frozenset({0, os.geteuid()}) if uids is None else uids
        self.reception = Reception(Door(self.selector, uids=uids), welcome=self._welcome)
        self.lxc = LxcReception(Door(self.selector, uids=uids), welcome=self._welcome)
        self._moving = Moving(self.containers, self._closed, self._write_down, self.wake)
        self._running = False
        self._stopping = False
        self._reloading = False
        self._look_at = time.monotonic() + _LOOK
        self.beaten = time.monotonic()
        """When the agent last looked around, as time.monotonic tells."""
        try:
            self.shelf.load()
        except BaseException:
            self.close()
            raise

    def open(self, listening: socket.socket) -> None:
        """Accept at *listening*, which is closed at the end.

        Container runtimes connect to stream sockets, LXC to those of packets.

        Raises:
            KernelError: EPROTOTYPE: it is of no kind that runtimes connect to.
        """
        match listening.type:
            case socket.SOCK_STREAM:
                self.reception.door.open(listening)
            case socket.SOCK_SEQPACKET:
                self.lxc.door.open(listening)
            case _:
                raise KernelError(
                    errno.EPROTOTYPE,
                    "getsockopt(2)",
                    f"nobody connects to a socket such as {listening.getsockname()}",
                    hint="ListenStream= for container runtimes, ListenSequentialPacket= for LXC",
                )

    # -- containers ----------------------------------------------------------

    def adopt(
        self, state: ProcessState, listener: Listener, backlog: Iterable[bytes] = ()
    ) -> Container:
        """Serve *listener* from now on, of the container that *state* describes.

        In the agent's thread, or before `run`.

        Args:
            state: Who is behind it.
            listener: It; owned from now on.
            backlog: Notifications that were received from it and not answered.

        Raises:
            Error: It cannot be served, and stays the caller's.
        """
        container = self.containers.running(state)
        if container is None:
            choice = self.shelf.loaded.choose(state)
            ward, version = self._chosen(choice)
            container = Container(state.id, state, ward, choice, Quota(self._calls), version)
        served = Served(
            listener,
            state,
            self._is_wait_killable(container, state),
            user_namespace=_user_namespace(container, state),
        )
        kept = self._kept(container, served)
        try:
            self._serve(container, kept, backlog)
        except BaseException:
            if kept is not served:
                self._let_go(kept.listener)
                kept.listener.close()
            raise
        return container

    def _chosen(self, choice: Choice) -> tuple[Ward, Version[Ward] | None]:
        version = self.shelf.loaded.policies.get(choice.policy)
        return self.wards.refusing if version is None else version.made, version

    def _serve(self, container: Container, served: Served, backlog: Iterable[bytes] = ()) -> None:
        self.containers.add(container, served)
        try:
            container.attach(served, self._closed, backlog)
        except BaseException:
            self.containers.closed(served.listener)
            raise

    # -- restarts ------------------------------------------------------------

    def survive(
        self,
        survival: Survival,
        handed: Iterable[Bundle] = (),
        *,
        before: Callable[[], None] = lambda: None,
    ) -> int:
        """Serve what the agent before this one did, and keep what the next one needs.

        Once, before `run` and `open`.

        Args:
            survival: Where that is kept.
            handed: What the agent before handed over itself; the rest is in the store.
            before: Called when it is known who is to be served, and by which policies, and nobody
                is served yet.

        Returns:
            How many listeners there were.

        Raises:
            OSError: The store does not say what it has.
        """
        self.survival = survival
        restoring = Restoring(self.shelf, self.wards, self._calls)
        survivors = survival.restore(handed)
        found = [(survivor, *restoring.container_of(survivor)) for survivor in survivors]
        before()
        for survivor, container, served in found:
            for notification in survivor.hopeless:
                survivor.listener.refuse(notification, errno.EPERM)
                _log.error("a call that agents died of is refused")
            try:
                self._serve(container, served, survivor.again)
            except Error as error:
                _log.error("container %s cannot be served any more: %s", container.id, error)
                self._let_go(survivor.listener)
                survivor.listener.close()
        if survivors:
            again = sum(len(survivor.again) for survivor in survivors)
            _log.info(
                "%d containers go on, %d calls of theirs are decided again",
                len(self.containers),
                again,
            )
        return len(survivors)

    def _kept(self, container: Container, served: Served) -> Served:
        if self.survival is None or not isinstance(served.listener, LinuxListener):
            return served
        record = remember(container, served)
        fd = served.listener.detach()
        try:
            return replace(served, listener=self.survival.keep(fd, record))
        except (OSError, Error) as error:
            # To be served by this agent alone is better than not to be served.
            _log.error("container %s will not survive this agent: %s", container.id, error)
            return replace(served, listener=LinuxListener(fd))

    def hand_over(self, connection: socket.socket) -> None:
        """Give all containers to the agent that asks at *connection*, and stop.

        That one waits until *connection* is closed, which is at the end of this process.

        Raises:
            PeerError: There is nothing to give.
        """
        if self.survival is None:
            raise PeerError("this agent keeps nothing for another one")
        self.quiesce()
        if not hand_over(connection, self.survival.bundles):
            _log.error("another agent asked for all containers, and did not take them")
            self._hold(held=False)
            return
        _log.info("another agent serves all containers from now on")
        self._successor = connection.dup()
        self.ask_stop()
        self.leave()

    def _write_down(self, container: Container, served: Served) -> None:
        if isinstance(served.listener, JournaledListener):
            served.listener.journal.record = remember(container, served)

    def _check_store(self, survival: Survival) -> None:
        try:
            survival.store.check()
        except OSError as error:
            _log.error("containers will not survive this agent: %s", error)

    def _let_go(self, listener: Listener) -> None:
        if self.survival is not None and isinstance(listener, JournaledListener):
            self.survival.release(listener)

    @property
    def accepting(self) -> bool:
        """Whether runtimes may connect now."""
        return self._running and not self._stopping and not self.leaving

    def container_of(self, call: Call) -> Container | None:
        """Whose *call* is, for instruments; ``None`` if its container has ended."""
        return self.containers.of(call.caller.listener)

    def add_instrument(self, instrument: Instrument) -> None:
        """Show *instrument* what happens to all containers, those that come later too."""
        self.wards.add_instrument(instrument)

    def _is_wait_killable(self, container: Container, state: ProcessState) -> bool:
        if container.choice.wait_killable is not None:
            return container.choice.wait_killable
        # An exec has the filter of its container's profile, but not each runtime says where
        # that is.
        if container.listeners:
            return any(served.wait_killable for served in container.listeners.values())
        return is_wait_killable(state.bundle)

    def _welcome(self, state: ProcessState, listener: Listener, peer: Peer) -> None:
        try:
            container = self.adopt(state, listener)
        except (Error, OSError) as error:
            listener.close()
            _log.error("container %s cannot be served: %s", state.id, error)
            return
        pid = state.pid or peer.pid
        if container.state is not state:
            _log.info("container %s has one more process %d", state.id, pid)
            return
        by = f"by entry {container.choice.by}" if container.choice.by else "by default"
        say = _log.warning if container.choice.policy == REFUSE else _log.info
        say("container %s, process %d: policy %s %s", state.id, pid, container.ward.name, by)

    def _closed(self, listener: Listener) -> None:
        # In a thread of a supervisor.
        if self.leaving:
            return
        self._let_go(listener)
        container = self.containers.closed(listener)
        if container is not None:
            _log.info("container %s has ended", container.id)
            if container.ward.outdated:
                self.wake()

    # -- policies ------------------------------------------------------------

    def reload(self) -> bool:
        """Load the policies again; False if something is wrong, which changes nothing.

        Containers keep the version that they began with, but for those that are to move.
        """
        for attendant in self.attendants:
            attendant.reloading()
        done = self._reload()
        for attendant in self.attendants:
            attendant.reloaded(done=done)
        return done

    def _reload(self) -> bool:
        try:
            old, new = self.shelf.load()
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
        for container in self.containers:
            if container.choice.moves:
                choice = new.choose(container.state)
                self._moving.move(container, choice, *self._chosen(choice))
        self.wards.sweep()
        return True

    # -- running -------------------------------------------------------------

    def wake(self) -> None:
        """Make `run` look around; safe in threads and signal handlers."""
        try:
            self._wake.send(b"\0")
        except BlockingIOError:
            return  # it is awake

    def ask_reload(self) -> None:
        """Make `run` reload the policies; safe in threads and signal handlers."""
        self._reloading = True
        self.wake()

    def ask_stop(self) -> None:
        """Make `run` return; safe in threads and signal handlers."""
        self._stopping = True
        self.wake()

    def run(self) -> None:
        """Serve until `ask_stop`."""
        self._running = True
        while not self._stopping:
            try:
                for key, _ in self.selector.select(self._pause()):
                    key.data(key.fileobj)
                self._look()
            except Exception:
                # Whatever it is, it is not the fault of those who are served.
                _log.exception("the agent goes on after a mistake of its own")
                time.sleep(_BREATH)

    def _pause(self) -> float:
        now = time.monotonic()
        dues = (self._look_at, self.reception.expire(now), self.lxc.expire())
        return max(0.0, min(due for due in dues if due is not None) - now)

    def _look(self) -> None:
        now = time.monotonic()
        asked, self._reloading = self._reloading, False
        self._moving.go_on()
        if now >= self._look_at:
            self._look_at = now + _LOOK
            asked = self.shelf.changed() or asked
            if self.survival is not None:
                self._check_store(self.survival)
            self.beaten = now
            for attendant in self.attendants:
                attendant.beat()
        if asked:
            self.reload()
        self.wards.sweep()

    def _on_wake(self, woken: socket.socket) -> None:
        while True:
            try:
                woken.recv(4096)
            except BlockingIOError:
                return

    def leave(self) -> None:
        """Take no more containers, let calls finish, and leave all else to the next agent.

        Calls have `drain` seconds to finish; what is unanswered then is decided again by the next
        agent. This process is to end soon after.
        """
        if self.leaving:
            return
        self.quiesce()
        self.leaving = True
        self.reception.close()
        self.lxc.close()
        self.wards.leave(self._drain)
        if self.survival is not None:
            self.survival.store.close()

    def _hold(self, *, held: bool = True) -> None:
        self.reception.door.hold(held=held)
        self.lxc.door.hold(held=held)

    @property
    def refused(self) -> int:
        """Connections that brought nothing, so far."""
        return self.reception.door.refused + self.lxc.door.refused

    def quiesce(self) -> None:
        """Take no more containers, but those that runtimes are about to hand over."""
        self._hold()
        end = time.monotonic() + _LAST
        while len(self.reception) and (left := end - time.monotonic()) > 0:
            for key, _ in self.selector.select(left):
                if key.data.__self__ is self.reception:
                    key.data(key.fileobj)

    def close(self) -> None:
        """Take no more containers, answer what is in flight, and close all listeners.

        Calls have `drain` seconds to finish, in all supervisors at once; what is unanswered
        then gets the fault reply. Whoever lives on gets ENOSYS for each notified call.
        """
        self.reception.close()
        self.lxc.close()
        self.wards.close(self._drain)
        self._moving.close()
        if self._successor is not None:
            self._successor.close()
        self.selector.close()
        self._wake.close()
        self._woken.close()


def _user_namespace(container: Container, state: ProcessState) -> str:
    """Where a capability counts: the user namespace that the container began in."""
    # Not each runtime says who an exec is, and it may not begin elsewhere.
    if container.listeners:
        return next(iter(container.listeners.values())).user_namespace
    try:
        return user_namespace_of(state.pid) if state.pid else ""
    except (TargetGone, KernelError):
        return ""
