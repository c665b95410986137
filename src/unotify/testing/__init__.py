"""Tools for testing policies and handlers without privileges, and without Linux.

`SimulatedKernel` is the kernel's facility as an executable model: a supervisor, its handlers and
its policies run on it unchanged. `Supervised` puts a supervisor and a target on one, for tests of
handlers; `make_call` gives a handler a single call; `unotify.testing.plugin` has pytest fixtures.
`explore` makes all orders of events happen, for tests of protocols between supervisors;
`explore_policy` searches for what a hostile target gets in spite of a policy.

Names are loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unotify.testing.checks import assert_reply, make_call
    from unotify.testing.exploring import Exploration, Violation, explore, stroll
    from unotify.testing.facility.state import World
    from unotify.testing.facility.traits import VERSIONS, Trait
    from unotify.testing.hostile.exploring import explore_policy
    from unotify.testing.hostile.reporting import Covered, PolicyExploration, Story
    from unotify.testing.kernel import SimulatedKernel
    from unotify.testing.listener import Sent, SimulatedListener
    from unotify.testing.performing import Contact, Outcome
    from unotify.testing.supervised import Supervised
    from unotify.testing.target import Answer, FakeTarget
    from unotify.testing.timing import SimulatedTime, simulated_time

__all__ = [
    "VERSIONS",
    "Answer",
    "Contact",
    "Covered",
    "Exploration",
    "FakeTarget",
    "Outcome",
    "PolicyExploration",
    "Sent",
    "SimulatedKernel",
    "SimulatedListener",
    "SimulatedTime",
    "Story",
    "Supervised",
    "Trait",
    "Violation",
    "World",
    "assert_reply",
    "explore",
    "explore_policy",
    "make_call",
    "simulated_time",
    "stroll",
]

_HOMES = {
    "VERSIONS": "facility.traits",
    "Answer": "target",
    "Contact": "performing",
    "Covered": "hostile.reporting",
    "Exploration": "exploring",
    "FakeTarget": "target",
    "Outcome": "performing",
    "PolicyExploration": "hostile.reporting",
    "Sent": "listener",
    "SimulatedKernel": "kernel",
    "SimulatedListener": "listener",
    "SimulatedTime": "timing",
    "Story": "hostile.reporting",
    "Supervised": "supervised",
    "Trait": "facility.traits",
    "Violation": "exploring",
    "World": "facility.state",
    "assert_reply": "checks",
    "explore": "exploring",
    "explore_policy": "hostile.exploring",
    "make_call": "checks",
    "simulated_time": "timing",
    "stroll": "exploring",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(f"{__name__}.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
