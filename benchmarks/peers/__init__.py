"""The contenders of the round trip, each a program: ``python -m benchmarks.peers.NAME``.

Each starts the same target (`target`) under a filter that notifies ``getppid``,
answers every call with 42, and lets the target print how long a call took.
Nobody is pinned to a processor. All that can have the kernel's SYNC_WAKE_UP
have it, peers whose own API lacks it included, so that it is programs that are
compared and not schedulers.
"""
