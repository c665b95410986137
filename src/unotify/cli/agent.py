"""``unotify agent``: serves container runtimes, each container by its policy."""

from __future__ import annotations

import logging
import os
import resource
import signal
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from unotify.cli.failures import CommandError, Exit

__all__ = ["command"]

_EPILOG = """\b
Example:
  unotify agent --socket /run/unotify.sock --policies /etc/unotify/policies
  unotify profile POLICY.toml --listener /run/unotify.sock     the profile for the runtime
"""


@click.group("agent", epilog=_EPILOG, invoke_without_command=True)
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
    help="How long a call may take before it fails.",
)
@click.option(
    "--fault",
    default="EPERM",
    show_default=True,
    metavar="ERRNO",
    callback=lambda ctx, param, value: _errno(value),
    help="What a call fails with that takes too long, or whose handler fails.",
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
@click.option(
    "--control",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Where 'unotify agent status' and the next agent ask.",
)
@click.option(
    "--take-over",
    is_flag=True,
    help="Take all containers over from the agent at --control, if there is one; it ends.",
)
@click.option(
    "--keeper",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Socket of a process that keeps containers for the next agent, however this one ends; "
    "started if need be. systemd does it where it has started the agent.",
)
@click.option(
    "--keep-for",
    type=click.FloatRange(0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the keeper waits for the next agent.",
)
@click.option(
    "--metrics",
    metavar="ADDRESS",
    help="Serve /metrics, /healthz and /readyz at 127.0.0.1:PORT, [::1]:PORT or unix:PATH.",
)
@click.option(
    "--metrics-containers",
    "named",
    type=click.IntRange(0),
    default=100,
    show_default=True,
    metavar="N",
    help="How many containers have metrics of their own.",
)
@click.option(
    "--keep-capability",
    "capabilities",
    multiple=True,
    metavar="NAME",
    help="A capability to keep, besides those that policies need; may be repeated. With --handlers "
    "all are kept unless this says which, or none.",
)
@click.option(
    "--unconfined",
    is_flag=True,
    help="Give up no capabilities, and make system calls without a filter.",
)
@click.option("--audit", metavar="FILE", help="Write each call as a line of JSON; - is stderr.")
@click.option("--quiet", is_flag=True, help="Say nothing but warnings and errors.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    sockets: tuple[str, ...],
    lxc_sockets: tuple[str, ...],
    policies: str | None,
    files: tuple[str, ...],
    uids: tuple[int, ...],
    deadline: float,
    fault: int,
    calls: int,
    drain: float,
    quiet: bool,
    **options: Any,
) -> int:
    """Serve container runtimes: LXC, and all that have OCI profiles, such as runc, crun and podman.

    A runtime whose profile has a listenerPath hands over each container's listener at that
    socket; sockets that systemd passes are served too. The policies are loaded and
    proved first, and again on SIGHUP or when the directory changes; a mistake changes
    nothing and is told. SIGTERM stops: calls in flight are answered first.
    """
    if ctx.invoked_subcommand is not None:
        return 0
    if policies is None:
        raise CommandError(
            "the agent has no policies", Exit.USAGE, hint="give a directory with --policies DIR"
        )
    from unotify.oci import Agent
    from unotify.oci.logs import set_up
    from unotify.oci.outfit import Outfit
    from unotify.oci.sockets import listening
    from unotify.oci.stores import SystemdStore
    from unotify.protocol import Fail

    set_up(quiet=quiet)
    _raise_limit()
    wanted = _options(options, code=bool(files))
    passed, notifier = _service_manager()
    with ExitStack() as stack:
        stack.callback(notifier.close)
        given = listening(SystemdStore.others(passed))
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
            fault_reply=Fail(fault),
        )
        stack.callback(agent.close)
        paths = {socket.SOCK_STREAM: sockets, socket.SOCK_SEQPACKET: lxc_sockets}
        outfit = stack.enter_context(
            Outfit(agent, wanted, notifier=notifier, passed=passed, paths=paths)
        )
        _heed(agent)  # before anybody is told that we are here
        log = logging.getLogger("unotify.agent")
        if not agent.shelf.loaded.policies:
            log.warning("there is no policy in %s: all that is notified fails with EPERM", policies)
        for each in (*given, *outfit.listening):
            agent.open(each)
            log.info("listening at %s", each.getsockname())
        outfit.ready()
        agent.run()
        outfit.end()
    return 0


@command.command("status")
@click.option(
    "--control",
    type=click.Path(path_type=Path),
    required=True,
    metavar="PATH",
    help="The agent's control socket.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(control: Path, as_json: bool) -> int:
    """Tell what an agent does: its containers, policies and calls, and how long these take."""
    from unotify.cli.agent_status import show

    return show(control, as_json=as_json)


@command.command("reload")
@click.option(
    "--control",
    type=click.Path(path_type=Path),
    required=True,
    metavar="PATH",
    help="The agent's control socket.",
)
def reload(control: Path) -> int:
    """Let an agent load its policies again; exit code 3 if something is wrong with them."""
    from unotify.cli.agent_status import reload

    return reload(control)


def _options(given: dict[str, Any], *, code: bool) -> Any:
    from unotify.oci.outfit import Options
    from unotify.oci.protection import ALL
    from unotify.oci.web import parse_address

    if given["take_over"] and given["control"] is None:
        raise CommandError(
            "--take-over needs to know from whom", Exit.USAGE, hint="give --control PATH"
        )
    if given["metrics"] is not None:
        try:
            given["metrics"] = parse_address(given["metrics"])
        except ValueError as error:
            raise CommandError(f"--metrics: {error}", Exit.USAGE) from None
    given["confined"] = not given.pop("unconfined")
    # What code of others needs nobody knows; it may be said.
    said = [_capability(name) for name in given.pop("capabilities")]
    given["keep"] = sum(set(said)) if said or not code else ALL
    return Options(**given)


def _capability(name: str) -> int:
    from unotify.abi.capabilities import Capability
    from unotify.abi.hints import nearest

    known = {each.name.removeprefix("CAP_"): each for each in Capability}
    wanted = name.upper().removeprefix("CAP_")
    if wanted == "NONE":
        return 0
    if wanted not in known:
        raise CommandError(
            f"--keep-capability: there is no capability {name}",
            Exit.USAGE,
            hint=nearest(wanted, known) or "such as CAP_SYS_ADMIN, or none",
        )
    return 1 << known[wanted]


def _service_manager() -> tuple[Any, Any]:
    from unotify.oci.systemd import Notifier, inherited

    try:
        return inherited(), Notifier.from_environment()
    except (ValueError, OSError) as error:
        raise CommandError(
            f"what systemd has passed cannot be used: {error}",
            Exit.USAGE,
            hint="it is about LISTEN_FDS and NOTIFY_SOCKET in the environment",
        ) from None


def _errno(value: str) -> int:
    from unotify.policy.action import ERRNOS

    number = ERRNOS.get(value.upper())
    if number is None:
        raise click.BadParameter(f"{value} is no error, such as EPERM")
    return number


def _heed(agent: Any) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.ask_stop())
    signal.signal(signal.SIGHUP, lambda *_: agent.ask_reload())


def _prepare(supervisor: Any, files: tuple[str, ...]) -> None:
    from unotify.cli.run import add_handlers

    for file in files:
        add_handlers(supervisor, file)


def _raise_limit() -> None:
    # A listener is a descriptor, and so is much that is opened for each call.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
