"""What is explored of `restart_model`."""

from __future__ import annotations

from typing import Any

from tests.unit.oci.restart_model import Restart


def _restart(**options: Any) -> Restart:
    budget = options.pop("trouble")
    often = tuple((name.replace("_", "-"), left) for name, left in budget.items())
    return Restart(trouble=often, **options)


SMALL = {
    "an agent is killed, a target gets a signal": _restart(trouble={"agent": 1, "signal": 1}),
    "an agent is killed, and the next one": _restart(trouble={"agent": 2}),
    "an agent is asked by another, one is killed": _restart(
        store=False, trouble={"take_over": 1, "agent": 1}
    ),
    "the same, one loses patience, the target is killed": _restart(
        store=False,
        targets=1,
        trouble={"take_over": 1, "agent": 1, "patience": 1, "kill": 1},
    ),
    "the same with a keeper, and a signal": _restart(
        targets=1, trouble={"take_over": 1, "agent": 1, "patience": 1, "signal": 1}
    ),
    "an agent is told to end, one is killed": _restart(
        targets=1, trouble={"stop": 1, "agent": 1, "signal": 1}
    ),
    "agents that cannot start, three are killed": _restart(
        targets=1, most_tries=2, trouble={"agent": 3, "settle": 1}
    ),
    "signals without WAIT_KILLABLE_RECV": _restart(
        targets=1, killable=False, trouble={"agent": 1, "signal": 2}
    ),
}
"""The small bound: what may happen, and to whom."""
