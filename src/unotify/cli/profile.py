"""``unotify profile``: what a container engine is given, so that an agent answers its calls."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from unotify.cli.analysis import ARCHES, chosen, write
from unotify.cli.convert import release
from unotify.cli.failures import CommandError, Exit
from unotify.cli.inputs import load_policy, read_text
from unotify.policy.oci.words import CAPABILITIES

__all__ = ["command"]

_BASES: Final = {
    "containers-common": (
        "UNOTIFY_CONTAINERS_PROFILE",
        "/usr/share/containers/seccomp.json",
        "apt-get install golang-github-containers-common, or --base FILE",
    ),
    "moby": (
        "UNOTIFY_MOBY_PROFILE",
        "/usr/share/gocode/src/github.com/docker/docker/profiles/seccomp/default.json",
        "apt-get install golang-github-docker-docker-dev, or --base FILE",
    ),
}
# What names another file, where Debian's packages have theirs, and how to get it.

_SUN_PATH: Final = 107  # bytes of sockaddr_un's path that are not its last NUL: unix(7)

_EPILOG = (
    "Example: unotify profile policy.toml --listener /run/unotify/agent.sock --base "
    "containers-common --format podman -o profile.json; podman run --security-opt "
    "seccomp=profile.json ..."
)


@click.command("profile", epilog=_EPILOG)
@click.argument("policy", metavar="POLICY")
@click.option(
    "--listener", metavar="PATH", required=True, help="The agent's socket, an absolute path."
)
@click.option(
    "--metadata", metavar="TEXT", help="What the agent is told beside (listenerMetadata)."
)
@click.option(
    "--base",
    metavar="moby|containers-common|FILE",
    help="The engine's own profile: it decides where no rule does; else the policy's default does.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["oci", "podman", "docker"]),
    default="oci",
    show_default=True,
    help="For whom: oci is for runc, crun, containerd and Kubernetes, with includes and excludes "
    "of the base settled; the others settle them for each container.",
)
@click.option(
    "--capability",
    "capabilities",
    multiple=True,
    type=click.Choice(["ALL", "NONE", *CAPABILITIES], case_sensitive=False),
    metavar="CAP_X",
    help="With oci, what the containers may have; repeatable; without it the 14 that Docker and "
    "containerd give.",
)
@click.option(
    "--kernel",
    callback=release,
    metavar="6.1",
    help="The kernel, for minKernel of the base; the newest without it.",
)
@click.option(
    "--wait-killable",
    is_flag=True,
    help="Only signals that kill interrupt a call that the agent has received. For crun, and runc "
    "since 1.5; older runtimes refuse the profile.",
)
@click.option(
    "--arch",
    type=click.Choice(list(ARCHES)),
    help="The ABI of the hosts; this machine's without it.",
)
@click.option("-o", "--out", metavar="OUT", help="Write to this file.")
def command(
    policy: str,
    listener: str,
    metadata: str | None,
    base: str | None,
    form: str,
    capabilities: Sequence[str],
    kernel: tuple[int, int] | None,
    wait_killable: bool,
    arch: str | None,
    out: str | None,
) -> int:
    """Print the seccomp profile for containers that the agent at PATH supervises by POLICY.

    What registers decide the profile says itself; the rest is SCMP_ACT_NOTIFY, for the agent,
    which has to have the same policy. What the profile cannot say is told on standard error.
    """
    from unotify.policy.oci import runtime_profile
    from unotify.policy.oci.composing import Base

    _check(listener, metadata)
    native = chosen(arch)
    below = None
    if base is not None:
        if form != "oci" and capabilities:
            raise click.UsageError(
                f"--capability is for --format oci: {form} knows each container's capabilities"
            )
        text, source = _base(base)
        below = Base(
            text,
            source,
            capabilities=_capabilities(capabilities) if form == "oci" else None,
            kernel=kernel,
            # Only moby has minKernel.
            keep_kernel=form == "docker" and kernel is None,
        )
    elif capabilities or kernel:
        raise click.UsageError("--capability and --kernel are about the --base")
    document, notes = runtime_profile(
        load_policy(policy, native=native),
        listener=listener,
        metadata=metadata,
        base=below,
        wait_killable=wait_killable,
        native=native,
    )
    if below is None and document["defaultAction"] == "SCMP_ACT_ALLOW":
        notes = [*notes, "there is no --base: what no rule is about is allowed"]
    for note in notes:
        click.echo(f"unotify: note: {note}", err=True)
    write((json.dumps(document, indent=2) + "\n").encode(), out)
    return 0


def _check(listener: str, metadata: str | None) -> None:
    if not listener.startswith("/"):
        raise CommandError(
            f"--listener {listener!r} is no absolute path: crun refuses it, and runc looks for it "
            "where it runs",
            Exit.USAGE,
        )
    if len(os.fsencode(listener)) > _SUN_PATH:
        raise CommandError(
            f"--listener has {len(os.fsencode(listener))} bytes: paths of sockets have at most "
            f"{_SUN_PATH}",
            Exit.USAGE,
        )
    for name, text in (("--listener", listener), ("--metadata", metadata or "")):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise CommandError(f"{name} is no text in UTF-8", Exit.USAGE) from None


def _capabilities(given: Sequence[str]) -> frozenset[str]:
    from unotify.policy.oci import USUAL_CAPABILITIES

    if not given:
        return USUAL_CAPABILITIES
    if "ALL" in given:
        return frozenset(CAPABILITIES)
    return frozenset(given) - {"NONE"}


def _base(name: str) -> tuple[str, str]:
    """The text of an engine's profile, and what messages call it."""
    if name not in _BASES:
        return read_text(name), name
    variable, usual, cure = _BASES[name]
    path = os.environ.get(variable) or usual
    if not Path(path).is_file():
        raise CommandError(f"no profile of {name}: there is no {path}", Exit.USAGE, hint=cure)
    return read_text(path), path
