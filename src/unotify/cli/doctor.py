"""``unotify doctor``: what works here, and what that means."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

import click

from unotify.abi.features import Feature
from unotify.cli.failures import Exit
from unotify.errors import Unsupported
from unotify.kernel.native import absence, backend
from unotify.kernel.probe import Probed, probe

__all__ = ["command", "findings"]

MEANING = {
    Feature.USER_NOTIF: "nothing works without it",
    Feature.NEW_LISTENER: "nothing works without it",
    Feature.CONTINUE: "handlers cannot let a call go on",
    Feature.ADDFD: "handlers cannot give descriptors to a target",
    Feature.ADDFD_SEND: "not used: it can lose descriptors (A14)",
    Feature.WAIT_KILLABLE_RECV: "any signal interrupts a call that is being decided",
    Feature.SYNC_WAKE_UP: "answers may take several times as long when two processors are involved",
    Feature.ID_VALID: "an older number of the ioctl is used",
    Feature.PIDFD_THREAD: "descriptors of threads with a table of their own cannot be taken",
    Feature.PIDFD_GETFD: "descriptors of targets cannot be taken",
    Feature.PROCESS_VM_READV: "memory is read through /proc/TID/mem",
    Feature.HANGUP_AT_EXIT: "the end of a target shows only when its parent has waited for it",
    Feature.RECV_ENDS: "not needed: unotify polls before it receives",
    Feature.TSYNC: "a filter cannot be put on all threads at once",
    Feature.TSYNC_ESRCH: "a listener cannot be had for all threads at once",
    Feature.LOG: "the kernel cannot audit what a filter does",
    Feature.SPEC_ALLOW: "filters switch the store bypass mitigation on",
}
"""What it means if a feature is missing."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report.

    Attributes:
        good: ``True``, ``False``, or ``None`` for "good to know".
    """

    name: str
    good: bool | None
    text: str


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def command(as_json: bool) -> int:
    """Find out what this kernel and this place allow, by trying it.

    Installs real filters in a throw-away process. Exits with 4 if nothing can be
    supervised here.
    """
    probed = probe()
    report = findings(probed)
    usable = probed.install_error is None
    if as_json:
        click.echo(json.dumps(_as_json(probed, usable), indent=2))
    else:
        _print(report, usable)
    return 0 if usable else Exit.KERNEL


def findings(probed: Probed) -> list[Finding]:
    """Everything that was found, with what it means."""
    found = [
        Finding("kernel", None, f"Linux {probed.release}, {_labels(probed)}"),
        Finding("user", None, _user(probed)),
        _install(probed),
    ]
    for feature in Feature:
        good = feature in probed.features
        text = f"since Linux {feature.since}" if good else f"missing: {MEANING[feature]}"
        found.append(Finding(feature.label, good, text))
    found.append(_memory(probed))
    found.append(
        Finding(
            "user namespaces",
            probed.user_namespace,
            "an ordinary user can have mounts of its own"
            if probed.user_namespace
            else "mounts for a target need root",
        )
    )
    found.append(
        Finding("descriptors", None, f"{probed.files} at most; each supervised program needs one")
    )
    found.append(_backend())
    return found


def _install(probed: Probed) -> Finding:
    if probed.install_error is None:
        return Finding("supervise programs", True, "a filter with a listener can be installed")
    reasons = {
        "EBUSY": "another supervisor is above us: run unotify outside of it (F4)",
        "EPERM": "a sandbox around us forbids seccomp(2): allow it in its profile",
        "EACCES": "neither no_new_privs nor CAP_SYS_ADMIN can be had here",
        "ENOSYS": "this kernel has no seccomp(2)",
        "EINVAL": "this kernel is older than user notification (Linux 5.0)",
        "SIGSYS": "a sandbox around us kills who calls seccomp(2)",
    }
    reason = reasons.get(probed.install_error, "seccomp(2) fails")
    return Finding("supervise programs", False, f"{probed.install_error}: {reason}")


def _backend() -> Finding:
    try:
        used = backend()
    except Unsupported as error:
        return Finding("backend", False, f"{error}")
    if used == "native":
        return Finding("backend", True, "native: plain rules about paths are answered in C")
    why = (
        "UNOTIFY_BACKEND says so"
        if os.environ.get("UNOTIFY_BACKEND")
        else f"the native part is {absence()}"
    )
    return Finding("backend", None, f"python ({why}): performed opens take ten times as long")


def _memory(probed: Probed) -> Finding:
    if "sys_ptrace" in probed.capabilities:
        return Finding("target memory", True, "any target's, by CAP_SYS_PTRACE")
    scope = probed.ptrace_scope
    if scope is None or scope == 0:
        return Finding("target memory", True, "that of targets of the same user (M3)")
    if scope == 1:
        return Finding("target memory", True, "that of our own descendants (Yama ptrace_scope 1)")
    return Finding("target memory", False, f"Yama ptrace_scope {scope} forbids it: registers only")


def _user(probed: Probed) -> str:
    who = "root" if probed.uid == 0 else f"user {probed.uid}"
    rights = (
        f"{len(probed.capabilities)} capabilities" if probed.capabilities else "no capabilities"
    )
    extra = ", no_new_privs is set" if probed.no_new_privs else ""
    filters = f", {probed.filters} filters on us already" if probed.filters else ""
    place = f", in {probed.container}" if probed.container else ""
    return f"{who}, {rights}{extra}{filters}{place}"


def _labels(probed: Probed) -> str:
    return ", ".join(arch.label for arch in probed.architectures)


def _as_json(probed: Probed, usable: bool) -> dict[str, Any]:
    return {
        "usable": usable,
        "install_error": probed.install_error,
        "features": {feature.label: feature in probed.features for feature in Feature},
        "architectures": [arch.label for arch in probed.architectures],
        "release": probed.release,
        "uid": probed.uid,
        "capabilities": list(probed.capabilities),
        "no_new_privs": probed.no_new_privs,
        "filters": probed.filters,
        "actions": list(probed.actions),
        "ptrace_scope": probed.ptrace_scope,
        "user_namespaces": probed.user_namespace,
        "descriptors": probed.files,
        "container": probed.container,
        "backend": _backend().text.partition(":")[0].partition(" ")[0],
    }


def _print(report: list[Finding], usable: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    marks = {True: "[green]✓[/]", False: "[red]✗[/]", None: " "}
    for finding in report:
        table.add_row(marks[finding.good], finding.name, finding.text)
    console = Console()
    console.print(table)
    if usable:
        console.print("\nPrograms can be supervised here.", style="bold green")
    else:
        console.print("\nNothing can be supervised here.", style="bold red")
