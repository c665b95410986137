"""Which policy a container gets: the table in ``containers.toml``.

Pure. The first entry whose conditions all hold decides; after the last comes the default.
An entry names a policy, or lets the container name it: in its metadata, or in an annotation.
A name that no policy has is no match, so a container cannot ask for what is not there.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from types import MappingProxyType
from typing import Any, Final

from unotify.abi.hints import nearest
from unotify.errors import InvalidPolicy, PolicyError
from unotify.oci.process_state import ProcessState

__all__ = [
    "REFUSE",
    "TABLE",
    "Choice",
    "Entry",
    "Table",
    "image_of",
    "read_table",
    "table_without_file",
]

TABLE: Final = "containers.toml"
"""The file in a directory of policies that is no policy but says who gets which."""

REFUSE: Final = "refuse"
"""The name of what there always is: whatever is notified fails with EPERM."""

_IMAGE_KEYS: Final = (
    "io.kubernetes.cri.image-name",  # containerd
    "io.kubernetes.cri-o.ImageName",
    "io.kubernetes.cri-o.Image",
    "org.opencontainers.image.ref.name",
)
"""Annotations in which runtimes tell the image, the first that is there counts."""

_KEYS: Final = (
    "policy",
    "named-by",
    "metadata",
    "annotation",
    "id",
    "image",
    "wait-killable",
    "on-reload",
)
_ON_RELOAD: Final = ("keep", "move")


@dataclass(frozen=True, slots=True)
class Choice:
    """What a container gets.

    Attributes:
        policy: The policy's name, or `REFUSE`.
        by: Which entry said so, counted from 1; 0 for the default.
        wait_killable: Whether its filter has WAIT_KILLABLE_RECV; ``None``: look yourself.
        moves: Whether it is chosen for again when policies are loaded again.
    """

    policy: str
    by: int = 0
    wait_killable: bool | None = None
    moves: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the table.

    Attributes:
        policy: The name of a policy; empty if the container names it.
        named_by: The annotation that does, or empty: its metadata.
        patterns: What has to match, by ``metadata``, ``id`` or ``image``.
        annotations: Patterns of annotations, by their key.
        wait_killable: As in `Choice`; likewise *moves*.
    """

    policy: str = ""
    named_by: str = ""
    patterns: Mapping[str, re.Pattern[str]] = field(default_factory=lambda: MappingProxyType({}))
    annotations: Mapping[str, re.Pattern[str]] = field(default_factory=lambda: MappingProxyType({}))
    wait_killable: bool | None = None
    moves: bool = False

    def policy_for(self, state: ProcessState, names: Collection[str]) -> str | None:
        """The policy that it gives to the container of *state*, or ``None``: no match."""
        said = {"metadata": state.metadata, "id": state.id, "image": image_of(state)}
        if not all(pattern.match(said[key]) for key, pattern in self.patterns.items()):
            return None
        for key, pattern in self.annotations.items():
            value = state.annotations.get(key)
            if value is None or not pattern.match(value):
                return None
        if self.policy:
            return self.policy
        named = state.annotations.get(self.named_by, "") if self.named_by else state.metadata
        return named if named in names else None


@dataclass(frozen=True, slots=True)
class Table:
    """The whole table.

    Attributes:
        entries: In order.
        default: The policy of containers that no entry matches.
        moves: As in `Choice`, of these.
    """

    entries: tuple[Entry, ...] = (Entry(),)
    default: str = REFUSE
    moves: bool = False

    def choose(self, state: ProcessState, names: Collection[str]) -> Choice:
        """What the container of *state* gets, of policies with these *names*."""
        for number, entry in enumerate(self.entries, 1):
            policy = entry.policy_for(state, names)
            if policy is not None:
                return Choice(policy, number, entry.wait_killable, entry.moves)
        return Choice(self.default, moves=self.moves)


def image_of(state: ProcessState) -> str:
    """The image as the container's annotations tell it; empty if they do not."""
    return next((state.annotations[key] for key in _IMAGE_KEYS if key in state.annotations), "")


def table_without_file(names: Collection[str]) -> Table:
    """What holds without a table: the metadata names a policy, else it is ``default``."""
    return Table(default="default" if "default" in names else REFUSE)


