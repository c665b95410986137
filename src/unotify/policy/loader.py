"""From a TOML text to a policy, or to everything that is wrong with it.

Theory of operation. A text is read in two steps. `Reader` takes the file and what
it includes apart, refusing what has the wrong shape. `_Builder` makes the rules once
it is known which sets and architectures there are. Neither stops at a problem: they
leave out what is wrong, and go on with what does not depend on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.hints import nearest
from unotify.errors import InvalidPolicy, PolicyError, UnknownName
from unotify.policy.actions import ACTIONS, misplaced
from unotify.policy.conditions import All, Condition, Need, needs
from unotify.policy.fields import ENDINGS, RULE, VERDICTS
from unotify.policy.installing import flags_of, listener_of
from unotify.policy.model import TRUE, Place, Policy, Rule, Verb, Verdict
from unotify.policy.problems import Enough, Problems, Report, kind_of, shown
from unotify.policy.reading import Include, Part, Reader
from unotify.policy.selecting import Item, Selector, combine
from unotify.policy.toml_places import Path
from unotify.policy.verbs import verdict
from unotify.policy.where import bind

__all__ = ["COMPAT", "load"]

COMPAT: Final[Mapping[Arch, tuple[Arch, ...]]] = MappingProxyType(
    {
        Arch.X86_64: (Arch.I386,),
        Arch.AARCH64: (Arch.ARM,),
        Arch.RISCV64: (Arch.RISCV32,),
        Arch.PPC64: (Arch.PPC,),
        Arch.S390X: (Arch.S390,),
        Arch.MIPS64: (Arch.MIPS, Arch.MIPS64N32),
        Arch.MIPSEL64: (Arch.MIPSEL, Arch.MIPSEL64N32),
    }
)
"""What ``compat`` means beside each native architecture."""

_LABELS: Final = {arch.label: arch for arch in Arch}


def load(
    text: str,
    *,
    source: str = "policy",
    include: Include | None = None,
    native: Arch = Arch.X86_64,
) -> Policy:
    """Read a policy.

    Args:
        text: TOML, as the reference of the policy language describes it.
        source: What messages call it; a path, if it has one.
        include: Returns the text of an included file. Its argument is the name as written,
            or for an include of an include relative to the first file.
        native: The architecture that ``native`` means.

    Raises:
        InvalidPolicy: It has mistakes: all of them, in order.
    """
    problems = Problems()
    reader = Reader(problems, include)
    try:
        reader.read(text, source)
        policy = _Builder(problems, reader, native).policy(source)
    except Enough:
        more = PolicyError("there are more problems, which are not told", source=source)
        raise InvalidPolicy([*problems.sorted(), more]) from None
    if problems.found:
        raise InvalidPolicy(problems.sorted())
    return policy


# What the supervisor cannot do any more after it has looked, and what it can.
_TOO_LATE: Final[Mapping[Verb, str]] = {
    Verb.KILL_THREAD: 'do = "kill-process" can be done then',
    Verb.TRAP: 'do = "kill-process" or { fail = "EPERM" } can be done then',
    Verb.TRACE: 'do = "notify" can be done then',
    Verb.LOG: 'do = "allow" with log = true has the supervisor log it',
}


class _Builder:
    def __init__(self, problems: Problems, read: Reader, native: Arch) -> None:
        self._problems = problems
        self._read = read
        self._native = native
        self._selector = Selector(read.sets)
        self._values = {
            name: frozenset(items) for name, items in read.sets.items() if name.isidentifier()
        }
        self._architectures = self._archs()

    def policy(self, source: str) -> Policy:
        default = self._setting("default", VERDICTS)
        top = self._read.top
        if "default" not in self._read.settings and not self._problems.found and top is not None:
            top.key(
                ("default",),
                "there is no default",
                hint='say what happens to a call that no rule matches: default = { fail = "EPERM" }'
                ' or default = "allow"',
            )
        bad_arch = self._setting("bad-architecture", ENDINGS)
        unknown = self._setting("unknown", ENDINGS)
        rules = [rule for part in self._read.rules if (rule := self._rule(part)) is not None]
        path, metadata = listener_of(self._read.settings.get("listener"))
        policy = Policy(
            rules=tuple(rules),
            default=default or Verdict(Verb.KILL_PROCESS),
            architectures=self._architectures,
            flags=flags_of(self._read.settings.get("flags")),
            listener_path=path,
            listener_metadata=metadata,
            source=source,
        )
        return replace(
            policy, bad_arch=bad_arch or policy.bad_arch, unknown=unknown or policy.unknown
        )

    def _setting(self, key: str, verbs: frozenset[Verb]) -> Verdict | None:
        part = self._read.settings.get(key)
        if part is None:
            return None
        try:
            found = verdict(part.value, what=key)
        except PolicyError as error:
            part.report.error(part.path, error)
            return None
        if found.verb in verbs:
            return found
        hint = None
        if found.verb is Verb.CONTINUE:
            hint = 'write "allow": the kernel lets it go on without asking'
        elif found.verb is Verb.ACT:
            hint = "a rule says for which calls"
        elif key != "default":
            hint = "nobody can look at such a call"
        part.report.value(part.path, f'{key} cannot be "{found}"', hint=hint)
        return None

    def _archs(self) -> tuple[Arch, ...]:
        both = (self._native, *COMPAT.get(self._native, ()))
        part = self._read.settings.get("architectures")
        if part is None:
            return both
        names = [part.value] if isinstance(part.value, str) else part.value
        if not isinstance(names, list) or not names:
            what = "nothing" if names == [] else kind_of(names)
            part.report.value(part.path, f"architectures takes names, not {what}")
            return both
        found: dict[Arch, None] = {}
        for at, name in enumerate(names):
            path = part.path if isinstance(part.value, str) else (*part.path, at)
            if name == "native":
                found[self._native] = None
            elif name == "compat":
                found.update(dict.fromkeys(COMPAT.get(self._native, ())))
            elif isinstance(name, str) and name in _LABELS:
                found[_LABELS[name]] = None
            else:
                hint = None
                if isinstance(name, str):
                    hint = nearest(name, ["native", "compat", *_LABELS])
                error = UnknownName(
                    f"no architecture is named {shown(name)}",
                    hint=hint or "write native, compat, or a name such as x86_64, i386 or aarch64",
                )
                part.report.error(path, error)
        if not found and not self._problems.found:
            part.report.value(
                part.path,
                f"{self._native.label} has no compat architecture, so none is left",
                hint='write ["native", "compat"]',
            )
        return tuple(found) or both

    def _rule(self, part: Part) -> Rule | None:
        report, path, table = part.report, part.path, part.value
        if not isinstance(table, dict):
            report.value(path, f"a rule is a table, not {kind_of(table)}", hint="write [[rule]]")
            return None
        before = len(self._problems.found)
        report.unknown_keys(path, table, RULE, "a rule")
        name = self._text(table, "name", path, report)
        because = self._text(table, "because", path, report)
        log, racy = (self._flag(table, key, path, report) for key in ("log", "racy"))
        if racy and "because" not in table:
            report.value(
                (*path, "racy"),
                "racy needs because: why it does no harm",
                hint="what the rule reads, another thread can rewrite before the kernel reads it: "
                'say why that is all right, because = "..."',
            )
        calls = self._calls(table, path, report)
        done = self._done(table, path, report, calls)
        conditions = self._conditions(table, path, report, calls)
        if done is not None:
            conditions = self._concerned(done, conditions, calls)
            self._look_first(done, conditions, path, report)
        if len(self._problems.found) > before or done is None:
            return None
        where = table.get("where")
        return Rule(
            calls=MappingProxyType(calls),
            verdict=done,
            conditions=MappingProxyType(conditions),
            name=name,
            where=where if isinstance(where, str) else None,
            log=log,
            racy=racy,
            because=because,
            place=report.place(path),
        )

    def _text(
        self, table: Mapping[str, object], key: str, path: Path, report: Report
    ) -> str | None:
        value = table.get(key)
        if value is None:
            return None
        path = (*path, key)
        if not isinstance(value, str):
            report.value(path, f"{key} is a string, not {kind_of(value)}")
        elif not value.strip():
            report.value(path, f"{key} is empty", hint="say something, or leave it out")
        elif key == "name" and not value.isprintable():
            report.value(path, "a name is one line of printable characters")
        else:
            return value
        return None

    def _flag(self, table: Mapping[str, object], key: str, path: Path, report: Report) -> bool:
        value = table.get(key, False)
        if isinstance(value, bool):
            return value
        report.value((*path, key), f"{key} is true or false, not {kind_of(value)}")
        return False

    def _calls(
        self, table: Mapping[str, object], path: Path, report: Report
    ) -> dict[str, frozenset[Arch] | None]:
        if "calls" not in table:
            hint = 'such as calls = ["openat", "@mount"], or ["*"] for all'
            report.key(path, "the rule does not say for which calls", hint=hint)
            return {}
        value = table["calls"]
        path = (*path, "calls")
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list):
            report.value(path, f"calls is an array of names, not {kind_of(value)}")
            return {}
        items: list[Item] = []
        wrong = False
        for at, name in enumerate(names):
            there = path if isinstance(value, str) else (*path, at)
            if not isinstance(name, str):
                report.value(there, f"calls has names, not {kind_of(name)}")
                wrong = True
            elif name.lstrip("+-").startswith("@") and name.lstrip("+-@") in self._read.broken:
                wrong = True
            else:
                try:
                    items.append(self._selector.item(name))
                except PolicyError as error:
                    report.error(there, error)
                    wrong = True
        if items and items[0].remove and not wrong:
            report.value(
                (*path, 0),
                f"{shown(names[0])} takes away from nothing",
                hint=f'begin with what it is taken from, such as ["*", "{names[0]}"]',
            )
            return {}
        calls = combine(items)
        if not calls and not wrong:
            report.value(path, "this names no call at all")
        return calls

    def _done(
        self,
        table: Mapping[str, object],
        path: Path,
        report: Report,
        calls: Mapping[str, object],
    ) -> Verdict | None:
        if "do" not in table:
            hint = 'such as do = "allow" or do = { fail = "EPERM" }'
            report.key(path, "the rule does not say what to do", hint=hint)
            return None
        try:
            found = verdict(table["do"], what="do")
        except PolicyError as error:
            report.error((*path, "do"), error)
            return None
        wrong = misplaced(found, calls)
        if wrong is not None:
            report.error((*path, "do"), wrong)
        return found

    def _conditions(
        self,
        table: Mapping[str, object],
        path: Path,
        report: Report,
        calls: Mapping[str, frozenset[Arch] | None],
    ) -> dict[str, Condition]:
        if "where" not in table:
            return {}
        where = table["where"]
        path = (*path, "where")
        if not isinstance(where, str):
            report.value(path, f"where is a string, not {kind_of(where)}")
            return {}
        if not where.strip():
            report.value(path, "where is empty", hint="without it the rule always matches")
            return {}
        start = report.places.text(path)[0]
        place = Place(report.source, start.line, start.column)
        archs = {call: self._archs_of(call, only) for call, only in calls.items()}
        try:
            found = bind(where, calls, sets=self._values, architectures=archs, place=place)
        except PolicyError as error:
            problems = error.problems if isinstance(error, InvalidPolicy) else (error,)
            for problem in problems:
                report.within(path, start, problem)
            return {}
        return {call: condition for call, condition in found.items() if condition != TRUE}

    def _concerned(
        self,
        done: Verdict,
        conditions: dict[str, Condition],
        calls: Mapping[str, frozenset[Arch] | None],
    ) -> dict[str, Condition]:
        """The conditions, each narrowed to what the verb is about at all."""
        action = ACTIONS.get(done.handler or "")
        if action is None:
            return conditions
        narrowed = dict(conditions)
        for call, only in calls.items():
            if action.refuses(call, done.parameters) is not None:
                continue  # which is an error already
            text = action.concerns(call, done.parameters)
            if text is not None:
                archs = self._archs_of(call, only)
                own = bind(text, [call], architectures=archs)[call]
                before = conditions.get(call)
                narrowed[call] = own if before is None else All((own, before))
        return narrowed

    def _archs_of(self, call: str, only: frozenset[Arch] | None) -> Sequence[Arch]:
        """On which of the policy's architectures a condition of *call* has to mean something."""
        asked = [arch for arch in self._architectures if only is None or arch in only]
        there = [arch for arch in asked if tables.number(call, arch) is not None]
        # One that is nowhere is checked all the same; it may be part of a multiplexer (B6).
        return there or asked or self._architectures

    def _look_first(
        self,
        done: Verdict,
        conditions: Mapping[str, Condition],
        path: Path,
        report: Report,
    ) -> None:
        hint = _TOO_LATE.get(done.verb)
        if hint is None:
            return
        for call, condition in conditions.items():
            if needs(condition) - {Need.REGISTERS}:
                report.value(
                    (*path, "do"),
                    f'only the kernel can "{done.verb.value}", and its filter cannot decide this '
                    f"where for {call}: it takes more than the argument registers",
                    hint=hint,
                )
                return
