"""The example policies as OCI profiles: what libseccomp makes of them beside our own filters."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernel.libseccomp import (
    ARCHES,
    HOSTS,
    LARGEST,
    ask,
    decoded,
    explained,
    numbers_of,
    questions,
)
from tests.test_golden import cases
from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.seccomp import ACTION_MASK, Action
from unotify.bpf import SeccompData, simulate
from unotify.policy.compiling import compile_policy
from unotify.policy.loader import load
from unotify.policy.oci import export_profile

POLICIES = Path(__file__).parents[2] / "examples" / "policies"


def refuses(action: int) -> bool:
    """Whether the call fails."""
    return action > Action.ERRNO and action & ACTION_MASK == Action.ERRNO


@pytest.mark.parametrize(
    ("name", "native"), cases(), ids=lambda value: getattr(value, "label", value)
)
def test_exports(name: str, native: Arch) -> None:
    """An exported policy is the policy: what it says otherwise is notified, or was told."""
    policy = load(
        (POLICIES / f"{name}.toml").read_text(),
        include=lambda other: (POLICIES / other).read_text(),
        native=native,
    )
    document, notes = export_profile(policy)
    rules = [
        [
            entry["action"],
            entry.get("errnoRet", 1),
            call,
            [
                [arg["index"], arg["op"], arg["value"], arg.get("valueTwo", 0)]
                for arg in entry.get("args", ())
            ],
        ]
        for entry in document["syscalls"]
        for call in entry["names"]
    ]
    labels = [arch.removeprefix("SCMP_ARCH_").lower() for arch in document["architectures"]]
    default = [document["defaultAction"], document.get("defaultErrnoRet", 1)]
    (answer,) = ask([{"arches": labels, "default": default, "rules": rules}])
    theirs, ours = decoded(answer, native), compile_policy(policy)
    lost = {note.partition(":")[0] for note in notes if "the listener decides" in note}
    asked = questions(rules)
    standard = simulate(theirs, SeccompData(1199, native.audit))
    compared = 0
    for label in labels:
        arch = ARCHES[label]
        for nr in numbers_of(arch):
            call = tables.name(nr, arch)
            for args in [(0,) * 6, (LARGEST,) * 6, *asked.get(call or "", ())]:
                data = SeccompData(nr, arch.audit, args)
                their, our = simulate(theirs, data), simulate(ours, data)
                compared += 1
                asks = their == Action.USER_NOTIF
                same = their == our or (asks and call in lost)
                # What is said of a part they also say of its multiplexer, beside what the profile
                # says, and of that one's registers (B6). We refuse; so do they, or the listener.
                same |= call in tables.MULTIPLEXERS and refuses(our) and (asks or refuses(their))
                assert same or explained(call, arch, args, their, answer, standard), (
                    f"{call or nr} on {label} with {args}: theirs {their:#x}, ours {our:#x}"
                )
    assert compared > 800 * len(labels)
    assert HOSTS[native][1] in document["architectures"]
