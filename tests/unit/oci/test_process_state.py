"""The stream protocol of container runtimes, without sockets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from unotify.oci.process_state import MOST_BYTES, Piece, ProcessState, ProcessStateReader

RUNC = (
    b'{"ociVersion":"1.0.2-dev","fds":["seccompFd"],"pid":32431,"metadata":"MKNOD=/dev/null;demo=1",'
    b'"state":{"ociVersion":"1.0.2-dev","id":"n1","status":"creating","pid":32431,'
    b'"bundle":"/bundles/b2","annotations":{"org.example.k":"v"}}}'
)
CRUN_EXEC = json.dumps(
    {
        "ociVersion": "0.2.0",
        "fds": ["seccompFd"],
        "pid": 0,
        "metadata": "m",
        "state": {
            "ociVersion": "1.0.0",
            "id": "c1",
            "status": "running",
            "pid": 0,
            "bundle": ".",
            "annotations": {},
        },
    },
    indent=4,
).encode()


def message(**changes: Any) -> bytes:
    """A state with some keys replaced; ``None`` leaves them out."""
    whole = {"fds": ["seccompFd"], "pid": 7, "state": {"id": "c"}} | changes
    return json.dumps({key: value for key, value in whole.items() if value is not None}).encode()


def received(data: bytes, fds: tuple[int, ...] = (5,), **options: Any) -> Piece:
    """What one piece comes to."""
    return ProcessStateReader().receive(data, fds, **options)


def test_runc() -> None:
    """What runc sends is a state with all that it says, and the listener."""
    piece = received(RUNC)
    assert piece.listener == 5
    assert piece.close == ()
    assert piece.state == ProcessState(
        id="n1",
        pid=32431,
        init=32431,
        status="creating",
        metadata="MKNOD=/dev/null;demo=1",
        annotations={"org.example.k": "v"},
        bundle="/bundles/b2",
        version="1.0.2-dev",
    )


def test_crun_exec() -> None:
    """An exec of crun says pid 0, bundle . and version 0.2.0, in many lines and an empty one."""
    piece = received(CRUN_EXEC + b"\n")
    assert piece.state is not None
    assert (piece.state.id, piece.state.pid, piece.state.init) == ("c1", 0, 0)


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_pieces(size: int) -> None:
    """A text may come in pieces of any size, with the listener at the first."""
    reader = ProcessStateReader()
    pieces = [RUNC[at : at + size] for at in range(0, len(RUNC), size)]
    for at, data in enumerate(pieces):
        piece = reader.receive(data, (5,) if at == 0 else ())
        assert piece.over == (at == len(pieces) - 1)
    assert piece.state is not None
    assert piece.listener == 5


def test_braces_in_strings() -> None:
    """Braces, quotes and backslashes in a string do not end the text."""
    reader = ProcessStateReader()
    value = 'a } " \\ \\" { ]'
    data = message(state={"id": "c", "annotations": {"k": value}})
    for at in range(len(data)):
        piece = reader.receive(data[at : at + 1], (3,) if at == 0 else ())
    assert piece.state is not None
    assert piece.state.annotations == {"k": value}


def test_large_annotations() -> None:
    """300 kB of annotations come through."""
    reader = ProcessStateReader()
    data = message(state={"id": "c", "annotations": {"k": "x" * 300_000}})
    for at in range(0, len(data), 36_544):
        piece = reader.receive(data[at : at + 36_544], (9,) if at == 0 else ())
    assert piece.listener == 9


def test_other_descriptors_are_closed() -> None:
    """Of several descriptors the one named seccompFd is taken, and the others are closed."""
    piece = received(message(fds=["a", "seccompFd", "b"]), (4, 5, 6, 7))
    assert piece.listener == 5
    assert piece.close == (4, 6, 7)


def test_later_descriptors_are_closed() -> None:
    """Descriptors that come after the first message are closed at once."""
    reader = ProcessStateReader()
    assert not reader.receive(RUNC[:50], (5,)).over
    assert reader.receive(RUNC[50:60], (6,)) == Piece(close=(6,))
    piece = reader.receive(RUNC[60:], (7,))
    assert (piece.listener, piece.close) == (5, (7,))


def test_listener_in_a_later_message_is_refused() -> None:
    """A listener that comes late is none."""
    reader = ProcessStateReader()
    assert not reader.receive(RUNC[:50]).over
    piece = reader.receive(RUNC[50:], (6,))
    assert piece.refused
    assert piece.close == (6,)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (message(fds=[]), "0 times"),
        (message(fds=["seccompFd", "seccompFd"]), "2 times"),
        (message(fds=None), "fds is no list"),
        (message(fds="seccompFd"), "fds is no list"),
        (message(fds=["a", "b", "seccompFd"]), "names 3 descriptors, 2 came"),
        (message(state=None), "no state"),
        (message(state=[]), "no state"),
        (message(state={}), "no id"),
        (message(state={"id": 7}), "id is no string"),
        (message(state={"id": "a\nb"}), "cannot be printed"),
        (message(state={"id": "a" * 2000}), "too long"),
        (message(state={"id": "c", "annotations": 7}), "annotations is no object"),
        (message(state={"id": "c", "annotations": {"k": 7}}), "k is no string"),
        (message(metadata=7), "metadata is no string"),
        (message() + b"x", "follows"),
        (b"[1]", "brace"),
        (b"seccompFd", "brace"),
        (b'{"a":1]', "not JSON"),
        (b"{\xff}", "UTF-8"),
        (b"{\0", ""),
        (b'{"a":' + b"[" * 100, "deeper"),
        (b'{"a":' + b"9" * 5000 + b"}", "digits"),
        (b"{" + b"x" * MOST_BYTES, "more than"),
    ],
)
def test_refused(data: bytes, said: str) -> None:
    """What is no state is refused with the reason, and all its descriptors are closed."""
    reader = ProcessStateReader()
    piece = reader.receive(data, (5, 6))
    if not piece.over:
        piece = reader.receive(b"")
        said = "ended"
    assert piece.refused is not None
    assert said in piece.refused
    assert piece.close == (5, 6)
    assert piece.listener == -1


def test_truncated_descriptors_are_refused() -> None:
    """Where the kernel lost descriptors the connection is refused, and what came is closed."""
    piece = received(RUNC, (5,), truncated=True)
    assert piece.refused
    assert piece.close == (5,)


def test_empty_connection() -> None:
    """A connection without anything is over, and nothing is to be closed."""
    piece = received(b"", ())
    assert piece == Piece(refused="the connection was empty")


def test_unknown_fields() -> None:
    """Fields that nobody knows, and null for what is missing, are no reason to refuse."""
    odd = message(ociVersion=7, state={"id": "c", "status": [], "bundle": {}})
    assert received(odd).state == ProcessState(id="c", pid=7)
    data = message(new={"a": [1, {}]}, metadata=None, ociVersion="9.9", pid=-3)
    piece = received(data)
    assert piece.state == ProcessState(id="c", version="9.9")
    null = message(state={"id": "c", "annotations": None, "status": None})
    assert received(null).state == ProcessState(id="c", pid=7)


@pytest.mark.parametrize("pid", [0, -1, 1 << 40, 1.5, "7", True, None])
def test_strange_pids(pid: object) -> None:
    """A pid that cannot be one counts as not told."""
    state = received(json.dumps({"fds": ["seccompFd"], "pid": pid, "state": {"id": "c"}}).encode())
    assert state.state is not None
    assert state.state.pid == 0


def test_abandoned() -> None:
    """Who gives up closes what came so far, and can go on no more."""
    reader = ProcessStateReader()
    reader.receive(RUNC[:20], (5,))
    assert reader.abandon() == (5,)
    with pytest.raises(ValueError, match="over"):
        reader.receive(RUNC[20:])
