"""The scripts of the restart protocol, word by word."""

from __future__ import annotations

from typing import Any

import pytest

from unotify.oci.restart import (
    HUNG_UP,
    SILENT,
    AskLife,
    Begin,
    Desk,
    Hear,
    Put,
    Recover,
    Say,
    Script,
    Settle,
    Step,
    Take,
    Taken,
    WriteDown,
    ask,
    give,
    keep,
    restore,
    run,
)


def played(script: Script[Any], *came: Any) -> tuple[list[Step], Any]:
    """The steps of *script*, of which in turn *came* comes, and what it returns."""
    steps: list[Step] = []
    answers = iter(came)

    def do(step: Step) -> Any:
        steps.append(step)
        return next(answers)

    return steps, run(script, do)


def test_an_agent_gives_all_and_promises_to_leave() -> None:
    """It says who it is, what there is, that this is all; and leaves when the other has it."""
    steps, given = played(give(["a", "b"]), True, True, True, True, {"have": 2}, True)
    assert given is True
    assert steps == [
        Say({"agent": True}, life=True),
        Say({"name": "a"}, bundle="a"),
        Say({"name": "b"}, bundle="b"),
        Say({"done": True, "count": 2}),
        Hear(),
        Say({"leaving": True}),
    ]


@pytest.mark.parametrize(
    "came",
    [
        [False],
        [True, False],
        [True, True, False],
        [True, True, True, HUNG_UP],
        [True, True, True, SILENT],
        [True, True, True, {"have": 0}],
        [True, True, True, {"what": 1}],
        [True, True, True, {"have": 1}, False],
    ],
)
def test_an_agent_that_is_not_relieved_goes_on(came: list[Any]) -> None:
    """Whatever fails on the way, before the other was promised anything."""
    assert played(give(["a"]), *came)[1] is False


HELLO, NAME, DONE = {"agent": True}, {"name": "a"}, {"done": True, "count": 1}
LEAVING = {"leaving": True}


def test_a_successor_serves_after_promise_and_end() -> None:
    """It asks, takes, says that it has all, hears that the other leaves, and that it has left."""
    steps, taken = played(ask(), True, HELLO, NAME, DONE, True, LEAVING, HUNG_UP)
    assert taken == Taken(True)
    assert [step for step in steps if isinstance(step, Say)] == [
        Say({"do": "hand-over"}),
        Say({"have": 1}),
    ]
    # Having said that, it does not lose patience.
    assert steps[-2:] == [Hear(ending=True), Hear(ending=True)]


@pytest.mark.parametrize("came", [[HUNG_UP], [HELLO, HUNG_UP], [HELLO, NAME, DONE, True, HUNG_UP]])
def test_an_end_without_promise_is_looked_into(came: list[Any]) -> None:
    """Was the agent killed? Then what it gave is served; if not it goes on, and we must not."""
    steps, taken = played(ask(), True, *came, False)
    assert steps[-1] == AskLife()
    assert taken.serve
    assert "was killed" in taken.why
    _, taken = played(ask(), True, *came, True)
    assert not taken.serve
    assert "goes on" in taken.why


@pytest.mark.parametrize(
    ("came", "why"),
    [
        ([{"error": "no"}], "no"),
        ([HELLO, SILENT], "the agent said nothing while it handed over, and goes on"),
        ([HELLO, NAME, {"done": True, "count": 2}], "the agent sent 2 bundles, 1 came"),
        ([HELLO, NAME, DONE, True, NAME], "says {'name': 'a'}, and not that it leaves"),
    ],
)
def test_a_successor_that_is_not_given_all_serves_nothing(came: list[Any], why: str) -> None:
    """It says why."""
    _, taken = played(ask(), True, *came)
    assert not taken.serve
    assert why in taken.why


def test_what_comes_is_kept_before_it_is_served() -> None:
    """A journal, the store, and only then the first call."""
    assert played(keep("a"), None, None, None)[0] == [WriteDown("a"), Put("a"), Begin("a")]


def test_what_is_left_is_taken_looked_at_and_served() -> None:
    """What was handed over goes into the store first; nobody is served before all has gone well."""
    steps, found = played(
        restore(["a", "b"]), None, None, ["b", "c"], True, False, True, None, None, None
    )
    assert found == ["a", "c"]
    assert steps == [
        Put("a"),
        Put("b"),
        Take(),
        Recover("a"),
        Recover("b"),
        Recover("c"),
        Settle(),
        Begin("a"),
        Begin("c"),
    ]


def test_a_desk_for_one_agent_at_a_time() -> None:
    """It holds what it is given until another of that name comes, whoever has gone meanwhile."""
    desk: Desk[int] = Desk()
    assert desk.come()
    assert not desk.come()
    assert desk.store("a", 1) is None
    assert desk.store("a", 2) == 1
    desk.go()
    assert desk.come()
    assert desk.bundles == {"a": 2}
    assert desk.forget("a") == 2
    assert desk.forget("a") is None
