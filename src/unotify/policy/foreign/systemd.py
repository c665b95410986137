"""``SystemCallFilter=`` and its neighbours, from a unit file or by themselves.

The first list says which kind of filter it is: with ``~`` all is allowed but what is
listed, without it nothing else but what every program needs. Later ones add, or with
the other sign take away. Groups are this package's: they mean much the same as
systemd's, but not call by call.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from errno import ENOSYS
from typing import Final

from unotify.abi.arch import Arch
from unotify.abi.hints import nearest
from unotify.errors import PolicyError, UnknownName
from unotify.policy.foreign.making import Making, compat, errno_of, fail
from unotify.policy.groups import GROUPS
from unotify.policy.model import Place, Verb, Verdict
from unotify.policy.oci.importing import Imported
from unotify.policy.problems import shown
from unotify.policy.selecting import expand

__all__ = ["read"]

_SETTING: Final = re.compile(r"\s*(SystemCall\w+)\s*=(.*)")
_OTHER: Final = re.compile(r"\s*(?:[#;]|\[|[A-Za-z]+\s*=)")

_ARCHITECTURES: Final = {
    "x86": Arch.I386,
    "x86-64": Arch.X86_64,
    "x32": Arch.X32,
    "arm": Arch.ARM,
    "arm64": Arch.AARCH64,
    "loongarch64": Arch.LOONGARCH64,
    "mips": Arch.MIPS,
    "mips64": Arch.MIPS64,
    "mips64-n32": Arch.MIPS64N32,
    "mips-le": Arch.MIPSEL,
    "mips64-le": Arch.MIPSEL64,
    "mips64-le-n32": Arch.MIPSEL64N32,
    "parisc": Arch.PARISC,
    "ppc": Arch.PPC,
    "ppc64": Arch.PPC64,
    "ppc64-le": Arch.PPC64LE,
    "riscv64": Arch.RISCV64,
    "s390": Arch.S390,
    "s390x": Arch.S390X,
}

_KILL: Final = Verdict(Verb.KILL_PROCESS)
_ALLOW: Final = Verdict(Verb.ALLOW)


def read(text: str, source: str, native: Arch) -> Imported:
    """Read the settings.

    Raises:
        PolicyError: They are wrong.
    """
    making = Making(source)
    reader = _Reader(making, native)
    for name, value, place in _settings(text, source):
        match name:
            case "SystemCallFilter":
                reader.filter(value, place)
            case "SystemCallErrorNumber":
                reader.refusal = _refusal(value.strip(), place)
            case "SystemCallArchitectures":
                reader.architectures(value, place)
            case "SystemCallLog":
                reader.log(value, place)
            case _:
                hint = nearest(name, ["SystemCallFilter", "SystemCallErrorNumber"])
                fail(place, f"no setting is named {name}", hint=hint, kind=UnknownName)
    return reader.done()


def _settings(text: str, source: str) -> Iterator[tuple[str, str, Place]]:
    lines = text.split("\n")
    unit = any(_SETTING.match(line) for line in lines)
    at = 0
    while at < len(lines):
        place = Place(source, at + 1, 1)
        line = lines[at]
        while line.endswith("\\") and at + 1 < len(lines):
            at += 1
            line = f"{line[:-1]} {lines[at]}"
        at += 1
        found = _SETTING.match(line)
        if found is not None:
            yield found[1], found[2], place
        elif not unit and line.strip() and not _OTHER.match(line):
            yield "SystemCallFilter", line, place


def _refusal(word: str, place: Place) -> Verdict:
    if word in ("", "kill"):
        return _KILL
    return Verdict(Verb.FAIL, errno=errno_of(word, place))


class _Reader:
    def __init__(self, making: Making, native: Arch) -> None:
        self._making = making
        self._native = native
        self._archs: tuple[Arch, ...] = ()
        self.refusal = _KILL
        self._denies: bool | None = None
        self._listed: dict[str, tuple[Verdict | None, Place]] = {}
        self._logged: dict[str, Place] = {}

    def filter(self, value: str, place: Place) -> None:
        value = value.strip()
        if not value:
            self._denies, self._listed = None, {}
            return
        inverted = value.startswith("~")
        if self._denies is None:
            self._denies = inverted
        for word in value.lstrip("~").split():
            name, colon, error = word.partition(":")
            verdict = _refusal(error, place) if colon else None
            for call in self._calls(name, place):
                if inverted is self._denies:
                    self._listed[call] = (verdict, place)
                else:
                    self._listed.pop(call, None)

    def log(self, value: str, place: Place) -> None:
        value = value.strip()
        if value.startswith("~"):
            fail(place, "a SystemCallLog= with ~ cannot be said", hint="list what is logged")
        for word in value.split():
            self._logged |= dict.fromkeys(self._calls(word, place), place)

    def _calls(self, name: str, place: Place) -> list[str]:
        if not name.startswith("@"):
            return self._making.known([name])
        if name not in GROUPS:
            hint = nearest(name, GROUPS) or "'unotify check --groups' lists them"
            fail(place, f"no group is named {shown(name)}", hint=hint, kind=UnknownName)
        self._making.notes["groups are unotify's own, not quite systemd's"] = None
        return sorted(expand([name]))

    def architectures(self, value: str, place: Place) -> None:
        found = list(self._archs)
        for word in value.split():
            arch = self._native if word == "native" else _ARCHITECTURES.get(word)
            if arch is None:
                hint = nearest(word, ["native", *_ARCHITECTURES])
                fail(place, f"no architecture is named {shown(word)}", hint=hint, kind=UnknownName)
            found.append(arch)
        # systemd always has the native one.
        self._archs = tuple(dict.fromkeys([self._native, *found])) if value.strip() else ()

    def done(self) -> Imported:
        making = self._making
        if self._denies is None and not self._logged:
            raise PolicyError(
                "there is no SystemCallFilter=",
                source=making.source,
                hint="such as @system-service",
            )
        usual = self.refusal if self._denies else _ALLOW
        groups: dict[str, tuple[Verdict, Place, list[str]]] = {}
        for call, (verdict, place) in self._listed.items():
            done = verdict or usual
            groups.setdefault(str(done), (done, place, []))[2].append(call)
        for call, place in self._logged.items():
            if self._denies is not False and call not in self._listed:
                verdict = Verdict(Verb.LOG)
                groups.setdefault("log", (verdict, place, []))[2].append(call)
        for verdict, place, calls in groups.values():
            making.rule(calls, verdict, place)
        if self._denies is False:
            needed = sorted(set(GROUPS["@default"].calls) - set(self._listed))
            making.rule(needed, _ALLOW, Place(making.source))
        return making.done(
            self.refusal if self._denies is False else _ALLOW,
            self._archs or compat(self._native),
            bad_arch=_KILL,
            unknown=Verdict(Verb.FAIL, errno=ENOSYS) if self._denies is False else _ALLOW,
        )
