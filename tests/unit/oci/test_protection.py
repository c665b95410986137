"""What an agent needs for its policies."""

from __future__ import annotations

import re
from functools import reduce
from operator import or_
from pathlib import Path

import pytest
import yaml

from unotify.abi.arch import Arch
from unotify.abi.capabilities import Capability
from unotify.abi.tables import number
from unotify.bpf.simulator import SeccompData, simulate
from unotify.errors import PolicyError
from unotify.oci import protection
from unotify.oci.protection import ALL, Protection, filter_for, names_of, needed
from unotify.policy.compiling import compile_policy
from unotify.policy.loader import load
from unotify.policy.model import Policy


def policy(do: str, calls: str = '"mkdir", "mkdirat"') -> Policy:
    """One rule."""
    return load(
        f'version = 1\ndefault = "allow"\n[[rule]]\ncalls = [{calls}]\ndo = {do}\n',
        source="p.toml",
        native=Arch.X86_64,
    )


def test_a_policy_that_only_refuses_needs_little() -> None:
    """To look at arguments and no more."""
    for do in ('{ fail = "EPERM" }', "{ return = 0 }", '"deny"'):
        assert names_of(needed(policy(do))) == [
            "CAP_DAC_READ_SEARCH",
            "CAP_SYS_PTRACE",
        ]


def test_each_verb_adds_its_own() -> None:
    """Acting is not loading modules, and code of others is anything."""
    performs = needed(policy('"perform"'))
    assert performs >> Capability.CAP_SYS_ADMIN & 1
    assert not performs >> Capability.CAP_SYS_MODULE & 1
    loads = needed(policy('{ load-module = { modules = ["x"] } }', '"finit_module"'))
    assert loads >> Capability.CAP_SYS_MODULE & 1
    assert needed(policy('"notify"')) == ALL


@pytest.mark.parametrize("arch", [Arch.X86_64, Arch.AARCH64, Arch.RISCV64, Arch.S390X])
@pytest.mark.parametrize("kept", [0, ALL])
def test_the_filter_is_a_policy_that_can_be_proved(arch: Arch, kept: int) -> None:
    """On each architecture, with all of its parts and with none."""
    assert len(compile_policy(filter_for(kept, arch)))


def answers(kept: int, call: str) -> int:
    """What the filter says to a call."""
    nr = number(call, Arch.X86_64)
    assert nr is not None
    data = SeccompData(nr, Arch.X86_64.audit)
    return simulate(compile_policy(filter_for(kept, Arch.X86_64)), data)


def test_what_is_about_a_capability_goes_with_it() -> None:
    """Without it the call is not even tried."""
    admin, module = 1 << Capability.CAP_SYS_ADMIN, 1 << Capability.CAP_SYS_MODULE
    for call, needs in (("mount", admin), ("move_mount", admin), ("finit_module", module)):
        assert answers(needs, call) == answers(ALL, call) == answers(0, "read")
        assert answers(ALL & ~needs, call) == answers(ALL, "kexec_load")
    assert answers(ALL, "read") != answers(ALL, "ptrace")


DEPLOY = Path(__file__).parents[3] / "deploy"


def test_units_leave_what_verbs_need() -> None:
    """Systemd's unit has all of it; the DaemonSet what acting takes, and its comment the rest."""
    every = reduce(or_, protection._VERBS.values()) | 1 << Capability.CAP_SETPCAP
    unit = (DEPLOY / "systemd" / "unotify-agent.service").read_text()
    listed = re.findall(r"^CapabilityBoundingSet=(.*)$", unit, re.MULTILINE)
    assert sorted(" ".join(listed).split()) == sorted(names_of(every))
    daemon_set = (DEPLOY / "kubernetes" / "daemonset.yaml").read_text()
    (pod,) = [yaml.safe_load(daemon_set)["spec"]["template"]["spec"]]
    added = {
        f"CAP_{name}" for name in pod["containers"][0]["securityContext"]["capabilities"]["add"]
    }
    acting = protection._VERBS["perform"] | 1 << Capability.CAP_SETPCAP
    assert added == set(names_of(acting))
    for verb, row in protection._VERBS.items():
        for name in names_of(row & ~acting):
            assert re.search(f'"{verb}"[^"]*{name[4:]}', daemon_set), (verb, name)


def test_nothing_is_checked_before_it_is_confined() -> None:
    """And afterwards a policy that needs more is told by name."""
    protection = Protection()
    more = policy('{ load-module = { modules = ["x"] } }', '"finit_module"')
    protection.check(more)
    protection._kept = needed(policy('"perform"'))
    protection.check(policy('"perform"'))
    with pytest.raises(PolicyError, match="needs CAP_SYS_MODULE, which the agent gave up"):
        protection.check(more)
