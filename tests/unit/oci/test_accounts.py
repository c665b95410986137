"""Counting what an agent has done."""

from __future__ import annotations

from unotify.oci.accounts import BUCKETS, CallAccount


def test_quantiles() -> None:
    """The bound of the bucket that the share falls into."""
    account = CallAccount()
    assert account.quantile(0.5) == 0
    account.latencies[3] = 98
    account.latencies[10] = 2
    assert (account.quantile(0.5), account.quantile(0.98), account.quantile(0.99)) == (8, 8, 1024)
    assert account.count == 100
    assert len(account.latencies) == BUCKETS
