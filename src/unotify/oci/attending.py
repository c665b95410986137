"""Those who are told what the agent does, in its own thread; systemd is one of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from unotify.oci.systemd import Notifier

__all__ = ["Attendant", "ServiceManager"]

_log = logging.getLogger("unotify.agent")

_STATUS: Final = 10
"""Beats from one line of status to the next."""


class Attendant:
    """Override what you want to hear of."""

    def beat(self) -> None:
        """The agent has looked around: about once a second, as long as it is alive."""

    def reloading(self) -> None:
        """Policies are about to be loaded again."""

    def reloaded(self, *, done: bool) -> None:
        """They have been, or something was wrong with them and nothing has changed."""


class ServiceManager(Attendant):
    """Tells systemd.

    Args:
        notifier: How.
        status: One line about how things are.
        watched: Whether systemd wants to hear that we are alive (WatchdogSec=).
    """

    def __init__(self, notifier: Notifier, status: Callable[[], str], *, watched: bool) -> None:
        self._notifier = notifier
        self._status = status
        self._watched = watched
        self._beats = 0

    def beat(self) -> None:
        """Feed the watchdog; now and then tell how things are."""
        if self._watched:
            self._tell(self._notifier.alive)
        self._beats += 1
        if self._beats % _STATUS == 1:
            self._tell(lambda: self._notifier.status(self._status()))

    def reloading(self) -> None:
        """Tell that files are loaded."""
        self._tell(self._notifier.reloading)

    def reloaded(self, *, done: bool) -> None:
        """Tell that they are, or that the old ones are still in force."""
        said = self._status() if done else f"{self._status()}; the last reload failed"
        self._tell(lambda: self._notifier.ready(said))

    def ready(self) -> None:
        """Tell that containers are served from now on."""
        self._tell(lambda: self._notifier.ready(self._status()))

    def stopping(self) -> None:
        """Tell that this is the end."""
        self._tell(self._notifier.stopping)

    def _tell(self, tell: Callable[[], None]) -> None:
        # Whether systemd hears of it or not, containers are to be served.
        try:
            tell()
        except OSError as error:
            _log.warning("systemd cannot be told: %s", error)
