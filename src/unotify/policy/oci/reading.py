"""Takes an OCI seccomp profile apart: every mistake at once, each with its place.

Three dialects are one here: the runtime specification's ``linux.seccomp`` object,
the profiles of moby, and those of containers-common (and all older ones that these
still take). A whole ``config.json`` of a bundle will do too. What the engines take
and ignore is taken and ignored, with a note where it could surprise; what they
refuse is refused.
"""

from __future__ import annotations

import errno as errnos
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from unotify.abi.arch import Arch
from unotify.abi.hints import nearest
from unotify.errors import InvalidPolicy, PolicyError, UnknownName
from unotify.policy.model import Place, Verb, Verdict
from unotify.policy.oci.json_places import Path, Places, parse, spelled
from unotify.policy.oci.words import (
    ACTIONS,
    ARCHITECTURES,
    CAPABILITIES,
    FLAGS,
    MASKED,
    NOT_HERE,
    OPERATORS,
)
from unotify.policy.problems import kind_of, listed, shown

__all__ = ["Argument", "Entry", "Filter", "Profile", "read"]

_T = TypeVar("_T")

_LARGEST: Final = (1 << 64) - 1
_MAX_ERRNO: Final = 4095
_KERNELS_OWN: Final = range(512, 532)  # never meant for programs (V3)
_RELEASE: Final = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})")

_TOP: Final = (
    "defaultAction defaultErrnoRet defaultErrno architectures archMap flags listenerPath "
    "listenerMetadata syscalls"
)
_ENTRY: Final = "name names action errnoRet errno args comment includes excludes"
_ARGUMENT: Final = "index value valueTwo op"
_FILTER: Final = "caps arches minKernel"


@dataclass(frozen=True, slots=True)
class Argument:
    """One item of ``args``.

    Attributes:
        index: Which argument.
        op: The operator's name.
        value: What with; with the mask operator the mask.
        value_two: With the mask operator what the masked bits must be.
    """

    index: int
    op: str
    value: int
    value_two: int = 0


