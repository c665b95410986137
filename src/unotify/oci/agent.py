"""The agent: gives each listener that a runtime brings to the supervisor of its policy.

Theory of operation. One thread, the caller's, waits for sockets, signals and the clock, and
never for a target: calls are served in the threads of supervisors (`wards`). The parts know
nothing of each other: `entrance` turns connections into states and listeners, `shelf`
knows the policies, `containers` who is served. What they share passes through here.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, Final

from unotify.calls import Call
from unotify.errors import Error
from unotify.kernel import default_kernel
from unotify.kernel.interface import Kernel, Listener
from unotify.oci.attending import Attendant
from unotify.oci.bundles import Bundle, PeerError
from unotify.oci.choosing import REFUSE, Choice
from unotify.oci.containers import Container, Containers, Served
from unotify.oci.continuing import Continuing
from unotify.oci.entrance import Entrance
from unotify.oci.logs import counted
from unotify.oci.moving import Moving
from unotify.oci.process_state import ProcessState
from unotify.oci.reloading import reload
from unotify.oci.restart import Finish, Hold, LetGo, leave, run
from unotify.oci.restoring import Restoring
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


class Agent:
    """Serves container runtimes.

    Args:
        policies: The directory of policies.
        uids: Users whose runtimes may connect; ourselves and root by default. Nobody else's LXC
            may.
        prepare: Adds handlers to the supervisor of each policy.
        calls: How many calls of one container may be in flight.
        drain: Seconds that calls in flight have to finish at the end.
        kernel: The running one by default, or a simulated one.
        options: What each supervisor is made with, such as ``deadline``.

    Attributes:
        containers: Who is served.
        shelf: The policies.
        wards: Their supervisors.
        entrance: Where runtimes come in.
        attendants: Who is told what the agent does.
        selector: What `run` waits for; the data of each file is a function of it.
        kernel: Whose listeners they are.

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
        kernel: Kernel | None = None,
        **options: Any,
    ) -> None:
        self.kernel = default_kernel() if kernel is None else kernel
        self._continuing: Continuing | None = None
        self._successor: socket.socket | None = None
        self.leaving = False
        """Whether another agent goes on with what this one has."""
        self.containers = Containers()
        self.wards = Wards(prepare, **{"kernel": self.kernel, "readers": READERS, **options})
        self.shelf: Shelf[Ward] = Shelf(
            Path(policies),
            native=self.kernel.arch,
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
        self.entrance = Entrance(self.selector, uids=uids, welcome=self._welcome)
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
        self.entrance.open(listening)

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
        served = Served.of(listener, state, container, self.kernel)
        serve = self._serve if self._continuing is None else self._continuing.keep
        serve(container, served, backlog)
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
        self._continuing = Continuing(survival, self._serve)
        restoring = Restoring(self.shelf, self.wards, self._calls)
        survivors = self._continuing.restore(restoring, handed, before)
        if survivors:
            again = sum(len(survivor.again) for survivor in survivors)
            kept = counted(len(self.containers), "container")
            _log.info("going on with %s, deciding %s again", kept, counted(again, "call"))
        return len(survivors)

    @property
    def survival(self) -> Survival | None:
        """Keeps what the next agent needs to go on; without it all ends with this one."""
        return None if self._continuing is None else self._continuing.survival

    def hand_over(self, connection: socket.socket) -> None:
        """Give all containers to the agent that asks at *connection*, and stop.

        That one waits until *connection* is closed, which is at the end of this process.

        Raises:
            PeerError: There is nothing to give.
        """
        if self.survival is None:
            raise PeerError("this agent keeps nothing for another one")
        self.entrance.quiesce()
        if not hand_over(connection, self.survival.bundles):
            _log.error("another agent asked for all containers, and did not take them")
            self.entrance.hold(held=False)
            return
        _log.info("another agent serves all containers from now on")
        self._successor = connection.dup()
        self.ask_stop()
        self.leave()

    def _write_down(self, container: Container, served: Served) -> None:
        if self._continuing is not None:
            self._continuing.write_down(container, served)

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
        if self._continuing is not None:
            self._continuing.let_go(listener)
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
        done = reload(self.shelf, self.containers, self._moving, self._chosen)
        if done:
            self.wards.sweep()
        for attendant in self.attendants:
            attendant.reloaded(done=done)
        return done

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
        due = self.entrance.expire(now)
        return max(0.0, min(self._look_at, self._look_at if due is None else due) - now)

    def _look(self) -> None:
        now = time.monotonic()
        asked, self._reloading = self._reloading, False
        self._moving.go_on()
        if now >= self._look_at:
            self._look_at = now + _LOOK
            asked = self.shelf.changed() or asked
            if self._continuing is not None:
                self._continuing.check()
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

        def do(step: Hold | Finish | LetGo) -> None:
            match step:
                case Hold():
                    self.entrance.quiesce()
                    self.leaving = True
                    self.entrance.close()
                case Finish():
                    self.wards.leave(self._drain)
                case LetGo() if self.survival is not None:
                    self.survival.store.close()

        run(leave(), do)

    @property
    def refused(self) -> int:
        """Connections that brought nothing, so far."""
        return self.entrance.refused

    def close(self) -> None:
        """Take no more containers, answer what is in flight, and close all listeners.

        Calls have `drain` seconds to finish, in all supervisors at once; what is unanswered
        then gets the fault reply. Whoever lives on gets ENOSYS for each notified call.
        """
        self.entrance.close()
        self.wards.close(self._drain)
        self._moving.close()
        if self._successor is not None:
            self._successor.close()
        self.selector.close()
        self._wake.close()
        self._woken.close()
