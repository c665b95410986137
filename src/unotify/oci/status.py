"""What an agent tells who asks for its status: a few small JSON objects."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from unotify import __version__
from unotify.oci.accounts import Accounts
from unotify.oci.logs import counted

if TYPE_CHECKING:
    from unotify.oci.agent import Agent

__all__ = ["line", "messages"]

_LONGEST: Final = 256
"""Characters of what a container says of itself: a message has its limit."""


def messages(agent: Agent, accounts: Accounts, *, since: float) -> Iterator[dict[str, Any]]:
    """The agent, then each policy, container and call, an object with that one key each.

    Args:
        agent: Whose.
        accounts: What it has done.
        since: When it began, in seconds since the epoch.
    """
    accounts.beat()
    containers = list(agent.containers)
    wards = [(ward, ward.supervisor.statistics()) for ward in agent.wards]
    yield {
        "agent": {
            "version": __version__,
            "pid": os.getpid(),
            "since": since,
            "accepting": agent.accepting,
            "containers": len(containers),
            "listeners": agent.containers.listeners,
            "in_flight": sum(told.in_flight for _, told in wards),
            "threads": sum(told.readers for _, told in wards),
            "connections_refused": agent.refused,
            "survives": agent.survival is not None,
        }
    }
    for ward, told in wards:
        yield {
            "policy": {
                "name": ward.name,
                "outdated": ward.outdated,
                "containers": ward.containers,
                "received": told.received,
                "answered": told.answered,
                "gone": told.gone,
                "faults": told.faults,
                "expired": told.expired,
                "in_flight": told.in_flight,
                "held": told.held,
                "p50_microseconds": told.quantile(0.5),
                "p99_microseconds": told.quantile(0.99),
            }
        }
    for container in sorted(containers, key=lambda each: each.since):
        yield {
            "container": {
                "id": container.id[:_LONGEST],
                "policy": container.ward.name[:_LONGEST],
                "outdated": container.ward.outdated,
                "pid": container.state.pid or None,
                "since": container.since,
                "listeners": len(container.listeners),
                "metadata": container.state.metadata[:_LONGEST],
                "calls": accounts.container(container),
            }
        }
    totals: dict[str, dict[str, int]] = {}
    for (name, _, what), count in accounts.outcomes().items():
        told_of = totals.setdefault(name, {})
        told_of[what] = told_of.get(what, 0) + count
    known = accounts.calls()
    for name, counts in sorted(totals.items()):
        account = known.get(name)
        yield {
            "call": {
                "name": name,
                "calls": counts,
                "p50_microseconds": account.quantile(0.5) if account else 0,
                "p99_microseconds": account.quantile(0.99) if account else 0,
                "mean_microseconds": (
                    account.nanoseconds // account.count // 1000 if account else 0
                ),
            }
        }
    yield {"faults": accounts.faults()}


def line(agent: Agent) -> str:
    """How things are, in one line for systemd."""
    containers, policies = len(agent.containers), len(agent.shelf.loaded.policies)
    return f"{counted(containers, 'container')}, {policies} polic{'ies' if policies != 1 else 'y'}"