@dataclass(frozen=True, slots=True)
class Filter:
    """``includes`` or ``excludes``.

    Attributes:
        caps: Capabilities.
        arches: Architectures of the host, as the engines call them.
        kernel: The oldest kernel, or ``None``.
    """

    caps: tuple[str, ...] = ()
    arches: tuple[str, ...] = ()
    kernel: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One item of ``syscalls``.

    Attributes:
        names: The calls.
        verdict: What it does.
        args: When.
        includes: Where it counts at all.
        excludes: Where it does not.
        place: Where it stands.
    """

    names: tuple[str, ...]
    verdict: Verdict
    args: tuple[Argument, ...]
    includes: Filter
    excludes: Filter
    place: Place


@dataclass(slots=True)
class Profile:
    """A profile, as it is written.

    Attributes:
        default: For calls without an entry.
        architectures: As listed.
        arch_map: By architecture of the host, those beside it.
        flags: Names of filter flags.
        listener_path: The socket that gets the listener, or ``None``.
        listener_metadata: What that socket is told, or ``None``.
        entries: In order.
        capabilities: Of the process, where the document is a bundle's whole configuration.
        notes: What is taken, but not as its author may think.
    """

    default: Verdict
    architectures: list[Arch] = field(default_factory=list)
    arch_map: dict[Arch, list[Arch]] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)
    listener_path: str | None = None
    listener_metadata: str | None = None
    entries: list[Entry] = field(default_factory=list)
    capabilities: frozenset[str] | None = None
    notes: list[str] = field(default_factory=list)


def read(document: str | Mapping[str, object], source: str, native: Arch) -> Profile:
    """Take a profile apart.

    Raises:
        InvalidPolicy: It has mistakes: all of them, in order.
    """
    value: object = document if isinstance(document, str) else dict(document)
    places = Places(source)
    if isinstance(document, str):
        try:
            value, places = parse(document, source)
        except PolicyError as error:
            raise InvalidPolicy([error]) from None
    reader = _Reader(places, native)
    profile = reader.document(value)
    if reader.problems:
        raise InvalidPolicy(sorted(reader.problems, key=lambda e: (e.line or 0, e.column or 0)))
    return profile


class _Reader:
    def __init__(self, places: Places, native: Arch) -> None:
        self._places = places
        self._native = native
        self.problems: list[PolicyError] = []
        self.notes: list[str] = []

    # ------------------------------------------------------------- problems and notes

    def _wrong(self, path: Path, message: str, *, hint: str | None = None) -> None:
        self._add(path, PolicyError(f"{spelled(path)}: {message}", hint=hint))

    def _unknown(self, path: Path, message: str, *, hint: str | None = None) -> None:
        self._add(path, UnknownName(f"{spelled(path)}: {message}", hint=hint))

    def _add(self, path: Path, error: PolicyError) -> None:
        place = self._places.place(path)
        error.source, error.line, error.column = place.source, place.line, place.column
        self.problems.append(error)

    def _ignored(self, path: Path, table: Mapping[str, object], known: str) -> None:
        others = [shown(key) for key in table if key not in known.split()]
        if others:
            self.notes.append(f"{spelled(path)}: {listed(others)} is not of this format: ignored")

    # ------------------------------------------------------------- values of one type

    def _get(
        self, table: Mapping[str, object], key: str, path: Path, kind: type[_T], empty: _T
    ) -> _T:
        value = table.get(key)
        if value is None:
            return empty
        if not isinstance(value, kind) or isinstance(value, bool):
            self._wrong((*path, key), f"it takes {_KINDS[kind]}, not {_kind(value)}")
            return empty
        return value

    def _number(
        self, table: Mapping[str, object], key: str, path: Path, largest: int
    ) -> int | None:
        if table.get(key) is None:
            return None
        number = self._get(table, key, path, int, -1)
        if 0 <= number <= largest:
            return number
        if isinstance(table[key], int):
            self._wrong(
                (*path, key),
                f"{shown(number)} is not a number from 0 to {largest:#x}",
                hint=f"write {number % (1 << 64)}, its 64 bits" if -1 << 63 <= number < 0 else None,
            )
        return None

    def _texts(
        self, table: Mapping[str, object], key: str, path: Path
    ) -> Iterator[tuple[Path, str]]:
        items: list[object] = self._get(table, key, path, list, [])
        for at, item in enumerate(items):
            there: Path = (*path, key, at)
            if isinstance(item, str):
                yield there, item
            else:
                self._wrong(there, f"it takes a string, not {_kind(item)}")

    def _tables(
        self, table: Mapping[str, object], key: str, path: Path
    ) -> Iterator[tuple[Path, Mapping[str, object]]]:
        items: list[object] = self._get(table, key, path, list, [])
        for at, item in enumerate(items):
            there: Path = (*path, key, at)
            if isinstance(item, dict):
                yield there, item
            else:
                self._wrong(there, f"it takes an object, not {_kind(item)}")

    # ------------------------------------------------------------- the document

    def document(self, value: object) -> Profile:
        path: Path = ()
        profile = Profile(Verdict(Verb.KILL_PROCESS), notes=self.notes)
        if not isinstance(value, dict):
            self._wrong(path, f"a profile is an object, not {_kind(value)}")
            return profile
        if "linux" in value and "defaultAction" not in value:
            profile.capabilities = self._bounding(value)
            linux = self._get(value, "linux", (), dict, {})
            value = self._get(linux, "seccomp", ("linux",), dict, {})
            path = ("linux", "seccomp")
        self._ignored(path, value, _TOP)
        self._top(profile, value, path)
        for there, entry in self._tables(value, "syscalls", path):
            found = self._entry(entry, there)
            if found is not None:
                profile.entries.append(found)
        return profile

    def _bounding(self, value: Mapping[str, object]) -> frozenset[str]:
        process = self._get(value, "process", (), dict, {})
        path: Path = ("process", "capabilities")
        caps = self._get(process, "capabilities", ("process",), dict, {})
        return frozenset(cap for _, cap in self._texts(caps, "bounding", path))

    def _top(self, profile: Profile, value: Mapping[str, object], path: Path) -> None:
        if value.get("defaultAction") is None:
            self._wrong(
                path,
                "it has no defaultAction, so it is no seccomp profile, or one that filters nothing",
                hint='such as "defaultAction": "SCMP_ACT_ERRNO"',
            )
        else:
            keys = ("defaultAction", "defaultErrnoRet", "defaultErrno")
            profile.default = self._verdict(value, keys, path) or profile.default
        profile.architectures = [
            arch
            for there, name in self._texts(value, "architectures", path)
            if (arch := self._arch(there, name)) is not None
        ]
        for there, entry in self._tables(value, "archMap", path):
            host = self._arch((*there, "architecture"), entry.get("architecture"))
            beside = [
                arch
                for sub, name in self._texts(entry, "subArchitectures", there)
                if (arch := self._arch(sub, name)) is not None
            ]
            if host is not None:
                profile.arch_map.setdefault(host, beside)
        if value.get("architectures") and value.get("archMap"):
            self._wrong((*path, "archMap"), "there is architectures too", hint="use one of the two")
        for there, name in self._texts(value, "flags", path):
            if name in FLAGS:
                profile.flags.append(name)
            else:
                self._unknown(
                    there,
                    f"no flag for a profile is named {shown(name)}",
                    hint=nearest(name, FLAGS) or f"there are {listed(sorted(FLAGS))}",
                )
        profile.listener_path = self._get(value, "listenerPath", path, str, "") or None
        profile.listener_metadata = self._get(value, "listenerMetadata", path, str, "") or None
        if profile.listener_metadata and not profile.listener_path:
            self.notes.append(
                "listenerMetadata without a listenerPath: runtimes refuse or ignore it"
            )

    def _arch(self, path: Path, name: object) -> Arch | None:
        if not isinstance(name, str):
            self._wrong(path, f"it takes the name of an architecture, not {_kind(name)}")
        elif name in ARCHITECTURES:
            return ARCHITECTURES[name]
        elif name == "SCMP_ARCH_NATIVE":
            return self._native
        elif name in NOT_HERE:
            self.notes.append(f"{name} is not known here: its calls are treated as a foreign one's")
        else:
            self._unknown(
                path,
                f"no architecture is named {shown(name)}",
                hint=nearest(name, ARCHITECTURES) or "such as SCMP_ARCH_X86_64",
            )
        return None

    # ------------------------------------------------------------- one entry

    def _entry(self, entry: Mapping[str, object], path: Path) -> Entry | None:
        self._ignored(path, entry, _ENTRY)
        names = [name for _, name in self._texts(entry, "names", path)]
        legacy = self._get(entry, "name", path, str, "")
        if legacy and names:
            self._wrong((*path, "name"), "there are names too", hint="use one of the two")
        names = [legacy] if legacy else names
        if not names and not entry.get("names"):
            self.notes.append(f"{spelled(path)} names no call: it does nothing")
        verdict = None
        if entry.get("action") is None:
            self._wrong(path, "it has no action", hint='such as "action": "SCMP_ACT_ALLOW"')
        else:
            verdict = self._verdict(entry, ("action", "errnoRet", "errno"), path)
        args = [self._argument(item, there) for there, item in self._tables(entry, "args", path)]
        includes, excludes = (self._filter(entry, key, path) for key in ("includes", "excludes"))
        if verdict is None:
            return None
        return Entry(
            tuple(dict.fromkeys(names)),
            verdict,
            tuple(arg for arg in args if arg is not None),
            includes,
            excludes,
            self._places.place(path),
        )

    def _verdict(
        self, table: Mapping[str, object], keys: tuple[str, str, str], path: Path
    ) -> Verdict | None:
        action, number, name = keys
        word = self._get(table, action, path, str, "")
        verb = ACTIONS.get(word)
        code = self._code(table, number, name, path)
        if verb is None:
            if isinstance(table[action], str):
                self._unknown(
                    (*path, action),
                    f"no action is named {shown(word)}",
                    hint=nearest(word, ACTIONS) or "such as SCMP_ACT_ALLOW",
                )
            return None
        if verb is Verb.FAIL:
            code = errnos.EPERM if code is None else code
            # An errno of 0 is success.
            return Verdict(Verb.FAIL, errno=code) if code else Verdict(Verb.RETURN)
        if verb is Verb.TRACE:
            return Verdict(Verb.TRACE, value=errnos.EPERM if code is None else code)
        if code is not None:
            self.notes.append(f"{spelled((*path, number))} means nothing with {word}: ignored")
        return Verdict(verb)

    def _code(self, table: Mapping[str, object], number: str, name: str, path: Path) -> int | None:
        """The error; where it has a name too, that counts, as in containers-common."""
        word = self._get(table, name, path, str, "")
        if not word:
            code = self._number(table, number, path, _MAX_ERRNO)
        elif word.isascii() and word.isdigit() and len(word) <= 5:
            code = int(word)
        else:
            found = getattr(errnos, word, None) if word.startswith("E") else None
            if not isinstance(found, int):
                self._unknown(
                    (*path, name),
                    f"no error is named {shown(word)}",
                    hint=nearest(word, errnos.errorcode.values()),
                )
                return None
            code = found
        if code is not None and (code > _MAX_ERRNO or code in _KERNELS_OWN):
            self._wrong(
                (*path, name if word else number),
                f"{code} is no error that a program may see: the kernel keeps it for itself",
            )
            return None
        return code

    def _argument(self, table: Mapping[str, object], path: Path) -> Argument | None:
        self._ignored(path, table, _ARGUMENT)
        op = self._get(table, "op", path, str, "")
        if op not in OPERATORS:
            if op or table.get("op") is None:
                self._unknown(
                    (*path, "op"),
                    f"no operator is named {shown(op)}" if op else "it has no operator",
                    hint=nearest(op, OPERATORS) or f"there are {listed(OPERATORS)}",
                )
            return None
        index, value, two = (
            self._number(table, key, path, largest)
            for key, largest in (("index", 5), ("value", _LARGEST), ("valueTwo", _LARGEST))
        )
        if table.get("index") is None:
            self._wrong(path, "it does not say which argument", hint='such as "index": 0')
        if index is None:
            return None
        if two and op != MASKED:
            self.notes.append(f"{spelled((*path, 'valueTwo'))} means nothing with {op}: ignored")
            two = 0
        return Argument(index, op, value or 0, two or 0)

    def _filter(self, entry: Mapping[str, object], key: str, path: Path) -> Filter:
        table = self._get(entry, key, path, dict, {})
        path = (*path, key)
        self._ignored(path, table, _FILTER)
        caps = []
        for there, cap in self._texts(table, "caps", path):
            if cap not in CAPABILITIES:
                self._unknown(
                    there,
                    f"no capability is named {shown(cap)}",
                    hint=nearest(cap, CAPABILITIES) or "such as CAP_SYS_ADMIN",
                )
            caps.append(cap)
        arches = [name for _, name in self._texts(table, "arches", path)]
        kernel = None
        version = self._get(table, "minKernel", path, str, "")
        if version:
            found = _RELEASE.fullmatch(version)
            if found is None or version in ("0.0", ""):
                self._wrong(
                    (*path, "minKernel"), f"{shown(version)} is no version", hint='such as "4.8"'
                )
            else:
                kernel = (int(found[1]), int(found[2]))
        return Filter(tuple(caps), tuple(arches), kernel)


_KINDS: Final[Mapping[type, str]] = {
    int: "an integer",
    str: "a string",
    list: "an array",
    dict: "an object",
}


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return "an object"
    return "null" if value is None else kind_of(value)
