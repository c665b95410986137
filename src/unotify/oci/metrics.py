"""What an agent has done, as Prometheus wants it.

Made from `Accounts` whenever somebody asks, so that it costs calls nothing. The number of series
is bounded, as theirs is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from unotify import __version__
from unotify.oci.accounts import BUCKETS, OUTCOMES, Accounts
from unotify.oci.attending import Attendant

if TYPE_CHECKING:
    from unotify.oci.agent import Agent

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_FIRST_BUCKET: Final = 4
"""Answers of less than 16 microseconds are told together."""


class Metrics(Collector, Attendant):
    """The metrics of one agent.

    Args:
        agent: Whose.
        accounts: What it has done.
    """

    def __init__(self, agent: Agent, accounts: Accounts) -> None:
        self._agent = agent
        self._accounts = accounts
        self._reloads: Counter[bool] = Counter()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> bytes:
        """All of them, in the text format."""
        return generate_latest(self._registry)

    def reloaded(self, *, done: bool) -> None:
        """Count it."""
        self._reloads[done] += 1

    def describe(self) -> Iterator[Metric]:
        """Nothing: names are told with the values."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All of them, as prometheus_client wants them."""
        yield from self._now()
        yield from self._calls()
        containers = CounterMetricFamily(
            "unotify_container_calls",
            "Calls by container and outcome; containers beyond the limit are (others).",
            labels=("container", "outcome"),
        )
        for name, counts in self._accounts.named().items():
            for what in OUTCOMES:
                containers.add_metric((name, what), counts.get(what, 0))
        yield containers

    def _now(self) -> Iterator[Metric]:
        agent = self._agent
        info = GaugeMetricFamily("unotify_info", "The agent itself.", labels=("version",))
        info.add_metric((__version__,), 1)
        yield info
        wards = [(ward, ward.supervisor.statistics()) for ward in agent.wards]
        for name, text, value in (
            ("containers", "Containers that are served.", len(agent.containers)),
            ("listeners", "Their listeners.", agent.containers.listeners),
            ("policies", "Policies in force.", len(agent.shelf.loaded.policies)),
            ("in_flight", "Calls under way.", sum(told.in_flight for _, told in wards)),
            ("held", "Of these, calls that a handler holds.", sum(told.held for _, told in wards)),
            ("threads", "Threads that serve calls.", sum(told.readers for _, told in wards)),
        ):
            yield GaugeMetricFamily(f"unotify_{name}", text, value)
        yield CounterMetricFamily(
            "unotify_connections_refused",
            "Connections of runtimes that brought nothing.",
            agent.refused,
        )
        reloads = CounterMetricFamily(
            "unotify_reloads", "Loading the policies again, by result.", labels=("result",)
        )
        for done, result in ((True, "loaded"), (False, "failed")):
            reloads.add_metric((result,), self._reloads[done])
        yield reloads

    def _calls(self) -> Iterator[Metric]:
        calls = CounterMetricFamily(
            "unotify_calls",
            "Calls by name, policy and outcome.",
            labels=("call", "policy", "outcome"),
        )
        for labels, count in sorted(self._accounts.outcomes().items()):
            calls.add_metric(labels, count)
        yield calls
        faults = CounterMetricFamily(
            "unotify_faults", "Handlers that raised or timed out, by call.", labels=("call",)
        )
        for name, count in sorted(self._accounts.faults().items()):
            faults.add_metric((name,), count)
        yield faults
        seconds = HistogramMetricFamily(
            "unotify_call_seconds", "From receipt to answer, by call.", labels=("call",)
        )
        for name, account in self._accounts.calls().items():
            buckets, so_far = [], 0
            for bits, count in enumerate(account.latencies):
                so_far += count
                if bits >= _FIRST_BUCKET:
                    last = bits == BUCKETS - 1
                    buckets.append(("+Inf" if last else repr((1 << bits) / 1e6), so_far))
            seconds.add_metric((name,), buckets, account.nanoseconds / 1e9)
        yield seconds
