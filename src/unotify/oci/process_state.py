"""What a container runtime sends to an agent: one ContainerProcessState per connection.

The protocol of ``listenerPath`` (runtime-spec, config-linux.md, "Container Process State"),
without any I/O: bytes and descriptors go in, descriptors to close and one outcome come out.

Theory of operation. The text has neither a length before it nor an end after it, and a runtime
may keep the connection open (runc did until 2025): so what ends it is the brace that closes
its first one. `_Scanner` looks for that brace, at each byte once, however the text is cut in
pieces; only then is it parsed. Descriptors come with the first piece alone. Whatever nobody
asked for is to be closed, as is everything if the state is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

__all__ = ["MOST_BYTES", "Piece", "ProcessState", "ProcessStateReader"]

MOST_BYTES: Final = 1 << 20
"""The longest text that is read: annotations of 300 kB have been seen."""

LISTENER: Final = "seccompFd"
"""The name that the listener has in ``fds``."""

_DEEPEST: Final = 64
"""Braces and brackets in each other; a state has three."""


_LONGEST_ID: Final = 1024


@dataclass(frozen=True, slots=True)
class ProcessState:
    """Who is behind a listener, as its runtime says.

    Attributes:
        id: The container's, the same for its first process and for each exec.
        pid: The process under the filter, as the runtime sees it; 0 if that does not say.
        init: The container's first process; 0 likewise.
        status: ``creating`` for the first process, ``running`` for an exec.
        metadata: ``listenerMetadata`` of the profile; empty without one.
        annotations: The container's.
        bundle: Its directory, as the runtime sees it.
        version: ``ociVersion``, which crun has always said is 0.2.0.
        uid: Whose runtime it is, as the kernel says of who connected; -1 if that is unknown.
    """

    id: str
    pid: int = 0
    init: int = 0
    status: str = ""
    metadata: str = ""
    annotations: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    bundle: str = ""
    version: str = ""
    uid: int = -1


@dataclass(frozen=True, slots=True)
class Piece:
    """What came of one piece.

    Attributes:
        state: The whole state, once it is there.
        listener: Its listener, which is the caller's; -1 until then.
        refused: Why the connection is to be closed without one.
        close: Descriptors that the caller is to close.
    """

    state: ProcessState | None = None
    listener: int = -1
    refused: str | None = None
    close: tuple[int, ...] = ()

    @property
    def over(self) -> bool:
        """Whether nothing more is wanted of this connection."""
        return self.state is not None or self.refused is not None


class ProcessStateReader:
    """Reads one connection.

    Args:
        most: The most bytes that the text may have.
    """

    def __init__(self, *, most: int = MOST_BYTES) -> None:
        self._most = most
        self._text = bytearray()
        self._fds: tuple[int, ...] = ()
        self._scanner = _Scanner()
        self._started = False
        self._over = False

    def receive(self, data: bytes, fds: Sequence[int] = (), *, truncated: bool = False) -> Piece:
        """Take what one recvmsg(2) returned.

        Args:
            data: Empty at the end of the connection.
            fds: The descriptors that came along, which belong to the reader from now on, until
                it hands them back to be closed or used.
            truncated: Whether the kernel could not hand out all of them (MSG_CTRUNC).

        Returns:
            What to do; nothing more may be received once it is `over`.
        """
        if self._over:
            raise ValueError("this connection is over")
        if truncated:
            return self._refuse("descriptors were lost on the way: too many are open here", fds)
        if not data:
            return self._ended(fds)
        unwanted: tuple[int, ...] = ()
        if self._started:
            unwanted = tuple(fds)  # they belong into the first message alone
        else:
            self._started, self._fds = True, tuple(fds)
        if len(self._text) + len(data) > self._most:
            return self._refuse(f"the state has more than {self._most} bytes", unwanted)
        self._text += data
        try:
            end = self._scanner.find_end(data)
            if end is None:
                return Piece(close=unwanted)
            if data[end:].strip():
                raise ValueError("something follows the state")
            state, index = _parse(self._text, len(self._fds))
        except (ValueError, RecursionError) as error:
            return self._refuse(str(error) or type(error).__name__, unwanted)
        self._over = True
        listener = self._fds[index]
        others = (*self._fds[:index], *self._fds[index + 1 :])
        self._fds = ()
        return Piece(state, listener, close=(*others, *unwanted))

    def abandon(self) -> tuple[int, ...]:
        """Give up, as after a time-out; returns the descriptors to close."""
        self._over = True
        fds, self._fds = self._fds, ()
        return fds

    def _ended(self, fds: Sequence[int]) -> Piece:
        if not self._started:
            # crun connects before it knows whether the container can be made at all.
            return self._refuse("the connection was empty", fds)
        return self._refuse(f"it ended after {len(self._text)} bytes of a state", fds)

    def _refuse(self, why: str, fds: Sequence[int]) -> Piece:
        return Piece(refused=why, close=(*self.abandon(), *fds))


class _Scanner:
    """Finds the end of a JSON object in pieces of text, looking at each byte once."""

    _OUTSIDE: Final = re.compile(rb'["{}\[\]]')
    _INSIDE: Final = re.compile(rb'["\\]')

    def __init__(self) -> None:
        self._depth = 0
        self._inside = False
        self._escaped = False

    def find_end(self, data: bytes) -> int | None:
        """The offset in *data* just behind the object; ``None`` if it is not over.

        Raises:
            ValueError: No object begins here, or it is too deep.
        """
        at = 0
        if not self._depth:
            stripped = data.lstrip()
            if not stripped:
                return None
            if not stripped.startswith(b"{"):
                raise ValueError("it does not begin with a brace")
            at = len(data) - len(stripped)
        while at < len(data):
            if self._escaped:
                self._escaped = False
                at += 1
                continue
            found = (self._INSIDE if self._inside else self._OUTSIDE).search(data, at)
            if found is None:
                return None
            at = found.end()
            match found[0]:
                case b'"':
                    self._inside = not self._inside
                case b"\\":
                    self._escaped = True
                case b"{" | b"[":
                    self._depth += 1
                    if self._depth > _DEEPEST:
                        raise ValueError(f"it nests deeper than {_DEEPEST}")
                case _:
                    self._depth -= 1
                    if not self._depth:
                        return at
        return None


def _parse(text: bytearray, count: int) -> tuple[ProcessState, int]:
    """The state in *text*, and which of *count* descriptors is the listener."""
    try:
        found = json.loads(text.decode("utf-8"))
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    names = found.get("fds")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("fds is no list of names")
    if names.count(LISTENER) != 1:
        raise ValueError(f"fds names {names.count(LISTENER)} times a {LISTENER}, not once")
    index = names.index(LISTENER)
    if index >= count:
        raise ValueError(f"fds names {len(names)} descriptors, {count} came with the first message")
    state = found.get("state")
    if not isinstance(state, dict):
        raise ValueError("there is no state")
    id = _text(state, "id")
    if not id:
        raise ValueError("the state has no id")
    # It goes into logs, one container a line.
    if len(id) > _LONGEST_ID or not id.isprintable():
        raise ValueError("the state's id is too long, or cannot be printed")
    annotations = state.get("annotations")
    if annotations is None:
        annotations = {}
    if not isinstance(annotations, dict):
        raise ValueError("annotations is no object")
    return (
        ProcessState(
            id=id,
            pid=_pid(found),
            init=_pid(state),
            status=_loose(state, "status"),
            metadata=_text(found, "metadata"),
            annotations=MappingProxyType({key: _text(annotations, key) for key in annotations}),
            bundle=_loose(state, "bundle"),
            version=_loose(found, "ociVersion"),
        ),
        index,
    )


def _text(table: Mapping[str, Any], key: str) -> str:
    value = table.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{key} is no string")
    return value


def _loose(table: Mapping[str, Any], key: str) -> str:
    # Nothing that a policy is chosen by: whatever it is, it is no reason to refuse.
    value = table.get(key)
    return value if isinstance(value, str) else ""


def _pid(table: Mapping[str, Any]) -> int:
    # Runtimes have sent 0, and it is told to people only: so whatever it is, it is no reason
    # to leave a container without an agent.
    value = table.get("pid")
    return value if type(value) is int and 0 < value < 1 << 31 else 0
