"""How often calls are made: from a log of ``unotify run``, or from a list of counts."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from unotify.abi import model, tables
from unotify.abi.arch import Arch
from unotify.cli.failures import CommandError, Exit
from unotify.errors import PolicyError

__all__ = ["read_weights"]


def read_weights(file: str, architectures: Iterable[Arch]) -> dict[Arch, dict[int, float]]:
    """Read weights for the compiler.

    Args:
        file: JSON lines with ``call`` and ``arch``, as ``unotify run --log`` writes them; one
            JSON object of counts by name; or lines of a name and a count.
        architectures: A count without an architecture is for all of these.

    Raises:
        CommandError: It cannot be read.
        PolicyError: It is none of these, at its line.
    """
    try:
        text = Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(f"cannot read weights {file}: {error.strerror}", Exit.USAGE) from None
    except UnicodeDecodeError:
        raise PolicyError("this is not text in UTF-8", source=file) from None
    found: dict[Arch, Counter[int]] = {arch: Counter() for arch in architectures}
    for line, name, count, label in _counts(text, file):
        if name not in model.names():
            raise PolicyError(f"no system call is named {name!r}", source=file, line=line)
        for arch, counter in found.items():
            nr = tables.number(name, arch)
            if nr is not None and label in (None, arch.label):
                counter[nr] += count  # type: ignore[assignment]
    return {arch: dict(counter) for arch, counter in found.items()}


def _counts(text: str, file: str) -> Iterator[tuple[int, str, float, str | None]]:
    whole = _object(text)
    if whole is not None and not isinstance(whole.get("call"), str):
        for name, count in whole.items():
            yield 1, name, _number(count, file, 1), None
        return
    for line, content in enumerate(text.splitlines(), 1):
        content = content.partition("#")[0].strip() if not content.startswith("{") else content
        if not content:
            continue
        entry = _object(content)
        if entry is not None and "call" in entry:
            if isinstance(entry["call"], str):  # null: an unknown number
                yield line, entry["call"], 1.0, entry.get("arch")
            continue
        words = content.replace(":", " ").split()
        if len(words) != 2:
            raise PolicyError(
                f"{content[:40]!r} is no count of calls",
                source=file,
                line=line,
                hint='write lines as "read 1200", one JSON object, or give a log of unotify run',
            )
        yield line, words[0], _number(words[1], file, line), None


def _object(text: str) -> dict[str, Any] | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _number(value: object, file: str, line: int) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number < math.inf:
        raise PolicyError(f"{value!r} is no count", source=file, line=line)
    return number
