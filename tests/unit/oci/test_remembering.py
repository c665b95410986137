"""What an agent writes down of each listener."""

from __future__ import annotations

import json

import pytest

from unotify.oci.process_state import ProcessState
from unotify.oci.remembering import Memory, decode, encode


def memory(**changes: object) -> Memory:
    """What is remembered of some listener."""
    state = ProcessState(
        id="c", pid=7, status="creating", metadata="m", annotations={"a": "é"}, bundle="/b"
    )
    given = {
        "key": "k",
        "state": state,
        "first": True,
        "policy": "p",
        "digest": "d",
        "texts": {"/p.toml": "version = 1", "/more.toml": "x"},
        "by": 2,
        "wait_killable": True,
        "since": 1.5,
        "user_namespace": "user:[4026531837]",
    }
    return Memory(**(given | changes))  # type: ignore[arg-type]


def test_what_is_remembered_comes_back() -> None:
    """All of it, the files of the policy in their order."""
    found = decode(json.loads(encode(memory(), 10_000)))
    assert found == memory()
    assert found is not None
    assert list(found.texts) == ["/p.toml", "/more.toml"]


def test_what_has_no_room_is_left_out() -> None:
    """First annotations, then the policy's text: who it is and what it had is there still."""
    state = ProcessState(id="c", annotations={"a": "x" * 5000})
    found = decode(json.loads(encode(memory(state=state), 4000)))
    assert found == memory(state=ProcessState(id="c"))
    found = decode(json.loads(encode(memory(state=state, texts={"/p": "y" * 5000}), 4000)))
    assert found == memory(state=ProcessState(id="c"), texts={})
    with pytest.raises(ValueError, match="more than 100 bytes"):
        encode(memory(), 100)


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"version": 2},
        {"version": 1},
        {"version": 1, "state": {"annotations": 3}},
        {"version": 1, "key": "k", "state": {"id": "c", "annotations": {}}, "new": 1, "texts": []},
    ],
)
def test_what_another_agent_wrote_is_not_guessed_at(record: dict[str, object]) -> None:
    """A newer one may mean something else by it."""
    assert decode(record) is None
