"""What an agent needs for its policies, so that it can give up the rest.

A table says which capabilities the supervisor uses for each verb. What a container's own program
may do is limited by what the agent has: a capability that it gave up counts for no target either.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import reduce
from importlib.resources import files
from operator import or_
from typing import Final

from unotify.abi.arch import Arch
from unotify.abi.capabilities import Capability
from unotify.errors import PolicyError
from unotify.policy.model import Policy, Verb

__all__ = ["ALL", "FILTER", "Protection", "filter_for", "needed"]

FILTER: Final = "agent-filter.toml"

C = Capability

ALL: Final = (1 << 64) - 1
"""Whatever there is."""


def _bits(*capabilities: Capability) -> int:
    return reduce(or_, (1 << each for each in capabilities), 0)


_LOOKING: Final = _bits(C.CAP_SYS_PTRACE, C.CAP_DAC_READ_SEARCH)
"""Memory, descriptors and the configuration of containers of whatever user."""

_FINDING: Final = _LOOKING | _bits(
    *(C.CAP_SETUID, C.CAP_SETGID, C.CAP_SYS_ADMIN, C.CAP_DAC_OVERRIDE)
)
"""Paths, as whoever asks, in whatever user namespace."""

_ENTERING: Final = _FINDING | _bits(C.CAP_SYS_CHROOT)
"""A mount namespace."""

_OWNING: Final = _bits(C.CAP_CHOWN, C.CAP_FOWNER, C.CAP_FSETID, C.CAP_MKNOD, C.CAP_SETFCAP)
"""What containers usually have over files."""

_ACTING: Final = (
    _ENTERING
    | _OWNING
    # What else they usually have, and some call that can be performed asks for.
    | _bits(C.CAP_KILL, C.CAP_NET_BIND_SERVICE, C.CAP_NET_RAW, C.CAP_AUDIT_WRITE)
)

_VERBS: Final = {
    "perform": _ACTING,
    "redirect": _ACTING,
    "inject": _LOOKING,
    "emulate-mknod": _ENTERING | _bits(C.CAP_MKNOD, C.CAP_CHOWN, C.CAP_FOWNER),
    # Who has mounted an overlay is who acts on what is below it, ever after.
    "emulate-mount": _ENTERING | _OWNING,
    "emulate-umount": _ENTERING,
    "emulate-pivot-root": _ENTERING,
    # What they are not about is performed.
    "emulate-xattr": _ACTING,
    "host-socket": _ACTING,
    "fake-ownership": _ACTING,
    "emulate-sysinfo": _LOOKING,
    "emulate-hostname": _LOOKING | _bits(C.CAP_SYS_ADMIN),
    "emulate-keyring": _LOOKING,
    "emulate-swap": _FINDING,
    "emulate-quota": _LOOKING,
    "emulate-perf": _LOOKING | _bits(C.CAP_PERFMON),
    "emulate-clock": _LOOKING | _bits(C.CAP_SYS_TIME),
    "emulate-reboot": _LOOKING,
    "emulate-sched": _LOOKING | _bits(C.CAP_SYS_NICE),
    "emulate-device-programs": _LOOKING | _bits(C.CAP_SYS_ADMIN, C.CAP_BPF),
    # An image is read by a process that is nobody.
    "load-module": _LOOKING | _bits(C.CAP_SETUID, C.CAP_SETGID, C.CAP_SYS_MODULE),
}
"""By verb. One that is not here is somebody's own, who may need anything."""


def needed(policy: Policy) -> int:
    """The capabilities that the supervisor of *policy* needs, as a bit set."""
    found = _LOOKING
    for verdict in (*(rule.verdict for rule in policy.rules), policy.default, policy.unknown):
        if verdict.verb is Verb.NOTIFY:
            return ALL
        if verdict.handler is not None:
            found |= _VERBS.get(verdict.handler, ALL)
    return found


def names_of(bits: int) -> list[str]:
    """The names of capabilities."""
    return [each.name for each in Capability if bits >> each & 1]


def filter_for(keep: int, native: Arch) -> Policy:
    """The agent's own filter as a policy, for an agent that keeps these capabilities."""
    from unotify.policy.loader import load

    text = files("unotify.oci").joinpath(FILTER).read_text("utf-8")
    policy = load(text, source=FILTER, native=native)
    names = {f"with {name}" for name in names_of(keep)}
    rules = [
        rule
        for rule in policy.rules
        if not (rule.name or "").startswith("with CAP_") or rule.name in names
    ]
    return replace(policy, rules=tuple(rules))


class Protection:
    """Confines an agent, and keeps policies away that it would be too confined for.

    Args:
        more: Capabilities to keep besides those that policies need, as a bit set.
    """

    def __init__(self, more: int = 0) -> None:
        self._more = more
        self._kept: int | None = None

    def confine(self, policies: Iterable[Policy], native: Arch) -> list[str]:
        """Give up what *policies* do not need; the names of what is kept.

        Raises:
            KernelError: It cannot be given up.
        """
        from unotify.kernel.confining import confine, permitted
        from unotify.policy.compiling import compile_policy

        wanted = reduce(or_, map(needed, policies), _LOOKING | self._more)
        keep = permitted() & wanted
        program = compile_policy(filter_for(keep, native))
        confine(keep, program.encode())
        # What was never there is not missed.
        self._kept = wanted
        return names_of(keep)

    def check(self, policy: Policy) -> None:
        """Raise `PolicyError` if *policy* needs what was given up."""
        if self._kept is None:
            return
        missing = needed(policy) & ~self._kept
        if missing:
            names = names_of(missing)
            raise PolicyError(
                f"this policy needs {', '.join(names[:3])}{' and more' if len(names) > 3 else ''}, "
                "which the agent gave up when it started",
                source=policy.source,
                hint="restart the agent; its containers go on",
            )
