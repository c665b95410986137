"""OCI profiles: any JSON is a policy or a policy error, and what is written reads the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from unotify.abi.arch import Arch
from unotify.bpf import SeccompData, simulate
from unotify.bpf.difference import differences
from unotify.errors import InvalidPolicy
from unotify.policy.compiling import compile_policy
from unotify.policy.loader import load
from unotify.policy.model import Policy
from unotify.policy.oci import export_profile, import_profile, read_profile
from unotify.policy.oci.json_places import parse
from unotify.policy.oci.words import ACTIONS, ARCHITECTURES, FLAGS, OPERATORS
from unotify.policy.writing import to_toml

NUMBERS = (0, 1, 5, 8, 255, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 63, (1 << 64) - 1)

numbers = st.sampled_from(NUMBERS) | st.integers(0, (1 << 64) - 1)
arguments = st.fixed_dictionaries(
    {"index": st.integers(0, 5), "op": st.sampled_from(sorted(OPERATORS)), "value": numbers},
    optional={"valueTwo": numbers},
)
entries = st.fixed_dictionaries(
    {
        "names": st.lists(
            st.sampled_from(["read", "ioctl", "socket", "socketcall", "no_call"]), min_size=1
        ),
        "action": st.sampled_from(sorted(ACTIONS)),
    },
    optional={
        "args": st.lists(arguments, max_size=3) | st.none(),
        "errnoRet": st.integers(0, 200),
        "includes": st.fixed_dictionaries(
            {}, optional={"caps": st.just(["CAP_BPF"]), "minKernel": st.just("5.0")}
        ),
    },
)
profiles = st.fixed_dictionaries(
    {"defaultAction": st.sampled_from(sorted(ACTIONS)), "syscalls": st.lists(entries, max_size=6)},
    optional={
        "architectures": st.lists(st.sampled_from(sorted(ARCHITECTURES)), max_size=3),
        "defaultErrnoRet": st.integers(0, 200),
        "flags": st.just(["SECCOMP_FILTER_FLAG_LOG"]),
    },
)

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([*ACTIONS, *OPERATORS, *ARCHITECTURES, "read", "EPERM", "CAP_BPF", "4.8"])
)
KEYS = (
    "defaultAction defaultErrnoRet defaultErrno architectures archMap architecture "
    "subArchitectures flags listenerPath listenerMetadata syscalls names name action errnoRet "
    "errno args index op value valueTwo includes excludes caps arches minKernel linux seccomp "
    "process capabilities bounding"
)
keys = st.sampled_from(KEYS.split()) | st.text(max_size=3)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6),
    max_leaves=40,
)


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """A profile of which some parts were replaced."""
    document = deepcopy(draw(profiles))
    for _ in range(draw(st.integers(1, 3))):
        at: Any = document
        while True:
            inside = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not inside:
                break
            key = draw(st.sampled_from(inside))
            if isinstance(at[key], dict | list) and at[key] and draw(st.booleans()):
                at = at[key]
                continue
            at[key] = draw(anything)
            break
    return document


def policy_or_error(document: Any) -> Policy | None:
    """Read it; nothing but a policy or the error for policies comes out."""
    try:
        return import_profile(document, source="x")
    except InvalidPolicy as error:
        told = [str(problem) for problem in error.problems]
    assert told
    assert all(told)
    return None


@given(anything | damaged())
@settings(max_examples=300)
def test_any_json(document: Any) -> None:
    """Any JSON is a policy that compiles, or an error; also as an object."""
    policy = policy_or_error(json.dumps(document))
    if isinstance(document, dict) and policy is not None:
        compile_policy(policy)


@given(st.text() | st.builds(lambda d, at: json.dumps(d)[:at], damaged(), st.integers(0, 400)))
def test_any_text(text: str) -> None:
    """Any text is a policy or an error."""
    policy_or_error(text)


def values(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[Any, Any]]:
    """All values of a document, with their paths."""
    yield path, value
    keys = value if isinstance(value, dict) else range(len(value) if isinstance(value, list) else 0)
    for key in keys:
        yield from values(value[key], (*path, key))


@given(anything, st.sampled_from([None, 1, 3]))
def test_places(document: Any, indent: int | None) -> None:
    """Each value of a JSON text is found where it stands."""
    text = json.dumps(document, indent=indent)
    _, places = parse(text, "x")
    lines = text.split("\n")
    for path, value in values(document):
        place = places.place(path)
        assert place.line is not None
        assert place.column is not None
        at = sum(len(line) + 1 for line in lines[: place.line - 1]) + place.column - 1
        found, _ = json.JSONDecoder().raw_decode(text, at)
        assert json.dumps(found) == json.dumps(value)


@given(profiles)
@settings(max_examples=60)
def test_written_and_read(document: dict[str, Any]) -> None:
    """A profile, read and written, reads as the same policy, call for call, if all has words."""
    policy = read_profile(document).policy
    written, notes = export_profile(policy)
    if any("the listener decides" in note for note in notes):
        return
    back = import_profile(json.dumps(written))
    assert back.architectures == policy.architectures
    assert differences(compile_policy(policy), compile_policy(back)) == []


installations = st.fixed_dictionaries(
    {},
    optional={
        "flags": st.lists(st.sampled_from(sorted(FLAGS))),
        "listenerPath": st.text(),
        "listenerMetadata": st.text(),
    },
)


@given(installations)
def test_flags_and_listener_in_toml_and_back(installation: dict[str, Any]) -> None:
    """How a filter is to be installed is the same in a profile, in the language, and back."""
    document = {"defaultAction": "SCMP_ACT_ALLOW", **installation}
    policy = import_profile(json.dumps(document))
    text, notes = to_toml(policy)
    back = load(text)
    assert back.flags == policy.flags
    assert back.listener_path == policy.listener_path
    # Without a path there is nobody to be told; that is said.
    assert back.listener_metadata == (policy.listener_metadata if policy.listener_path else None)
    assert bool(notes) == bool(policy.listener_metadata and not policy.listener_path)
    written, _ = export_profile(back)
    keys = ("flags", "listenerPath", "listenerMetadata")
    wanted, _ = export_profile(policy)
    assert [written.get(key) for key in keys] == [wanted.get(key) for key in keys]


@given(
    profiles,
    st.sampled_from([Arch.X86_64, Arch.I386]),
    st.lists(numbers, min_size=6, max_size=6),
)
def test_an_entry_is_one_of_its_actions(
    document: dict[str, Any], arch: Arch, args: list[int]
) -> None:
    """A call gets what some entry about it says, or the default."""
    document["architectures"] = ["SCMP_ARCH_X86"]
    policy = import_profile(document)
    nr = {Arch.X86_64: 16, Arch.I386: 54}[arch]
    got = simulate(compile_policy(policy), SeccompData(nr, arch.audit, args))
    rules = [rule.verdict for rule in policy.rules if "ioctl" in rule.calls]
    wanted = {(verdict.action("ioctl") or 0x7FC00000) for verdict in [*rules, policy.default]}
    zero = (
        {0} if any(verdict.action("ioctl") == 0 for verdict in [*rules, policy.default]) else set()
    )
    assert got in wanted | zero
