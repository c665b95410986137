"""One supervisor for each policy, whatever the number of containers under it.

Theory of operation. A supervisor has one thread that receives and one that stands by, and
more while handlers are slow; it waits for all its listeners with one epoll. So listeners
are cheap (a descriptor and a few kB) and threads are not: they follow the number of policies
and of slow calls. Policies are kept apart: none waits for another's handlers.

A version of a policy that is not in force any more is served until its last container ends.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from importlib import import_module
from threading import Thread
from typing import TYPE_CHECKING, Any

from unotify.handlers import ADDONS
from unotify.oci.choosing import REFUSE
from unotify.protocol import Fail
from unotify.supervisor import Instrument, Supervisor

if TYPE_CHECKING:
    from unotify.policy.model import Policy

__all__ = ["Ward", "Wards"]

_ACTING = tuple(f"unotify.kernel.{name}" for name in ("acting", "making", "surroundings"))
"""Else imported by whoever makes the first call, who would wait so long as to become a suspect."""


class Ward:
    """The supervisor of one version of a policy.

    Attributes:
        name: The policy's.
        containers: How many it has; the registry counts.
        policy: It, or ``None`` where there is none.
        outdated: Another version is in force, or none.
    """

    def __init__(self, name: str, supervisor: Supervisor, policy: Policy | None = None) -> None:
        self.policy = policy
        self.name = name
        self.supervisor = supervisor
        self.containers = 0
        self.outdated = False

    def __repr__(self) -> str:
        return f"<Ward {self.name} of {self.containers}>"


class Wards:
    """Makes supervisors, all in the same way, and ends them.

    Args:
        prepare: Adds handlers to each new supervisor; raises what is wrong with them.
        options: What each supervisor is made with: ``deadline``, ``readers`` ...
    """

    def __init__(self, prepare: Callable[[Supervisor], None], **options: Any) -> None:
        self._prepare = prepare
        self._options = options
        self.permit: Callable[[Policy], None] = lambda policy: None
        """Raises what is wrong with a policy that the agent cannot serve."""
        self._instruments: list[Instrument] = []
        self._all: list[Ward] = []
        self.refusing = self._made(REFUSE, Supervisor(unhandled=Fail(errno.EPERM), **options))
        """What containers get that no policy is for."""

    def __iter__(self) -> Iterator[Ward]:
        return iter(list(self._all))

    def make(self, policy: Policy, name: str) -> Ward:
        """Make the supervisor of a policy, which is proved before it is used.

        Raises:
            PolicyError: It says what cannot be done.
        """
        self.permit(policy)
        supervisor = Supervisor(policy=policy, **self._options)
        try:
            if any(rule.verdict.handler for rule in policy.rules):
                supervisor.add(*ADDONS, spare=True)
                for module in _ACTING:
                    import_module(module)
            self._prepare(supervisor)
            supervisor.check()
        except BaseException:
            supervisor.close()
            raise
        return self._made(name, supervisor, policy)

    def _made(self, name: str, supervisor: Supervisor, policy: Policy | None = None) -> Ward:
        for instrument in self._instruments:
            supervisor.add_instrument(instrument)
        ward = Ward(name, supervisor, policy)
        self._all.append(ward)
        return ward

    def add_instrument(self, instrument: Instrument) -> None:
        """Show *instrument* what happens in all of them, those that are made later too."""
        self._instruments.append(instrument)
        for ward in self._all:
            ward.supervisor.add_instrument(instrument)

    def settle_counts(self) -> None:
        """Tell instruments what was answered without Python so far, in all of them."""
        for ward in self:
            ward.supervisor.settle_counts()

    def discard(self, ward: Ward, *, drain: float = 0.0) -> None:
        """End *ward*: its last container has ended, or it was never used."""
        if ward in self._all:
            self._all.remove(ward)
        ward.supervisor.stop(drain=drain)

    def close(self, drain: float) -> None:
        """End all of them, at the same time; their calls have *drain* seconds to finish."""
        self._end(lambda supervisor: supervisor.stop(drain=drain))

    def leave(self, drain: float) -> None:
        """As `close`, but what is unanswered after *drain* seconds stays so, for a successor."""
        self._end(lambda supervisor: supervisor.leave(drain=drain))

    def _end(self, end: Callable[[Supervisor], object]) -> None:
        wards, self._all = self._all, []
        threads = [
            Thread(target=end, args=[ward.supervisor], name="unotify-stop") for ward in wards
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def sweep(self) -> list[Ward]:
        """End those that are outdated and have no container any more."""
        done = [ward for ward in self._all if ward.outdated and not ward.containers]
        for ward in done:
            self.discard(ward)
        return done
