"""Arguments for which a rule decides: tried out of what its conditions compare with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_network
from itertools import islice, product
from typing import Any, Final, TypeAlias

from unotify.abi import model, tables
from unotify.abi.arch import Arch
from unotify.abi.model import ArgSpec, Role
from unotify.bpf import And, Compare, In, Not, Or
from unotify.errors import Error
from unotify.policy.conditions import Condition, Look, RegisterTest, tests
from unotify.policy.deciding import Decision, decide
from unotify.policy.model import Policy, Rule
from unotify.policy.spelling import homes, native
from unotify.testing.hostile.bans import Identity, TrueFacts
from unotify.testing.hostile.spelling import Arguments, typed

__all__ = ["ENOUGH", "HARMLESS", "STRANGER", "Words", "decision_of", "witness"]

HARMLESS: Final = "/tmp/harmless"
"""A path that no policy names."""
STRANGER: Final = "203.0.113.7:80"
"""An address that no policy names; it is one for documents."""
ENOUGH: Final = 1 << 20
"""So many earlier calls that nothing is left of what is allowed a few times."""
_MOST: Final = 4000
"""The most combinations of arguments that are tried for one call of one rule."""
_WIDEST: Final = 10
_POINTED: Final = frozenset({Role.PATH, Role.STRING, Role.IN_BUFFER, Role.SOCKADDR})

Value: TypeAlias = "int | str | Mapping[str, int]"


class Words:
    """What the conditions of a policy compare with, as values for arguments.

    Args:
        conditions: All of them.
    """

    def __init__(self, conditions: list[Condition]) -> None:
        self._looks = [test for one in conditions for test in tests(one) if isinstance(test, Look)]
        texts: list[str] = []
        for look in self._looks:
            texts += [a or b for a, b in re.findall(r'"([^"]*)"|\'([^\']*)\'', look.text)]
            texts += look.compared
        self.texts = tuple(dict.fromkeys(text for text in texts if text))
        said = " ".join(look.text for look in self._looks)
        found = {int(word, 0) for word in re.findall(r"\b(0[xo][0-9a-fA-F]+|[1-9]\d*|0)\b", said)}
        self.numbers = tuple(sorted(found))
        self.constants = tuple(dict.fromkeys(re.findall(r"\b[A-Z][A-Z0-9_]{2,}\b", said)))
        self._said = said

    def mentions(self, word: str) -> bool:
        """Whether a look asks for *word*, such as ``comm``."""
        return re.search(rf"\b{word}\b", self._said) is not None

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths that may be meant."""
        found: list[str] = []
        for text in self.texts:
            if _network(text) or re.fullmatch(r"-?\d+", text):
                continue
            plain = re.sub(r"\*\*/|\*\*|\*|\?|\[[^\]]+\]", _for_glob, text)
            if plain.startswith("/"):
                found += [plain, f"{plain.rstrip('/')}/file"]
            else:
                found += [f"/users/me/{plain}", f"/users/me/{plain}/file", f"/tmp/x{plain}"]
        return tuple(dict.fromkeys(found))

    @property
    def addresses(self) -> tuple[str, ...]:
        """Socket addresses that may be meant."""
        hosts = ["203.0.113.7", "127.0.0.1", *filter(None, map(_network, self.texts))]
        ports = [80, *(number for number in self.numbers if 0 < number < 1 << 16)]
        found = [
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            for host, port in product(dict.fromkeys(hosts), dict.fromkeys(ports))
        ]
        names = [text for text in self.texts if not _network(text)]
        found += [f"unix:{text}" if text.startswith("/") else f"@{text}" for text in names]
        return tuple(dict.fromkeys([*found, "unix:/run/other"]))


def _for_glob(match: re.Match[str]) -> str:
    part = match[0]
    return "" if part == "**/" else part[1] if part.startswith("[") else "x"


def _network(text: str) -> str | None:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return None
    return str(network[0] if network.num_addresses == 1 else network[1])


def decision_of(
    policy: Policy, call: str, arch: Arch, given: Arguments, identity: Identity
) -> Decision | None:
    """What *policy* says of a call that is what it seems; ``None`` if that cannot be told."""
    try:
        made = typed(call, arch, given)
        path = next((str(v) for v in given.values() if str(v).startswith("/")), "")
        return decide(policy, made, TrueFacts(made, identity, ENOUGH, (path,) if path else ()))
    except Error:
        return None


