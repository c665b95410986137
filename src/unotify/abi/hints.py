"""Which name was probably meant: one way for all messages to say so."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

__all__ = ["nearest"]

_LONGEST: Final = 60
"""A name that long is none, and comparing it takes its time."""

_SHORTEST: Final = 3
"""What is shorter is the beginning of too many names."""


def nearest(name: str, names: Iterable[str]) -> str | None:
    """A hint: the one of *names* that *name* may have been meant to be, or ``None``.

    A difference in upper and lower case is the least that there can be. What is only the
    beginning of a name is taken for it if it looks like none as a whole.
    """
    known = list(names)
    asked = name[:_LONGEST]
    folded: dict[str, str] = {}
    for one in known:
        folded.setdefault(one.casefold(), one)
    near = folded.get(asked.casefold()) or _close(asked, known)
    if near is None:
        close = _close(asked.casefold(), folded)
        near = None if close is None else folded[close]
    if near is None and len(asked) >= _SHORTEST:
        near = next((one for one in known if one.startswith(name)), None)
    return None if near is None else f"did you mean {near}?"


def _close(name: str, names: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, names, n=1)), None)
