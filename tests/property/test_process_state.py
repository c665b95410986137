"""The stream of a runtime, cut and disturbed in any way."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from unotify.oci.process_state import ProcessStateReader

texts = st.text(max_size=20)
annotations = st.dictionaries(texts, texts, max_size=4)
states = st.fixed_dictionaries(
    {
        "ociVersion": texts,
        "fds": st.lists(st.sampled_from(["seccompFd", "other"]), max_size=3),
        "pid": st.integers(-1, 1 << 33),
        "metadata": texts,
        "state": st.fixed_dictionaries(
            {"id": st.sampled_from(["a", "b-1", ""]), "annotations": annotations}
        ),
    }
)
cuts = st.lists(st.integers(0, 400), max_size=6)


def pieces(data: bytes, at: list[int]) -> list[bytes]:
    """The text, cut."""
    places = sorted({min(place, len(data)) for place in at})
    found = [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    return [piece for piece in found if piece]


@given(states, cuts, st.sampled_from([None, 2]), st.booleans())
def test_cuts(state: Any, at: list[int], indent: int | None, ascii: bool) -> None:
    """However the text is cut, it comes to the same as in one piece."""
    data = json.dumps(state, indent=indent, ensure_ascii=ascii).encode()
    fds = tuple(range(3, 3 + len(state["fds"])))
    whole = ProcessStateReader().receive(data, fds)
    reader = ProcessStateReader()
    found = None
    for number, piece in enumerate(pieces(data, at)):
        assert found is None or not found.over
        found = reader.receive(piece, fds if number == 0 else ())
    assert found is not None
    assert (found.state, found.listener, found.refused) == (
        whole.state,
        whole.listener,
        whole.refused,
    )
    assert found.over
    assert sorted(found.close) == sorted(whole.close)


@given(
    st.lists(
        st.tuples(
            st.binary(max_size=40) | st.just(b'{"fds":["seccompFd"],"state":{"id":"c"}}'),
            st.integers(0, 3),
            st.booleans(),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_descriptors(sent: list[tuple[bytes, int, bool]]) -> None:
    """Each descriptor comes back exactly once: as the listener, or to be closed."""
    numbers = count(3)
    reader = ProcessStateReader()
    given_fds: list[int] = []
    back: list[int] = []
    for data, many, truncated in sent:
        fds = tuple(next(numbers) for _ in range(many))
        given_fds += fds
        piece = reader.receive(data, fds, truncated=truncated)
        back += piece.close
        assert (piece.listener >= 0) == (piece.state is not None)
        if piece.listener >= 0:
            back.append(piece.listener)
        if piece.over:
            break
    back += reader.abandon()
    assert sorted(back) == given_fds
