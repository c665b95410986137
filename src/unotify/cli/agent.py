"""``unotify agent``: serves container runtimes, each container by its policy."""

from __future__ import annotations

import logging
import os
import resource
import signal
import socket
import sys
from contextlib import ExitStack
from typing import Any

import click

from unotify.cli.failures import CommandError, Exit

__all__ = ["command"]

_EPILOG = """\b
Example:
  unotify agent --socket /run/unotify.sock --policies /etc/unotify/policies
  unotify convert --to oci POLICY.toml      a profile with "listenerPath", for the runtime
"""


@click.command("agent", epilog=_EPILOG)
@click.option(
    "--socket",
    "sockets",
    multiple=True,
    metavar="PATH",
    help="Where container runtimes connect: the listenerPath of their profiles.",
)
@click.option(
    "--lxc-socket",
    "lxc_sockets",
    multiple=True,
    metavar="PATH",
    help="Where LXC connects: lxc.seccomp.notify.proxy = unix:PATH.",
)
@click.option(
    "--policies",
    required=True,
    metavar="DIR",
    help="Directory of policies NAME.toml; containers.toml in it says who gets which.",
)
@click.option(
    "--handlers",
    "files",
    multiple=True,
    metavar="FILE.py",
    help="Python file with handlers and verbs, for all policies; may be repeated.",
)
@click.option(
    "--allow-uid",
    "uids",
    multiple=True,
    type=click.IntRange(0),
    metavar="UID",
    help="A user whose runtimes may connect, besides root and the agent's own.",
)
@click.option(
    "--deadline",
    type=click.FloatRange(0, min_open=True),
    default=20.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a call may take before it fails with EPERM.",
)
@click.option(
    "--calls",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    metavar="N",
    help="How many calls of one container may be in flight; more of them wait in the kernel.",
)
@click.option(
    "--drain",
    type=click.FloatRange(0),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="How long calls in flight may take when the agent stops.",
)
@click.option("--quiet", is_flag=True, help="Say nothing but warnings and errors.")
def command(
    sockets: tuple[str, ...],
    lxc_sockets: tuple[str, ...],
    policies: str,
    files: tuple[str, ...],
    uids: tuple[int, ...],
    deadline: float,
    calls: int,
    drain: float,
    quiet: bool,
) -> int:
    """Serve container runtimes: LXC, and all that have OCI profiles, such as runc, crun and podman.

    A runtime whose profile has a listenerPath hands over each container's listener at that
    socket; sockets that systemd passes are served too. The policies are loaded and
    proved first, and again on SIGHUP or when the directory changes; a mistake changes
    nothing and is told. SIGTERM stops: calls in flight are answered first.
    """
    logging.basicConfig(
        stream=sys.stderr,
        format="unotify: %(message)s",
        level=logging.WARNING if quiet else logging.INFO,
    )
    from unotify.oci import Agent
    from unotify.oci.sockets import inherited, listen, unlink

    _raise_limit()
    with ExitStack() as stack:
        given = inherited(os.environ)
        for each in given:
            stack.callback(each.close)
        if not (sockets or lxc_sockets or given):
            raise CommandError(
                "the agent has no socket to serve",
                Exit.USAGE,
                hint="give one with --socket PATH, or by systemd's socket activation",
            )
        agent = Agent(
            policies,
            uids={0, os.geteuid(), *uids},
            prepare=lambda supervisor: _prepare(supervisor, files),
            calls=calls,
            drain=drain,
            deadline=deadline,
        )
        stack.callback(agent.close)
        kinds = {socket.SOCK_STREAM: sockets, socket.SOCK_SEQPACKET: lxc_sockets}
        for kind, path in [(kind, path) for kind, paths in kinds.items() for path in paths]:
            made = listen(path, kind)
            stack.callback(unlink, path, os.lstat(path).st_ino)
            given.append(made)
        for each in given:
            agent.open(each)
            logging.getLogger("unotify.agent").info("listening at %s", each.getsockname())
        _serve(agent)
    return 0


def _serve(agent: Any) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.ask_stop())
    signal.signal(signal.SIGHUP, lambda *_: agent.ask_reload())
    agent.run()


def _prepare(supervisor: Any, files: tuple[str, ...]) -> None:
    from unotify.cli.run import add_handlers

    for file in files:
        add_handlers(supervisor, file)


def _raise_limit() -> None:
    # A listener is a descriptor, and so is much that is opened for each call.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