def read_table(text: str, names: Collection[str], *, source: str = TABLE) -> Table:
    """Read a table.

    Args:
        text: TOML.
        names: The policies that there are.
        source: What messages call it.

    Raises:
        InvalidPolicy: It has mistakes: all of them.
    """
    return _Reader(names, source).read(text)


class _Reader:
    def __init__(self, names: Collection[str], source: str) -> None:
        self._names = (*names, REFUSE)
        self._source = source
        self._problems: list[PolicyError] = []

    def read(self, text: str) -> Table:
        try:
            found = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InvalidPolicy([PolicyError(str(error), source=self._source)]) from None
        self._known(found, ("version", "default", "container", "on-reload"), "the table")
        if found.get("version") != 1:
            self._wrong("version is 1", hint="write version = 1 at its start")
        default = found.get("default", REFUSE)
        self._policy(default, "default")
        moves = self._moves(found, "the table")
        given = found.get("container", [])
        if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
            self._wrong("container is a list of tables", hint="write [[container]] for each")
            given = []
        entries = tuple(self._entry(each, n, moves) for n, each in enumerate(given, 1))
        if self._problems:
            raise InvalidPolicy(self._problems)
        return Table(entries, default, moves)

    def _entry(self, given: dict[str, Any], number: int, moves: bool) -> Entry:
        what = f"container {number}"
        self._known(given, _KEYS, what)
        policy, named_by = given.get("policy", ""), ""
        if ("policy" in given) == ("named-by" in given):
            self._wrong(f"{what} has either policy or named-by")
        elif "policy" in given:
            self._policy(policy, f"policy of {what}")
        else:
            named_by = self._naming(given["named-by"], what)
        annotations = given.get("annotation", {})
        if not isinstance(annotations, dict):
            self._wrong(
                f"annotation of {what} is a table of patterns",
                hint='such as annotation = { "org.example.team" = "web-*" }',
            )
            annotations = {}
        killable = given.get("wait-killable")
        if killable is not None and not isinstance(killable, bool):
            self._wrong(f"wait-killable of {what} is true or false")
        return Entry(
            policy=policy,
            named_by=named_by,
            patterns={
                key: self._pattern(given[key], f"{key} of {what}")
                for key in ("metadata", "id", "image")
                if key in given
            },
            annotations={
                key: self._pattern(value, f"annotation {key} of {what}")
                for key, value in annotations.items()
            },
            wait_killable=killable,
            moves=self._moves(given, what) if "on-reload" in given else moves,
        )

    def _naming(self, value: object, what: str) -> str:
        match value:
            case "metadata":
                return ""
            case {"annotation": str(key)} if key and len(value) == 1:  # type: ignore[arg-type]
                return key
        self._wrong(
            f"named-by of {what} is metadata or an annotation",
            hint='named-by = "metadata", or named-by = { annotation = "org.example.policy" }',
        )
        return ""

    def _pattern(self, value: object, what: str) -> re.Pattern[str]:
        if not isinstance(value, str):
            self._wrong(f"{what} is a pattern", hint='such as "web-*"')
            value = ""
        return re.compile(translate(value))

    def _policy(self, value: object, what: str) -> None:
        if not isinstance(value, str) or value not in self._names:
            hint = nearest(str(value), self._names) or f"there are {', '.join(sorted(self._names))}"
            self._wrong(f"{what}: no policy is named {value!r}", hint=hint)

    def _moves(self, given: Mapping[str, Any], what: str) -> bool:
        value = given.get("on-reload", "keep")
        if value not in _ON_RELOAD:
            self._wrong(f'on-reload of {what} is "keep" or "move"')
        return bool(value == "move")

    def _known(self, given: Mapping[str, Any], keys: Collection[str], what: str) -> None:
        for key in given:
            if key not in keys:
                self._wrong(
                    f"{what} has no {key}",
                    hint=nearest(key, keys) or f"it has {', '.join(keys)}",
                )

    def _wrong(self, message: str, *, hint: str | None = None) -> None:
        self._problems.append(PolicyError(message, source=self._source, hint=hint))
