"""What a policy would do, told while everything goes on."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import click

from unotify.cli.log import plain
from unotify.errors import TargetError
from unotify.policy.model import LETTING_GO
from unotify.supervisor import Instrument

if TYPE_CHECKING:
    from unotify.calls import Call
    from unotify.supervisor.judging import Judgement

__all__ = ["DryRun"]

_MOST = 10_000
"""Kinds of judgements that are told apart; a target chooses what it calls."""

_LONGEST = 60


class DryRun(Instrument):
    """Says on standard error what would have been done, each kind once, and at the end how often.

    Args:
        quiet: Warn, and say the rest of it only to the log.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()

    def __enter__(self) -> Self:
        click.echo(
            "unotify: DRY RUN: nothing is refused and nothing is protected; "
            "this only tells what the policy would do",
            err=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self._quiet:
            return
        with self._lock:
            counts = self._counts.most_common()
        total = sum(count for _, count in counts)
        if not total:
            click.echo("unotify: dry run: the policy would have allowed every call", err=True)
            return
        click.echo(f"unotify: dry run: {total} of the calls would not simply go on:", err=True)
        for (call, said), count in counts:
            click.echo(f"unotify: dry run: {count:7d} {call}: {said}", err=True)

    def judged(self, call: Call, judgement: Judgement) -> None:
        """Tell it, if it is new; it is before the target goes on, so its memory can be shown."""
        rule = judgement.rule
        if judgement.verdict.verb in LETTING_GO and not (rule is not None and rule.log):
            return  # for this the supervisor was asked, and had nothing against it
        said = f"{judgement}, in the {'kernel' if judgement.by_kernel else 'supervisor'}"
        kind = call.call_name or f"call {call.exchange.nr}", said
        with self._lock:
            known = kind in self._counts
            if known or len(self._counts) < _MOST:
                self._counts[kind] += 1
        if not known and not self._quiet:
            who = f"{call.exchange.tid}"
            with suppress(TargetError, OSError):
                who = f"{call.caller.comm} ({call.caller.pid})"
            click.echo(f"unotify: dry run: {who}: {_shown(call)}: {said}", err=True)


def _shown(call: Call) -> str:
    if not call.call_name:
        return f"call number {call.exchange.nr} ({call.arch.label})"
    arguments = []
    for name, value in call.describe().items():
        text = repr(_simple(plain(value)))
        arguments.append(f"{name}={text if len(text) <= _LONGEST else text[:_LONGEST] + '...'}")
    return f"{call.call_name}({', '.join(arguments)})"


def _simple(value: Any) -> Any:
    return (
        f"<{value['unreadable']}>" if isinstance(value, dict) and "unreadable" in value else value
    )
