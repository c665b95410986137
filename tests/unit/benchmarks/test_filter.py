"""The filter benchmark: its profile is what it says, and the goals that need no clock are met."""

from __future__ import annotations

import json

from benchmarks.filter import HOT, NATIVE, call, container, number
from unotify.bpf import is_constant_allow, trace


def test_container_profile_reaches_the_goals() -> None:
    """334 plain calls take at most 73 instructions, 10 for each, and 8 for the hot five."""
    profile = container()
    assert len(profile.plain) == 334
    program = profile.build(None)
    assert len(program) <= 73
    assert max(len(trace(program, call(nr))) for nr in profile.plain) <= 10
    assert all(is_constant_allow(program, NATIVE.audit, nr) for nr in profile.plain)
    weighted = profile.build({NATIVE: {number(name): count for name, count in HOT.items()}})
    assert len(weighted) <= 73
    assert max(len(trace(weighted, call(number(name)))) for name in HOT) <= 8


def test_request_for_libseccomp_is_json() -> None:
    """What libseccomp is asked for has all calls of the profile, and survives the way there."""
    profile = container()
    request = json.loads(json.dumps(profile.request))
    names = [name for _, _, name, args in request["rules"] if not args]
    assert [number(name) for name in names] == list(profile.plain)
    assert {name for _, _, name, args in request["rules"] if args} == {
        "personality",
        "clone",
        "socket",
    }
