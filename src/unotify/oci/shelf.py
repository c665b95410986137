"""The directory of policies: loaded and proved before use, and again when it changes.

Each ``NAME.toml`` or ``NAME.json`` is a policy; `choosing.TABLE` says who gets which. What
they include lies in directories below. All of it is loaded before any of it is used, so a
mistake in one file changes nothing. A policy whose text is the same as before stays the
very same object, with whatever serves it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Generic, TypeAlias, TypeVar

from unotify.abi.arch import Arch
from unotify.errors import InvalidPolicy, PolicyError
from unotify.oci.choosing import REFUSE, TABLE, Choice, Table, read_table, table_without_file
from unotify.oci.process_state import ProcessState

if TYPE_CHECKING:
    from unotify.policy.model import Policy

__all__ = ["Loaded", "Shelf", "Version"]

W = TypeVar("W")

_ENDINGS: Final = (".toml", ".json")
_MOST_BYTES: Final = 4 << 20

_Marks: TypeAlias = dict[Path, tuple[int, int, int] | None]
"""Files, and what tells that one has changed: time, size and inode; ``None``: not there."""


@dataclass(frozen=True, slots=True, eq=False)
class Version(Generic[W]):
    """One version of one policy.

    Attributes:
        name: Its file's, without the ending.
        digest: Of its text and of all that it includes; tells one version from the next.
        made: What was made of it.
        texts: Its files by their paths, its own first.
    """

    name: str
    digest: str
    made: W
    texts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Loaded(Generic[W]):
    """One state of the directory.

    Attributes:
        policies: By name.
        table: Who gets which.
    """

    policies: Mapping[str, Version[W]] = field(default_factory=lambda: MappingProxyType({}))
    table: Table = field(default_factory=Table)

    def choose(self, state: ProcessState) -> Choice:
        """What the container of *state* gets."""
        return self.table.choose(state, self.policies)


class Shelf(Generic[W]):
    """One directory of policies.

    Args:
        directory: Where they are.
        native: The architecture that ``native`` means in them.
        make: Makes of a policy and its name what is to be used of it; raises what is wrong.
        discard: Is given what was made of a policy, and is not used after all.

    Attributes:
        loaded: What is in force.
    """

    def __init__(
        self,
        directory: Path,
        *,
        native: Arch,
        make: Callable[[Policy, str], W],
        discard: Callable[[W], None] = lambda _: None,
    ) -> None:
        self.directory = directory
        self.loaded: Loaded[W] = Loaded()
        self._native = native
        self._make = make
        self._discard = discard
        self._tried: _Marks = {}
        self._seen: _Marks = {}

    def load(self) -> tuple[Loaded[W], Loaded[W]]:
        """Load the directory; returns what was in force before, and what is now.

        Raises:
            InvalidPolicy: Something in it is wrong: all of it. What was in force stays.
        """
        loading = _Loading(self.directory, self._native, self._make, self.loaded)
        try:
            new = loading.load()
        except BaseException:
            for made in loading.made:
                self._discard(made)
            raise
        finally:
            self._tried = self._seen = loading.marks
        old, self.loaded = self.loaded, new
        return old, new

    def revive(self, name: str, texts: Mapping[str, str]) -> Version[W]:
        """A version that is in force no more, or never was here, from its texts alone.

        Raises:
            PolicyError: Something in it is wrong, or is with the handlers that there are now.
        """
        loading = _Loading(self.directory, self._native, self._make, Loaded(), texts)
        return loading.version(Path(next(iter(texts))), name)

    def changed(self) -> bool:
        """Whether the files are others than at the last `load`, and were so at the last look.

        The second look is for who writes a file in several steps.
        """
        seen: _Marks = {path: _mark(path) for path in self._tried}
        try:
            seen |= {path: _mark(path) for path in _files(self.directory)}
        except PolicyError:
            seen[self.directory] = None
        settled, self._seen = seen == self._seen, seen
        return settled and seen != self._tried


class _Loading(Generic[W]):
    """One go at the whole directory."""

    def __init__(
        self,
        directory: Path,
        native: Arch,
        make: Callable[[Policy, str], W],
        before: Loaded[W],
        texts: Mapping[str, str] | None = None,
    ) -> None:
        self.marks: _Marks = {}
        self.made: list[W] = []
        self._directory = directory
        self._native = native
        self._make = make
        self._before = before
        self._texts = texts
        self._problems: list[PolicyError] = []

    def load(self) -> Loaded[W]:
        try:
            files = _files(self._directory)
        except PolicyError as error:
            self.marks[self._directory] = None
            raise InvalidPolicy([error]) from None
        policies: dict[str, Version[W]] = {}
        for path in files:
            if path.name == TABLE:
                continue
            try:
                _require_name(path, policies)
                policies[path.stem] = self.version(path, path.stem)
            except InvalidPolicy as error:
                self._problems += error.problems
            except PolicyError as error:
                error.source = error.source or str(path)
                self._problems.append(error)
        # A policy that is broken is not one that is missing.
        table = self._table({path.stem for path in files if path.name != TABLE})
        if self._problems:
            raise InvalidPolicy(self._problems)
        return Loaded(MappingProxyType(policies), table)

    def version(self, path: Path, name: str) -> Version[W]:
        from unotify.policy.loader import load
        from unotify.policy.oci import import_profile

        digest = hashlib.sha256()
        texts: dict[str, str] = {}

        def read(file: Path) -> str:
            text = self._read(file)
            texts[str(file)] = text
            digest.update(f"{file}\0{len(text)}\0{text}".encode())
            return text

        text = read(path)
        if text.lstrip().startswith("{"):
            policy = import_profile(text, source=str(path), native=self._native)
        else:
            policy = load(
                text,
                source=str(path),
                include=lambda included: read(path.parent / included),
                native=self._native,
            )
        known = self._before.policies.get(name)
        if known is not None and known.digest == digest.hexdigest():
            return known
        made = self._make(policy, name)
        self.made.append(made)
        return Version(name, digest.hexdigest(), made, MappingProxyType(texts))

    def _table(self, names: set[str]) -> Table:
        path = self._directory / TABLE
        if not path.exists():
            return table_without_file(names)
        try:
            return read_table(self._read(path), names, source=str(path))
        except InvalidPolicy as error:
            self._problems += error.problems
        except PolicyError as error:
            self._problems.append(error)
        return Table()

    def _read(self, path: Path) -> str:
        if self._texts is not None:
            if str(path) not in self._texts:
                raise PolicyError(f"there is no {path}")
            return self._texts[str(path)]
        # The mark is taken before: what is written meanwhile is seen as a change later.
        self.marks[path] = _mark(path)
        try:
            with path.open("rb") as file:
                data = file.read(_MOST_BYTES + 1)
        except OSError as error:
            raise PolicyError(f"cannot read {path}: {error.strerror}") from None
        if len(data) > _MOST_BYTES:
            raise PolicyError(f"{path} has more than {_MOST_BYTES} bytes")
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            raise PolicyError(f"{path} is not UTF-8 text") from None


def _files(directory: Path) -> list[Path]:
    try:
        entries = sorted(directory.iterdir())
    except OSError as error:
        raise PolicyError(
            f"cannot read {directory}: {error.strerror}",
            hint="it is a directory of policies, each in a file NAME.toml",
        ) from None
    return [
        path
        for path in entries
        if path.suffix in _ENDINGS and not path.name.startswith(".") and path.is_file()
    ]


def _require_name(path: Path, policies: Mapping[str, object]) -> None:
    if path.stem == REFUSE:
        raise PolicyError(
            f"a policy cannot be named {REFUSE}: that is what is done without any",
            hint="rename the file",
        )
    if path.stem in policies:
        raise PolicyError(f"there are two policies named {path.stem}", hint="rename one of them")


def _mark(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
