"""Libcs try new calls and fall back after ENOSYS; anything else breaks them."""

from __future__ import annotations

from collections.abc import Iterator
from errno import ENOSYS

from unotify.abi.seccomp import ACTION_MASK, Action
from unotify.bpf.answers import Kind, kind_of
from unotify.bpf.audit.finding import Check, Finding, Severity
from unotify.bpf.audit.view import View

__all__ = ["CHECK"]

_NOSYS = Action.ERRNO | ENOSYS


def look(view: View) -> Iterator[Finding]:
    """Find unknown numbers that are refused otherwise than by ENOSYS."""
    for arch in view.architectures:
        actions = {
            region.action
            for region in view.answers.unknown(arch)
            if kind_of(region.action) is Kind.REFUSES and region.action != _NOSYS
        }
        known = any(view.answers.may_go_on(arch, call) for call in ("exit_group", "exit", "read"))
        if not actions or not known:
            continue
        kills = any(action & ACTION_MASK != Action.ERRNO for action in actions)
        yield Finding(
            Severity.MEDIUM if kills else Severity.LOW,
            f"unknown numbers {'kill' if kills else 'fail with another errno than ENOSYS'}",
            "a libc tries newer calls first and falls back only after ENOSYS; with the next "
            f"update programs {'die' if kills else 'fail'} that worked before",
            "let unknown numbers fail with ENOSYS",
            (),
            (arch,),
        )


CHECK = Check("unknown-numbers", "do newer calls fail as libcs expect?", look)
