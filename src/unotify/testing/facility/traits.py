"""What one kernel has and another has not: the model's switches.

A version is a set of traits, and nothing in the model compares versions. The set of the running
kernel comes from its probed features (`traits_of`); two traits cannot be probed without harm.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from types import MappingProxyType
from typing import Final

from unotify.abi.features import Feature

__all__ = ["LATEST", "VERSIONS", "Trait", "features_of", "traits_of"]


class Trait(Enum):
    """One difference between kernels, and the version that brought it."""

    LISTENERS = "5.0"
    """USER_NOTIF, NEW_LISTENER and the first three ioctls."""
    CONTINUE = "5.5"
    """FLAG_CONTINUE (C5)."""
    CLEAN_BUFFER = "5.5 "
    """RECV refuses a buffer that is not all zero (N5)."""
    PIDFD_GETFD = "5.6"
    """pidfd_getfd(2)."""
    TSYNC_ESRCH = "5.7"
    """TSYNC_ESRCH, and with it TSYNC | NEW_LISTENER (S1)."""
    ID_VALID = "5.8"
    """The corrected number of ID_VALID; the old one stays."""
    HANGUP = "5.9"
    """POLLHUP (E3)."""
    ADDFD = "5.9 "
    """ADDFD."""
    ADDFD_SEND = "5.14"
    """ADDFD_FLAG_SEND (A10)."""
    WAIT_KILLABLE = "5.19"
    """WAIT_KILLABLE_RECV (I5)."""
    SYNC_WAKE_UP = "6.6"
    """SET_FLAGS (W1)."""
    RECV_RESTARTS = "6.6 "
    """RECV is made again after a handler with SA_RESTART (I12)."""
    PIDFD_THREAD = "6.9"
    """pidfd_open(2) of any thread (P6)."""
    RELEASE_AT_EXIT = "6.11"
    """A task lets go of its filters when it exits, not when it is reaped (E4)."""
    RECV_ENDS = "6.11 "
    """RECV is ENOENT when nobody uses the filter any more (E6)."""
    UPROBE_UNSEEN = "6.14"
    """uretprobe and uprobe of x86-64 pass all filters."""
    FAST_REPLY = "6.18"
    """A reply that comes before a WAIT_KILLABLE target has slept again stands."""
    SEND_RESTORED = "next"
    """An interrupted ADDFD_FLAG_SEND leaves the call unanswered: the cure of A14."""


_ORDER: Final = (
    *("5.0", "5.5", "5.6", "5.7", "5.8", "5.9", "5.14", "5.19"),
    *("6.6", "6.9", "6.11", "6.14", "6.18", "next"),
)

VERSIONS: Final = MappingProxyType(
    {
        version: frozenset(
            trait for trait in Trait if _ORDER.index(trait.value.strip()) <= position
        )
        for position, version in enumerate(_ORDER)
    }
)
"""The traits of mainline kernels, by the version that changed something."""

LATEST: Final = "6.18"

_FEATURES: Final = MappingProxyType(
    {
        Trait.LISTENERS: (Feature.USER_NOTIF, Feature.NEW_LISTENER),
        Trait.CONTINUE: (Feature.CONTINUE,),
        Trait.PIDFD_GETFD: (Feature.PIDFD_GETFD,),
        Trait.TSYNC_ESRCH: (Feature.TSYNC_ESRCH,),
        Trait.ID_VALID: (Feature.ID_VALID,),
        Trait.ADDFD: (Feature.ADDFD,),
        Trait.ADDFD_SEND: (Feature.ADDFD_SEND,),
        Trait.WAIT_KILLABLE: (Feature.WAIT_KILLABLE_RECV,),
        Trait.SYNC_WAKE_UP: (Feature.SYNC_WAKE_UP,),
        Trait.PIDFD_THREAD: (Feature.PIDFD_THREAD,),
        Trait.RELEASE_AT_EXIT: (Feature.HANGUP_AT_EXIT,),
        Trait.RECV_ENDS: (Feature.RECV_ENDS,),
    }
)
_OLDER: Final = frozenset(
    {Feature.TSYNC, Feature.LOG, Feature.SPEC_ALLOW, Feature.PROCESS_VM_READV}
)
"""Features that each kernel with listeners has."""


def features_of(traits: Collection[Trait]) -> frozenset[Feature]:
    """What a probe of a kernel with *traits* finds."""
    found = {feature for trait in traits for feature in _FEATURES.get(trait, ())}
    return frozenset(found | _OLDER)


def traits_of(features: Collection[Feature], *, fast_reply: bool = True) -> frozenset[Trait]:
    """The traits of a kernel in which *features* were found.

    Args:
        features: As probed.
        fast_reply: Whether the repair of 6.18, which stable kernels have too, is in it: a race,
            so no probe tells.
    """
    found = {trait for trait, needed in _FEATURES.items() if set(needed) <= set(features)}
    if Trait.CONTINUE in found:
        found.add(Trait.CLEAN_BUFFER)
    if Trait.ADDFD in found:
        found.add(Trait.HANGUP)
    if Trait.SYNC_WAKE_UP in found:
        found.add(Trait.RECV_RESTARTS)
    if Trait.WAIT_KILLABLE in found and fast_reply:
        found.add(Trait.FAST_REPLY)
    if Trait.RECV_ENDS in found:
        found.add(Trait.UPROBE_UNSEEN)
    return frozenset(found)
