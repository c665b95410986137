"""All that surrounds an agent: who keeps what it has, who sees it, who is told of it."""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Self

from unotify.errors import KernelError, Unsupported
from unotify.kernel import default_kernel
from unotify.oci import status
from unotify.oci.accounts import Accounts
from unotify.oci.attending import ServiceManager
from unotify.oci.auditing import AuditLog
from unotify.oci.control import Control
from unotify.oci.protection import Protection
from unotify.oci.sockets import listen, unlink
from unotify.oci.stores import KeeperStore, NoStore, Store, SystemdStore
from unotify.oci.survival import Survival
from unotify.oci.systemd import Inherited, Notifier, watchdog_seconds
from unotify.oci.takeover import take_over
from unotify.oci.web import Address, Web, alive, ready

if TYPE_CHECKING:
    from unotify.oci.agent import Agent
    from unotify.oci.bundles import Bundle

__all__ = ["Options", "Outfit"]

_log = logging.getLogger("unotify.agent")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What there is to be around an agent.

    Attributes:
        control: Path of its control socket, or ``None``.
        take_over: Whether to ask the agent at *control* for what it has.
        keeper: Path of a keeper's socket, or ``None``.
        keep_for: Seconds that a keeper waits for the next agent.
        metrics: Where metrics and probes are served, or ``None``.
        named: Containers that have metrics of their own.
        audit: The audit log, or ``None``.
        confined: Whether the agent gives up what its policies do not need.
        keep: Capabilities that it keeps in any case, as a bit set.
    """

    control: Path | None = None
    take_over: bool = False
    keeper: Path | None = None
    keep_for: float = 60.0
    metrics: Address | None = None
    named: int = 100
    audit: str | None = None
    confined: bool = False
    keep: int = 0


class Outfit:
    """Surrounds an agent, from before it serves until after its end; a context manager.

    Args:
        agent: Which.
        options: With what.
        notifier: Who tells systemd.
        passed: What systemd has passed.
        paths: Where else to listen, by kind of socket.

    Attributes:
        listening: The sockets at these paths, for the agent to open.

    Raises:
        KernelError: Something cannot be had. What was taken over or kept is not lost by that.
    """

    def __init__(
        self,
        agent: Agent,
        options: Options,
        *,
        notifier: Notifier,
        passed: Sequence[Inherited],
        paths: Mapping[socket.SocketKind, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        self.listening: list[socket.socket] = []
        self.accounts: Accounts | None = None
        self.web: Web | None = None
        self._agent = agent
        self._options = options
        self._paths = paths
        self._began = time.time()
        self._stack = ExitStack()
        self._manager = ServiceManager(
            notifier, lambda: status.line(agent), watched=watchdog_seconds() is not None
        )
        self._store: Store | None = None
        self._control: socket.socket | None = None
        try:
            self._observe()
            self._survive(notifier, passed)
            self._answer()
        except BaseException:
            self._stack.close()
            raise
        if notifier:
            agent.attendants.append(self._manager)

    # -- before it serves ----------------------------------------------------

    def _observe(self) -> None:
        agent, options = self._agent, self._options
        if options.control is not None or options.metrics is not None:
            self.accounts = Accounts(
                agent.containers, agent.wards.settle_counts, most=options.named
            )
            agent.add_instrument(self.accounts)
            agent.attendants.append(self.accounts)
        if options.audit is not None:
            audit = AuditLog(options.audit, agent.container_of)
            self._stack.callback(audit.close)
            agent.add_instrument(audit)
            agent.attendants.append(audit)

    def _survive(self, notifier: Notifier, passed: Sequence[Inherited]) -> None:
        handed = self._taken_over()
        options = self._options
        try:
            if options.keeper is not None:
                self._store = KeeperStore(options.keeper, hold=options.keep_for)
            elif notifier:
                self._store = SystemdStore(notifier, passed)
            elif options.control is not None:
                self._store = NoStore()
            if self._store is not None:
                self._agent.survive(Survival(self._store), handed, before=self._settle)
            else:
                self._settle()
        except KernelError:
            raise
        except OSError as error:
            raise KernelError(
                error.errno or 0, "connect(2)", f"what the agent before left cannot be had: {error}"
            ) from error

    def _taken_over(self) -> list[Bundle]:
        path = self._options.control
        if not self._options.take_over or path is None:
            return []
        try:
            return take_over(path)
        except (FileNotFoundError, ConnectionRefusedError):
            _log.info("no agent is at %s: there is nothing to take over", path)
            return []
        except OSError as error:
            raise KernelError(
                error.errno or 0, "connect(2)", f"the agent at {path} cannot be taken over: {error}"
            ) from error

    def _settle(self) -> None:
        """All that may need rights, and then give them up; no thread is there yet."""
        for kind, paths in self._paths.items():
            self.listening += [self._listen(path, kind) for path in paths]
        options = self._options
        if options.control is not None:
            self._control = self._listen(str(options.control), socket.SOCK_SEQPACKET)
            self._stack.callback(self._control.close)
        if options.metrics is not None and self.accounts is not None:
            self.web = self._listen_for_metrics(options.metrics, self.accounts)
        if options.confined:
            self._confine()

    def _listen(self, path: str, kind: socket.SocketKind) -> socket.socket:
        """The socket at *path*: the one of the agent before, or a new one."""
        survival = self._agent.survival
        name = hashlib.sha256(os.fsencode(path)).hexdigest()[:32]
        made = None if survival is None else survival.listening(name)
        if made is not None and not os.path.lexists(path):
            made = None  # somebody has removed it, so nobody can connect there any more
        if made is None:
            made = listen(path, kind)
            if survival is not None:
                survival.keep_socket(name, made)
        made.setblocking(False)
        self._stack.callback(self._gone, path, os.lstat(path).st_ino)
        return made

    def _gone(self, path: str, inode: int) -> None:
        # If there is a next agent it finds the socket where it was.
        if not self._agent.leaving:
            unlink(path, inode)

    def _listen_for_metrics(self, address: Address, accounts: Accounts) -> Web:
        agent = self._agent
        try:
            from unotify.oci.metrics import CONTENT_TYPE, Metrics
        except ImportError as error:
            raise Unsupported(
                "metrics", "import", str(error), hint="install unotify[agent]: prometheus-client"
            ) from None
        metrics = Metrics(agent, accounts)
        agent.attendants.append(metrics)
        web = Web(
            address,
            {
                "/metrics": lambda: (200, CONTENT_TYPE, metrics.text()),
                "/healthz": lambda: alive(agent),
                "/readyz": lambda: ready(agent),
            },
        )
        self._stack.callback(web.close)
        return web

    def _confine(self) -> None:
        wards = self._agent.wards
        protection = Protection(self._options.keep)
        policies = [ward.policy for ward in wards if ward.policy is not None]
        kept = protection.confine(policies, default_kernel().arch)
        wards.permit = protection.check
        _log.info("confined; capabilities: %s", ", ".join(kept) or "none")

    def _answer(self) -> None:
        agent, accounts = self._agent, self.accounts
        if self.web is not None:
            self.web.start()
            address = self._options.metrics
            where = address if isinstance(address, str) else f"port {self.web.port}"
            _log.info("metrics at %s", where)
        if self._control is not None and accounts is not None:
            control = Control(
                agent.selector,
                self._control,
                status=lambda: status.messages(agent, accounts, since=self._began),
                reload=agent.reload,
                hand_over=agent.hand_over,
            )
            self._stack.callback(control.close)

    # -- while it serves, and after ------------------------------------------

    def ready(self) -> None:
        """All is set up: tell systemd."""
        self._manager.ready()

    def end(self) -> None:
        """End the agent: leave what it has to the next one if somebody keeps it."""
        self._manager.stopping()
        if self._store is not None and not isinstance(self._store, NoStore):
            self._agent.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()
