"""Counting what an agent has done."""

from __future__ import annotations

import errno
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from unotify.oci.accounts import BUCKETS, OTHERS, Accounts, CallAccount
from unotify.protocol import Continue, Fail, InstallFd, Reply, Return
from unotify.supervisor import Counted

REPLIES: dict[str, Reply] = {
    "answered": Return(7),
    "failed": Fail(errno.EPERM),
    "continued": Continue(),
    "installed": InstallFd(0),
}


class Alive(dict[Any, Any]):
    """Containers by listener; see `unotify.oci.containers.Containers`."""

    def __iter__(self) -> Any:
        return iter(list(self.values()))

    def of(self, listener: object) -> Any:
        """Whose it is."""
        return self.get(listener)


def container(name: str) -> Any:
    """As much of one as is counted for."""
    return SimpleNamespace(id=name, key=name * 2, ward=SimpleNamespace(name=f"policy-{name}"))


def call(name: str, listener: object) -> Any:
    """As much of one as is counted."""
    return SimpleNamespace(call_name=name, caller=SimpleNamespace(listener=listener))


def accounts(alive: Alive, settle: Callable[[], None] = lambda: None) -> Accounts:
    """Of these containers."""
    containers: Any = alive
    return Accounts(containers, settle, most=1)


def test_quantiles() -> None:
    """The bound of the bucket that the share falls into."""
    account = CallAccount()
    assert account.quantile(0.5) == 0
    account.latencies[3] = 98
    account.latencies[10] = 2
    assert (account.quantile(0.5), account.quantile(0.98), account.quantile(0.99)) == (8, 8, 1024)
    assert account.count == 100
    assert len(account.latencies) == BUCKETS


# Listener, call, outcome, nanoseconds of each.
SEEN: list[tuple[str, str, str, list[int]]] = [
    ("a", "open", "installed", [900, 5_000, 7_000]),
    ("a", "open", "failed", [5_000]),
    ("b", "open", "failed", [1 << 50]),
    ("b", "mknod", "answered", [40_000] * 5),
    ("b", "unlink", "continued", [3_000]),
    ("b", "unlink", "gone", [3_000, 9_000]),
    ("gone", "open", "failed", [1_000]),
    ("gone", "", "gone", [1_000]),
]


def test_what_took_no_python_counts_the_same() -> None:
    """Told of one by one or afterwards: calls, outcomes, policies, containers, latencies."""
    alive = Alive(a=container("a"), b=container("b"))
    one, other = accounts(alive), accounts(alive)
    one.beat()
    other.beat()
    for listener, name, what, times in SEEN:
        for nanoseconds in times:
            if what == "gone":
                one.gone(call(name, listener))
            else:
                one.replied(call(name, listener), REPLIES[what], "(policy)", nanoseconds)
        bits = [(nanoseconds // 1000).bit_length() for nanoseconds in times]
        latencies = {each: bits.count(each) for each in bits}
        whose: Any = listener
        other.counted([Counted(whose, name, what, latencies, sum(times))])
    assert one.outcomes() == other.outcomes()
    assert one.calls() == other.calls()
    assert one.named() == other.named()
    assert other.outcomes()["mknod", "policy-b", "answered"] == 5
    assert other.outcomes()["unknown", "", "gone"] == 1
    assert other.container(alive["a"]) == {"installed": 3, "failed": 1}
    assert other.named()[OTHERS] == {
        "answered": 5,
        "failed": 2,
        "continued": 1,
        "gone": 3,
    }
    assert other.calls()["open"].count == 6
    assert other.calls()["unlink"].count == 1


@pytest.mark.parametrize("ask", ["calls", "outcomes", "named", "beat"])
def test_whoever_asks_is_told_of_all(ask: str) -> None:
    """Supervisors are asked first what they have answered, and not under the lock."""
    asked: list[str] = []

    def settle() -> None:
        asked.append(ask)
        listener: Any = "a"
        made.counted([Counted(listener, "open", "failed", {3: 2}, 9)])

    alive = Alive(a=container("a"))
    made = accounts(alive, settle)
    found = getattr(made, ask)()
    assert asked == [ask]
    assert made.container(alive["a"]) == {"failed": 2}
    if ask != "beat":
        assert found
