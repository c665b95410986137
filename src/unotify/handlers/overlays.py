"""Overlays: layers as the target finds them, put together in its user namespace."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from typing import Any, Final

from unotify.calls.lookups import Spot
from unotify.errors import Refused
from unotify.handlers.answers import find_there
from unotify.handlers.options import Option
from unotify.kernel.mounting import Mount

__all__ = ["LAYERS", "layers_of", "make_overlay"]

LAYERS: Final = ("lowerdir", "lowerdir+", "upperdir", "workdir")
"""Options of an overlay that are paths."""

_LAYERS_MOST: Final = 200
"""As many as can be passed to a process at once, with some room."""


def layers_of(caller: Any, options: Iterable[Option]) -> list[tuple[str, int]]:
    """The directories of an overlay, as the caller finds them, by the key that each is set with."""
    found: list[tuple[str, int]] = []
    for option in options:
        if option.key not in LAYERS:
            continue
        lower = option.key.startswith("lowerdir")
        value = option.value or ""
        if option.key == "lowerdir":
            paths = _split(value)
        else:
            paths = [value if lower else _plain(value)]
        for path in paths:
            name = f"{option.key} {len(found)}"
            held = find_there(caller, name, Spot(os.fsencode(path)))
            if not lower and not caller.may(held, os.W_OK | os.X_OK):
                raise Refused(f"{path} is not to be written to", errno=errno.EACCES)
            found.append(("lowerdir+" if lower else option.key, held.fd))
    return found


def make_overlay(
    caller: Any,
    source: Spot | None,
    layers: Sequence[tuple[str, int]],
    options: Sequence[Option],
    attributes: int,
) -> Mount:
    """An overlay that may look at its layers as the caller may, in its user namespace."""
    told = [str(option) for option in options if option.key not in LAYERS]
    told += [] if source is None else [f"source={os.fsdecode(source.path)}"]
    if len(layers) > _LAYERS_MOST or any("\0" in text for text in told):
        raise Refused("too many layers", errno=errno.EINVAL)
    if not caller.is_waiting():
        raise Refused("it has given up", errno=errno.EINTR)
    return Mount(caller.overlay(layers, told, attributes))


def _split(text: str) -> list[str]:
    parts, part, escaped = [], "", False
    for character in text + ":":
        if character == ":" and not escaped:
            if not part:
                raise Refused("an empty layer", errno=errno.EINVAL)
            parts.append(_plain(part))
            part = ""
        else:
            part += character
        escaped = character == "\\" and not escaped
    return parts


def _plain(text: str) -> str:
    """*text* without the backslashes that kept separators from being ones."""
    found, escaped = "", False
    for character in text:
        if escaped or character != "\\":
            found += character
            escaped = False
        else:
            escaped = True
    return found