def witness(
    policy: Policy, rule: Rule | None, call: str, words: Words, identity: Identity
) -> tuple[Arguments, Identity] | None:
    """Arguments, and a caller, for whom *rule* decides; ``None`` if none were found.

    Args:
        policy: The policy.
        rule: One of its rules, or ``None``: the default.
        call: The kernel's name.
        words: Those of the conditions in question.
        identity: The caller, where the rule does not want another one.
    """
    arch = policy.architectures[0]
    if tables.number(call, arch) is None:
        return None
    conditions = [one.condition(call) for one in policy.rules if call in one.calls]
    spec = model.spec(call, arch)
    pools = [_pool(arg, arch, conditions, words) for arg in spec.args]
    names = [arg.name for arg in spec.args]
    for who in _identities(identity, words):
        for values in islice(product(*pools), _MOST):
            given = {name: value for name, value in zip(names, values, strict=True) if value != ""}
            found = decision_of(policy, call, arch, given, who)
            if found is not None and found.rule is rule:
                return given, who
    return None


def _identities(identity: Identity, words: Words) -> Iterator[Identity]:
    yield identity
    for text in words.texts if words.mentions("comm") else ():
        yield replace(identity, comm=text)
    for text in words.texts if words.mentions("exe") else ():
        yield replace(identity, exe=text)
    for number in words.numbers if words.mentions("uid") else ():
        yield replace(identity, uid=number)
    for number in words.numbers if words.mentions("gid") else ():
        yield replace(identity, gid=number)


def _pool(arg: ArgSpec, arch: Arch, conditions: list[Condition], words: Words) -> list[Value]:
    pool: list[Value]
    match arg.role:
        case Role.PATH:
            asked = words.mentions(arg.name) or words.mentions("resolved")
            asked = asked and arg.name not in ("newpath", "linkpath")
            pool = [*words.paths, HARMLESS] if asked else [HARMLESS, *words.paths]
        case Role.STRING:
            pool = ["tmpfs" if arg.name in ("fstype", "fsname") else "x", *words.texts]
        case Role.SOCKADDR:
            pool = list(words.addresses)
        case Role.STRINGS:
            pool = ["x", *(f'x "{text}"' for text in words.texts)]
        case Role.IN_BUFFER:
            pool = ["x"]
        case Role.IN_STRUCT | Role.INOUT_STRUCT if arg.struct in ("open_how", "clone_args"):
            flags = [number for name in words.constants if (number := _constant(name, arch))]
            pool = [{"flags": 0}, *({"flags": number} for number in flags)]
        case Role.IN_STRUCT if arg.name == "times":
            pool = ["NULL"]
        case Role.DIRFD:
            pool = [-100]
        case Role.FD:
            pool = [3]
        case _:
            pool = list(_numbers(arg, arch, conditions))
            return pool[:_WIDEST] or [""]
    return pool


def _constant(name: str, arch: Arch) -> int | None:
    kinds = homes().get(name, ())
    return native(name, kinds[0], arch) if kinds else None


def _numbers(arg: ArgSpec, arch: Arch, conditions: list[Condition]) -> Iterator[int]:
    seen: set[int] = set()
    full = (1 << (32 if (arg.bits or arch.bits) <= 32 else 64)) - 1
    compared = [
        pair
        for one in conditions
        for test in tests(one)
        if isinstance(test, RegisterTest)
        for pair in _compared(test.lower(arch), arg.index)
    ]
    if not compared:
        return
    for value in [0, *(value for value, _ in compared)]:
        for near in (value, value + 1, value - 1):
            if near >= 0 and near & full not in seen:
                seen.add(near & full)
                yield near & full
    for _, mask in compared:
        lowest = mask & -mask if mask > 0 else 0
        if lowest and lowest not in seen:
            seen.add(lowest)
            yield lowest


def _compared(predicate: Any, index: int) -> Iterator[tuple[int, int]]:
    """The numbers that an argument is compared with, each with a mask or 0."""
    match predicate:
        case And(terms) | Or(terms):
            for term in terms:
                yield from _compared(term, index)
        case Not(term):
            yield from _compared(term, index)
        case Compare() if predicate.arg == index:
            yield predicate.value, predicate.mask or 0
        case In() if predicate.arg == index:
            for value in sorted(predicate.values):
                yield value, predicate.mask or 0
