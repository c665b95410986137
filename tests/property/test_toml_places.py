"""The places of keys and values agree with what tomllib reads."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from unotify.errors import PolicyError
from unotify.policy.toml_places import Spot, locate

BARE = st.text("abcXYZ09_-", min_size=1, max_size=5)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=12)
GAP = st.sampled_from(["", " ", "\t ", "  "])
LINES = st.sampled_from(["", " ", "\n", ' # it\'s "so" [x] = {\n  ', "\r\n"])


def escaped(text: str, keep: str = "") -> str:
    """As it stands in a basic string."""
    return "".join(
        char
        if char in keep
        else f"\\u{ord(char):04x}"
        if char in '"\\' or ord(char) < 32 or ord(char) == 127
        else char
        for char in text
    )


def plain(char: str) -> bool:
    """Whether a literal string may hold it."""
    return char == "\t" or (ord(char) >= 32 and ord(char) != 127)


@st.composite
def strings(draw: st.DrawFn) -> str:
    """A string in any of the four forms."""
    text = draw(TEXT)
    form = draw(st.integers(0, 3))
    if form == 1 and all(map(plain, text)) and "'" not in text:
        return f"'{text}'"
    if form == 2:
        joined = draw(st.sampled_from(["", "\\\n   ", "\\  \n\n\t"]))
        return f'"""{draw(st.sampled_from(["", chr(10)]))}{escaped(text, chr(10))}{joined}"x"y"""'
    if form == 3 and all(char == "\n" or plain(char) for char in text) and "''" not in text:
        return f"'''\n{text}a'''{draw(st.sampled_from(['', chr(39), chr(39) * 2]))}"
    return f'"{escaped(text)}"'


@st.composite
def keys(draw: st.DrawFn) -> str:
    """A key, bare, quoted or dotted."""

    def part() -> str:
        form = draw(st.integers(0, 4))
        if form == 0:
            return f'"{escaped(draw(TEXT))}"'
        return draw(BARE)

    parts = [part() for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3])))]
    return f"{draw(GAP)}.{draw(GAP)}".join(parts)


SCALARS = st.sampled_from(
    ["1", "-7", "0x1F", "1_000", "1.5e3", "inf", "true", "1979-05-27 07:32:00", "07:32:00"]
)


def values(depth: int = 3) -> st.SearchStrategy[str]:
    """A value of any kind."""
    if depth == 0:
        return strings() | SCALARS
    below = values(depth - 1)

    @st.composite
    def arrays(draw: st.DrawFn) -> str:
        items = [draw(LINES) + draw(below) + draw(LINES) for _ in range(draw(st.integers(0, 3)))]
        return "[" + ",".join(items) + ("," if items and draw(st.booleans()) else "") + "]"

    @st.composite
    def tables(draw: st.DrawFn) -> str:
        items = [draw(keys()) + draw(GAP) + "=" + draw(GAP) + draw(below) for _ in range(2)]
        return "{ " + " , ".join(items[: draw(st.integers(0, 2))]) + " }"

    return strings() | SCALARS | arrays() | tables()


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Something that is mostly TOML."""
    lines = []
    for _ in range(draw(st.integers(0, 8))):
        match draw(st.integers(0, 5)):
            case 0:
                lines.append(f"{draw(GAP)}[{draw(GAP)}{draw(keys())}{draw(GAP)}]{draw(GAP)}# [[a")
            case 1:
                lines.append(f"[[{draw(keys())}]]")
            case _:
                lines.append(f"{draw(GAP)}{draw(keys())}{draw(GAP)}={draw(GAP)}{draw(values())}")
        lines += draw(st.sampled_from([[], [""], ["# x = '''"]]))
    return draw(st.sampled_from(["\n", "\r\n"])).join(lines)


def every(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], Any]]:
    """All values with their paths."""
    found = [(path, value)] if path else []
    if isinstance(value, dict):
        for key, below in value.items():
            found += every(below, (*path, key))
    elif isinstance(value, list):
        for at, below in enumerate(value):
            found += every(below, (*path, at))
    return found


def rest(text: str, spot: Spot) -> str:
    """The text from there on."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join([lines[spot.line - 1][spot.column - 1 :], *lines[spot.line :]])


def reads_as(text: str, value: Any) -> bool:
    """Whether *text* begins with something that tomllib reads as *value*."""
    if isinstance(value, str):
        return any(
            text.startswith(quote) and value in _read(text, end)
            for quote, end in (('"', '"'), ("'", "'"))
        )
    return True


def _read(text: str, end: str) -> list[str]:
    found = []
    for at, char in enumerate(text[1:], 2):
        if char == end:
            try:
                found.append(tomllib.loads(f"x = {text[:at]}")["x"])
            except tomllib.TOMLDecodeError:
                continue
    return found


@given(documents())
def test_every_key_and_value_is_found(text: str) -> None:
    """What tomllib reads stands where the places say."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        locate(text)
        return
    places = locate(text)
    for path, value in every(data):
        key = rest(text, places.key(path))
        step = path[-1]
        if isinstance(step, str):
            assert key.startswith(step) or key[0] in "\"'[", (path, key)
            if key.startswith('"'):
                assert step in _read(key, '"')
        written = rest(text, places.value(path))
        match value:
            case bool():
                assert written.startswith(str(value).lower())
            case int() | float():
                assert written[0] in "+-0123456789in"
            case str():
                assert reads_as(written, value), (path, written, value)
                spots = places.text(path)
                assert len(spots) == len(value) + 1
                for char, spot in zip(value, spots, strict=False):
                    shown = rest(text, spot)
                    assert shown.startswith((char, "\\")), (char, shown)
            case list():
                assert written.startswith("[")


@given(st.text() | st.text("ab.=[]{}\"'\\\n#, 1u") | documents())
def test_any_text(text: str) -> None:
    """Any text at all has places, or is refused as too deep."""
    try:
        places = locate(text)
    except PolicyError as refused:
        error = refused
    else:
        assert places.key(("no", 7, "such")) == Spot(1, 1)
        return
    assert error.line is not None
