"""The agent's restart protocol in all orders, with deaths anywhere; and with something wrong in it.

How many states were visited is printed at the end of the run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.oci.restart_bounds import SMALL
from tests.unit.oci.restart_memory import Modelled
from tests.unit.oci.restart_model import Restart
from tests.unit.oci.restart_rules import Rules
from unotify.abi.types import NotificationId
from unotify.oci import restart
from unotify.oci.restart import (
    HUNG_UP,
    AskLife,
    Begin,
    Desk,
    Hear,
    Put,
    Say,
    Taken,
    WriteDown,
)
from unotify.testing.exploring import Exploration, Violation, explore, stroll

LONG = bool(os.environ.get("UNOTIFY_TEST_LONG"))


def covered(name: str, model: Restart) -> Exploration:
    """Explore all of *model*."""
    found = explore(
        model.world(), model.moves, always=model.always, at_end=model.at_end, most=20_000_000
    )
    print(f"restart, {name}: {found}")
    return found


def story(model: Restart) -> str:
    """How something goes wrong in *model*."""
    with pytest.raises(Violation) as caught:
        covered("broken", model)
    assert caught.value.trace
    print(caught.value)
    return str(caught.value)


def trouble(**budget: int) -> tuple[tuple[str, int], ...]:
    """What may happen, and how often."""
    return tuple((name.replace("_", "-"), often) for name, often in budget.items())


ONE = replace(Restart(), targets=1, trouble=trouble(agent=1))
ASKED = replace(ONE, store=False, trouble=trouble(take_over=1, agent=1, patience=1))


# -- what holds --------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_whoever_dies_whenever(name: str) -> None:
    """No answer is lost, doubled or misdirected; nobody hangs, or gets ENOSYS without need."""
    assert covered(name, SMALL[name]).states > 1_000


def test_the_table_of_the_docs_has_them_all() -> None:
    """`python -m tools.draw_explored docs` makes it anew."""
    page = (Path(__file__).parents[3] / "docs" / "testing.md").read_text()
    rows = [row.split("|")[1].strip() for row in page.splitlines() if row.startswith("| ")]
    assert [row for row in rows if row in SMALL] == list(SMALL)


@pytest.mark.parametrize("seed", range(1000 if LONG else 20))
def test_beyond_the_bound(seed: int) -> None:
    """Random orders with more of everything: the same holds."""
    model = Restart(
        targets=3,
        calls=3,
        killable=seed % 2 == 0,
        store=seed % 3 > 0,
        trouble=trouble(agent=3, signal=3, kill=1, take_over=2, patience=1, settle=1, stop=1),
    )
    found = stroll(model.world(), model.moves, seed=seed, always=model.always, at_end=model.at_end)
    assert found.ends == 1


@pytest.mark.slow
@pytest.mark.skipif(not LONG, reason="takes minutes: make test-long")
@pytest.mark.timeout(3000)
@pytest.mark.parametrize(
    "model",
    [
        Restart(trouble=trouble(agent=1, signal=1, kill=1)),
        Restart(killable=False, trouble=trouble(agent=1, signal=1)),
        Restart(trouble=trouble(take_over=1, agent=1)),
        Restart(trouble=trouble(stop=1, agent=1)),
        replace(ONE, trouble=trouble(take_over=1, agent=3, patience=1, signal=1)),
    ],
    ids=["deaths", "not-killable", "taken-over", "told-to-end", "three-deaths"],
)
def test_the_larger_bound(model: Restart) -> None:
    """The same with more of everything."""
    assert covered("the larger bound", model).states > 50_000


# -- what would be found ---------------------------------------------------------------


class Late(Modelled):
    """Writes into the journal itself, after RECV."""

    receiving = 1

    def _receive_at(self, slot: int) -> bytes | None:
        found = self.receive()
        self.spend()
        if found:
            self.journal.write(slot, found)
        return found or None


def test_a_journal_that_is_written_after_the_receipt() -> None:
    """Who dies in between leaves a target that nobody knows of."""
    told = story(replace(ONE, rules=Rules(listener=Late)))
    assert "hangs" in told
    assert "agent 1 receives, and is killed after step 1 of that" in told


class Early(Modelled):
    """Empties the slot, and answers then."""

    def send(self, response: bytes | bytearray) -> bool:
        """The wrong way round."""
        self._forget(int.from_bytes(response[:8], "little"))
        return self._answer(response)


def test_a_journal_that_is_emptied_before_the_answer() -> None:
    """The answer was never given, and nobody knows of the call."""
    told = story(replace(ONE, rules=Rules(listener=Early)))
    assert "hangs" in told
    assert "and is killed after step 1 of that" in told


class Forgetful(Modelled):
    """Does not decide again what was received before."""

    def recover(self) -> tuple[list[bytes], list[bytes]]:
        """Nothing was."""
        return [], []


def test_a_successor_that_does_not_decide_again() -> None:
    """A notification that was received is told to nobody a second time."""
    assert "hangs" in story(replace(ONE, rules=Rules(listener=Forgetful)))


class Blind(Modelled):
    """Takes all that is in the journal for unanswered."""

    def is_valid(self, id: NotificationId) -> bool:
        """It is not asked."""
        return True


def test_a_successor_that_does_not_ask_who_waits() -> None:
    """What was answered is done once more: a second target waits, so that there is time for it."""
    told = story(Restart(trouble=trouble(agent=1), rules=Rules(listener=Blind)))
    assert "which is answered" in told


class Hasty(Modelled):
    """Counts a try as soon as it looks."""

    def recover(self) -> tuple[list[bytes], list[bytes]]:
        """It may not get to serve them."""
        again, hopeless = super().recover()
        self.try_again(again)
        return again, hopeless


def test_tries_that_are_counted_before_anybody_serves() -> None:
    """Agents that could not start make a call hopeless."""
    model = replace(ONE, most_tries=2, trouble=trouble(agent=1, settle=1))
    assert "is refused" in story(replace(model, rules=Rules(listener=Hasty)))
    covered("the same in order", model)


def serve_then_keep(name: str) -> Iterator[Any]:
    """Receive before the store has it."""
    yield WriteDown(name)
    yield Begin(name)
    yield Put(name)


def test_a_listener_that_is_served_before_it_is_kept() -> None:
    """Its agent dies with the only copy."""
    assert "ENOSYS" in story(replace(ONE, rules=Rules(keep=serve_then_keep)))


class Open(Desk[Any]):
    """A keeper that serves whoever comes."""

    def come(self) -> bool:
        """He is welcome."""
        return True


def does_not_wait() -> Iterator[Any]:
    """Ask, and serve while the other still does."""
    yield Say({"do": "hand-over"})
    while "done" not in (yield Hear()):
        pass
    yield Say({"have": 1})
    return Taken(True)


def test_a_successor_that_does_not_wait() -> None:
    """Both receive."""
    calm = replace(ASKED, trouble=trouble(take_over=1))
    assert "receive at the same time" in story(replace(calm, rules=Rules(ask=does_not_wait)))


def takes_hanging_up_for_the_end() -> Iterator[Any]:
    """As it was: no promise, and whoever hangs up has ended."""
    yield Say({"do": "hand-over"})
    while not isinstance(heard := (yield Hear()), restart.Nothing) and "done" not in heard:
        pass
    if isinstance(heard, restart.Nothing):
        return Taken(False)
    yield Say({"have": 1})
    while (yield Hear(ending=True)) is not HUNG_UP:
        pass
    return Taken(True)


def hangs_up(names: Any) -> Iterator[Any]:
    """As it was: no promise."""
    yield Say({"agent": True}, life=True)
    for name in names:
        yield Say({"name": name}, bundle=name)
    yield Say({"done": True, "count": len(names)})
    heard = yield Hear()
    return not isinstance(heard, restart.Nothing) and heard.get("have") == len(names)


def test_hanging_up_is_no_end() -> None:
    """The old agent loses patience just before it is told that all has come: both serve."""
    calm = replace(ASKED, trouble=trouble(take_over=1, patience=1))
    rules = Rules(ask=takes_hanging_up_for_the_end, give=hangs_up)
    told = story(replace(calm, rules=rules))
    assert "receive at the same time" in told
    assert "agent 1 loses patience" in told


def test_whoever_is_silent_is_not_dead() -> None:
    """The same if the successor does not look whether the other lives."""
    calm = replace(ASKED, trouble=trouble(take_over=1, patience=1))
    told = story(replace(calm, rules=Rules(alive=lambda world, agent: False)))
    assert "receive at the same time" in told


def leaves_before_it_is_relieved(names: Any) -> Iterator[Any]:
    """Give, and leave whatever the other says."""
    yield from restart.give(names)
    return True


def test_an_agent_that_leaves_before_it_is_relieved() -> None:
    """The other is killed, or never says that it has all; and the last copy is closed."""
    told = story(replace(ASKED, rules=Rules(give=leaves_before_it_is_relieved)))
    assert "ENOSYS" in told


def leaves_the_store_first() -> Iterator[Any]:
    """Let the next one come, and go on receiving meanwhile."""
    yield restart.Hold()
    yield restart.LetGo()
    yield restart.Finish()


def test_a_store_that_is_left_too_early() -> None:
    """The next agent comes to the keeper while this one still receives."""
    model = replace(ONE, trouble=trouble(stop=1))
    assert "receive at the same time" in story(
        replace(model, rules=Rules(leave=leaves_the_store_first))
    )


def iter_of(value: Any) -> Iterator[Any]:
    """A script that asks, and returns *value*."""
    yield Say({"do": "hand-over"})
    yield Hear()
    yield AskLife()
    return value


def test_a_keeper_that_serves_two() -> None:
    """Whoever comes while an agent is there receives beside it."""
    model = replace(ONE, trouble=trouble(take_over=1))
    rules = Rules(desk=Open, ask=lambda: iter_of(Taken(True)))
    assert "receive at the same time" in story(replace(model, rules=rules))
