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
from collections.abc import Mapping
from typing import Final

from unotify.abi.arch import Arch
from unotify.abi.hints import nearest
from unotify.errors import InvalidPolicy, PolicyError
from unotify.policy.model import Verb, Verdict
from unotify.policy.oci.json_places import Path, Places, parse, spelled
from unotify.policy.oci.profile import Argument, Entry, Filter, Profile
from unotify.policy.oci.values import Values, json_kind
from unotify.policy.oci.words import (
    ACTIONS,
    ARCHITECTURES,
    CAPABILITIES,
    FLAGS,
    MASKED,
    NOT_HERE,
    OPERATORS,
)
from unotify.policy.problems import listed, shown

__all__ = ["read"]

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


class _Reader(Values):
    def __init__(self, places: Places, native: Arch) -> None:
        super().__init__(places)
        self._native = native

    # ------------------------------------------------------------- the document

    def document(self, value: object) -> Profile:
        path: Path = ()
        profile = Profile(Verdict(Verb.KILL_PROCESS), notes=self.notes)
        if not isinstance(value, dict):
            self.wrong(path, f"a profile is an object, not {json_kind(value)}")
            return profile
        if "linux" in value and "defaultAction" not in value:
            profile.capabilities = self._bounding(value)
            linux = self.get(value, "linux", (), dict, {})
            value = self.get(linux, "seccomp", ("linux",), dict, {})
            path = ("linux", "seccomp")
        self.ignored(path, value, _TOP)
        self._top(profile, value, path)
        for there, entry in self.tables(value, "syscalls", path):
            found = self._entry(entry, there)
            if found is not None:
                profile.entries.append(found)
        return profile

    def _bounding(self, value: Mapping[str, object]) -> frozenset[str]:
        process = self.get(value, "process", (), dict, {})
        path: Path = ("process", "capabilities")
        caps = self.get(process, "capabilities", ("process",), dict, {})
        return frozenset(cap for _, cap in self.texts(caps, "bounding", path))

    def _top(self, profile: Profile, value: Mapping[str, object], path: Path) -> None:
        if value.get("defaultAction") is None:
            self.wrong(
                path,
                "it has no defaultAction, so it is no seccomp profile, or one that filters nothing",
                hint='such as "defaultAction": "SCMP_ACT_ERRNO"',
            )
        else:
            keys = ("defaultAction", "defaultErrnoRet", "defaultErrno")
            profile.default = self._verdict(value, keys, path) or profile.default
        profile.architectures = [
            arch
            for there, name in self.texts(value, "architectures", path)
            if (arch := self._arch(there, name)) is not None
        ]
        for there, entry in self.tables(value, "archMap", path):
            host = self._arch((*there, "architecture"), entry.get("architecture"))
            beside = [
                arch
                for sub, name in self.texts(entry, "subArchitectures", there)
                if (arch := self._arch(sub, name)) is not None
            ]
            if host is not None:
                profile.arch_map.setdefault(host, beside)
        if value.get("architectures") and value.get("archMap"):
            self.wrong((*path, "archMap"), "there is architectures too", hint="use one of the two")
        for there, name in self.texts(value, "flags", path):
            if name in FLAGS:
                profile.flags.append(name)
            else:
                self.unknown(
                    there,
                    f"no flag for a profile is named {shown(name)}",
                    hint=nearest(name, FLAGS) or f"there are {listed(sorted(FLAGS))}",
                )
        profile.listener_path = self.get(value, "listenerPath", path, str, "") or None
        profile.listener_metadata = self.get(value, "listenerMetadata", path, str, "") or None
        if profile.listener_metadata and not profile.listener_path:
            self.notes.append(
                "listenerMetadata without a listenerPath: runtimes refuse or ignore it"
            )

    def _arch(self, path: Path, name: object) -> Arch | None:
        if not isinstance(name, str):
            self.wrong(path, f"it takes the name of an architecture, not {json_kind(name)}")
        elif name in ARCHITECTURES:
            return ARCHITECTURES[name]
        elif name == "SCMP_ARCH_NATIVE":
            return self._native
        elif name in NOT_HERE:
            self.notes.append(f"{name} is not known here: its calls are treated as a foreign one's")
        else:
            self.unknown(
                path,
                f"no architecture is named {shown(name)}",
                hint=nearest(name, ARCHITECTURES) or "such as SCMP_ARCH_X86_64",
            )
        return None

    # ------------------------------------------------------------- one entry

    def _entry(self, entry: Mapping[str, object], path: Path) -> Entry | None:
        self.ignored(path, entry, _ENTRY)
        names = [name for _, name in self.texts(entry, "names", path)]
        legacy = self.get(entry, "name", path, str, "")
        if legacy and names:
            self.wrong((*path, "name"), "there are names too", hint="use one of the two")
        names = [legacy] if legacy else names
        if not names and not entry.get("names"):
            self.notes.append(f"{spelled(path)} names no call: it does nothing")
        verdict = None
        if entry.get("action") is None:
            self.wrong(path, "it has no action", hint='such as "action": "SCMP_ACT_ALLOW"')
        else:
            verdict = self._verdict(entry, ("action", "errnoRet", "errno"), path)
        args = [self._argument(item, there) for there, item in self.tables(entry, "args", path)]
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
        word = self.get(table, action, path, str, "")
        verb = ACTIONS.get(word)
        code = self._code(table, number, name, path)
        if verb is None:
            if isinstance(table[action], str):
                self.unknown(
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
        word = self.get(table, name, path, str, "")
        if not word:
            code = self.number(table, number, path, _MAX_ERRNO)
        elif word.isascii() and word.isdigit() and len(word) <= 5:
            code = int(word)
        else:
            found = getattr(errnos, word, None) if word.startswith("E") else None
            if not isinstance(found, int):
                self.unknown(
                    (*path, name),
                    f"no error is named {shown(word)}",
                    hint=nearest(word, errnos.errorcode.values()),
                )
                return None
            code = found
        if code is not None and (code > _MAX_ERRNO or code in _KERNELS_OWN):
            self.wrong(
                (*path, name if word else number),
                f"{code} is no error that a program may see: the kernel keeps it for itself",
            )
            return None
        return code

    def _argument(self, table: Mapping[str, object], path: Path) -> Argument | None:
        self.ignored(path, table, _ARGUMENT)
        op = self.get(table, "op", path, str, "")
        if op not in OPERATORS:
            if op or table.get("op") is None:
                self.unknown(
                    (*path, "op"),
                    f"no operator is named {shown(op)}" if op else "it has no operator",
                    hint=nearest(op, OPERATORS) or f"there are {listed(OPERATORS)}",
                )
            return None
        index, value, two = (
            self.number(table, key, path, largest)
            for key, largest in (("index", 5), ("value", _LARGEST), ("valueTwo", _LARGEST))
        )
        if table.get("index") is None:
            self.wrong(path, "it does not say which argument", hint='such as "index": 0')
        if index is None:
            return None
        if two and op != MASKED:
            self.notes.append(f"{spelled((*path, 'valueTwo'))} means nothing with {op}: ignored")
            two = 0
        return Argument(index, op, value or 0, two or 0)

    def _filter(self, entry: Mapping[str, object], key: str, path: Path) -> Filter:
        table = self.get(entry, key, path, dict, {})
        path = (*path, key)
        self.ignored(path, table, _FILTER)
        caps = []
        for there, cap in self.texts(table, "caps", path):
            if cap not in CAPABILITIES:
                self.unknown(
                    there,
                    f"no capability is named {shown(cap)}",
                    hint=nearest(cap, CAPABILITIES) or "such as CAP_SYS_ADMIN",
                )
            caps.append(cap)
        arches = [name for _, name in self.texts(table, "arches", path)]
        kernel = None
        version = self.get(table, "minKernel", path, str, "")
        if version:
            found = _RELEASE.fullmatch(version)
            if found is None or version in ("0.0", ""):
                self.wrong(
                    (*path, "minKernel"), f"{shown(version)} is no version", hint='such as "4.8"'
                )
            else:
                kernel = (int(found[1]), int(found[2]))
        return Filter(tuple(caps), tuple(arches), kernel)
