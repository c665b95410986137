"""``unotify run``: like the command itself, but supervised."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import traceback
import types
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from unotify.cli.failures import CommandError, Exit, code_of
from unotify.cli.foreground import accompany, end_like
from unotify.cli.log import CallLog
from unotify.errors import Error

__all__ = ["add_handlers", "command", "load_handlers", "start"]


@click.command("run", context_settings={"allow_interspersed_args": False})
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="FILE",
    help="Policy in TOML, or an OCI profile; may be repeated: then a call has to pass them all.",
)
@click.option(
    "--handlers",
    "files",
    multiple=True,
    metavar="FILE.py",
    help="Python file with handlers, marked @unotify.on(...); may be repeated.",
)
@click.option(
    "--fake-root",
    "fake_root",
    is_flag=False,
    flag_value="",
    metavar="[STORE]",
    help="Let CMD believe that it is root. Owners, modes and devices that it sets are remembered, "
    "from run to run in the file STORE. Say -- before CMD.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Tell what the policy would do, and let every call go on. It protects nothing.",
)
@click.option(
    "--log",
    "log",
    metavar="FILE.jsonl",
    help="Write one JSON object per call that is not decided in the kernel; - is stderr.",
)
@click.option(
    "--weights",
    metavar="FILE",
    help="How often calls are made, as an earlier --log tells: the filter finds them sooner.",
)
@click.option("--quiet", is_flag=True, help="Say nothing but errors.")
@click.argument(
    "argv", metavar="[--] CMD [ARG]...", nargs=-1, required=True, type=click.UNPROCESSED
)
def command(
    policies: tuple[str, ...],
    files: tuple[str, ...],
    fake_root: str | None,
    dry_run: bool,
    log: str | None,
    weights: str | None,
    quiet: bool,
    argv: tuple[str, ...],
) -> int:
    """Run CMD under supervision.

    Terminal, signals, job control and exit status are those of CMD. Calls that
    the handlers want are decided by them; all others run at full speed.
    Without a policy and handlers all calls do, which is said on standard error.
    Processes that CMD leaves behind stay supervised until the last has ended;
    Ctrl-C lets them go.

    A policy's rules come before the handlers, its default after them. With several
    policies the strictest counts, as of filters that stack: killing before failing,
    failing before handlers, and any of these before going on.

    Example: unotify run --policy offline.toml --log calls.jsonl -- make

    Example: unotify run --fake-root build.store -- tar xpf rootfs.tar
    """
    import logging

    from unotify.supervisor.lines import LineFormatter

    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter("unotify: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.CRITICAL if quiet else None)
    idle = not policies and not files and fake_root is None
    if log is not None and idle:
        raise CommandError(
            "--log is about calls that a policy or handlers decide, and there are none",
            Exit.USAGE,
            hint="give --policy FILE or --handlers FILE.py; rules with log = true log what goes on",
        )
    supervisor = _supervisor(policies, dry_run=dry_run, weights=weights)
    if idle:
        logging.getLogger("unotify").warning(
            "no call is supervised: give --policy FILE, --handlers FILE.py or --fake-root"
        )
    with ExitStack() as stack:
        for file in files:
            add_handlers(supervisor, file)
        if fake_root is not None:
            _play_root(supervisor, stack, fake_root, dry_run=dry_run)
        if log is not None:
            supervisor.add_instrument(stack.enter_context(CallLog(log)))
        if dry_run:
            from unotify.cli.dryrun import DryRun

            supervisor.add_instrument(stack.enter_context(DryRun(quiet=quiet)))
        # Closed first: its last answers belong into the log.
        stack.enter_context(supervisor)
        code = accompany(supervisor, lambda: start(supervisor, argv), quiet=quiet)
    end_like(code)
    return code


def _supervisor(policies: tuple[str, ...], *, dry_run: bool, weights: str | None) -> Any:
    from unotify.supervisor import Supervisor

    if not policies:
        for option, given in (("--dry-run", dry_run), ("--weights", weights is not None)):
            if given:
                raise CommandError(
                    f"{option} is about a policy, and there is none",
                    Exit.USAGE,
                    hint="give it with --policy FILE",
                )
        return Supervisor()
    from unotify.cli.inputs import load_policy
    from unotify.cli.weights import read_weights
    from unotify.policy.stacking import architectures

    loaded = [load_policy(file) for file in policies]
    known = None if weights is None else read_weights(weights, architectures(loaded))
    supervisor = Supervisor(policy=loaded, dry_run=dry_run, weights=known)
    if any(rule.verdict.handler for policy in loaded for rule in policy.rules):
        from unotify.handlers import ADDONS

        supervisor.add(*ADDONS, spare=True)
    return supervisor


def _play_root(supervisor: Any, stack: ExitStack, store: str, *, dry_run: bool) -> None:
    from unotify.handlers.ownership import FakeRoot
    from unotify.kernel.hiding import hide

    if dry_run:
        raise CommandError(
            "--dry-run lets every call go on, so nobody can play root",
            Exit.USAGE,
            hint="leave out --fake-root, or --dry-run",
        )
    root = stack.enter_context(FakeRoot(store or None))
    if store:
        # What runs here is the same user's as the supervisor, which has the store open.
        hide()
    root.attach(supervisor)


def start(supervisor: Any, argv: tuple[str, ...]) -> Any:
    """Start the command, or say in one sentence why that is impossible.

    Raises:
        CommandError: There is no such command, or it cannot be run.
        KernelError: It cannot be supervised.
    """
    try:
        return supervisor.popen(list(argv), pass_fds=_inherited())
    except Error:
        raise
    except (OSError, ValueError) as error:
        raise _not_run(argv[0], error) from error


def _inherited() -> list[int]:
    # What our parent gave to us, such as the pipes of "diff <(a) <(b)". Python opens
    # nothing that is inheritable.
    found = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # that of listdir itself
            if int(name) > 2 and os.get_inheritable(int(name)):
                found.append(int(name))
    return found


def _not_run(name: str, error: OSError | ValueError) -> CommandError:
    number = error.errno if isinstance(error, OSError) else None
    found = name if "/" in name else shutil.which(name)
    if number == errno.ENOENT and found and os.path.lexists(found):
        return CommandError(
            f"cannot run {name}: its interpreter is missing",
            Exit.NOT_EXECUTABLE,
            hint="look at its first line, and whether it is a link to nowhere",
        )
    if not name or number in (errno.ENOENT, errno.ENOTDIR):
        return CommandError(
            f"no such command: {name or repr(name)}",
            Exit.NOT_FOUND,
            hint=None if "/" in name else "is it spelled right, and in a directory of PATH?",
        )
    hints = {
        errno.EACCES: "it has no execute permission, or lies where you may not go",
        errno.ENOEXEC: "a script needs a first line such as #!/bin/sh",
        errno.E2BIG: "its arguments and the environment are too long together",
    }
    if number not in hints and getattr(error, "__notes__", None):
        # The file is there: the filter, or what lies under it, says no.
        hints[number or 0] = "does the policy refuse execve itself? the filter is in force by then"
    reason = error.strerror if isinstance(error, OSError) else error
    return CommandError(
        f"cannot run {name}: {reason}",
        Exit.NOT_EXECUTABLE,
        hint="it is a directory" if os.path.isdir(name) else hints.get(number or 0),
    )


def add_handlers(supervisor: Any, file: str) -> None:
    """Register the handlers of *file*.

    Raises:
        CommandError: It cannot be read or run, or has no handlers, or wrong ones.
    """
    module = load_handlers(file)
    with _blaming(file):
        supervisor.add(module)


def load_handlers(file: str) -> types.ModuleType:
    """Run a handler file and return what it defines.

    It is read once, so it may be a pipe. As for a script, what lies beside it can be imported.

    Raises:
        CommandError: There is no such file, or it cannot be read or run.
    """
    path = Path(file)
    try:
        source = path.read_bytes()
    except OSError as error:
        raise CommandError(f"cannot read handlers {file}: {error.strerror}", Exit.USAGE) from None
    # Dataclasses, pickle and type hints look for the module by its name; this one
    # is in nobody's way.
    module = types.ModuleType(file)
    module.__file__ = file
    sys.modules[module.__name__] = module
    sys.path.insert(0, str(path.resolve().parent))
    with _blaming(file):
        exec(compile(source, file, "exec", dont_inherit=True), vars(module))
    return module


@contextmanager
def _blaming(file: str) -> Iterator[None]:
    # Whatever goes wrong in here is told as an error of this file.
    try:
        yield
    except SyntaxError as error:
        where = f"{error.filename or file}:{error.lineno or 1}"
        raise CommandError(f"{where}: {error.msg}", Exit.POLICY) from error
    except Error as error:
        told = str(error)
        if not told.startswith(file):
            told = f"{_place(error, file)}: {told}"
        raise CommandError(told, code_of(error), hint=error.hint) from error
    except (Exception, SystemExit) as error:
        told = f"{_place(error, file)}: {type(error).__name__}: {error}"
        raise CommandError(told, Exit.POLICY) from error


def _place(error: BaseException, file: str) -> str:
    # The file, with the last line in it that led to the error.
    lines = [
        line
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename == file
    ]
    return f"{file}:{lines[-1]}" if lines else file
