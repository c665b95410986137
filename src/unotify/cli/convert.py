"""``unotify convert``: policies from other tools' formats, and back."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import click

from unotify.abi.arch import Arch
from unotify.cli.analysis import ARCHES, chosen, write
from unotify.cli.failures import CommandError, Exit
from unotify.cli.inputs import parse, read_bytes
from unotify.policy.model import Policy
from unotify.policy.oci.words import CAPABILITIES

__all__ = ["command", "release"]

_FORMS = ("oci", "systemd", "strace", "minijail", "kafel")
_RELEASE = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})(?:[.-].*)?")


def release(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    """A kernel's release on the command line: its first two numbers."""
    if value is None:
        return None
    found = _RELEASE.fullmatch(value)
    if found is None:
        raise click.BadParameter(f"{value!r} is no release such as 6.1")
    return int(found[1]), int(found[2])


_EPILOG = (
    "Example: unotify convert seccomp.json --to toml --capability CAP_SYS_ADMIN -o policy.toml"
)


@click.command("convert", epilog=_EPILOG)
@click.argument("file")
@click.option("--to", "to", type=click.Choice(["toml", "oci"]), required=True, help="What to make.")
@click.option(
    "--from",
    "form",
    type=click.Choice(_FORMS),
    help="What FILE is; without it JSON is an OCI profile, and all else a policy in TOML.",
)
@click.option(
    "--capability",
    "capabilities",
    multiple=True,
    type=click.Choice(["ALL", *CAPABILITIES], case_sensitive=False),
    metavar="CAP_X",
    help="What the container may have, for includes and excludes of an OCI profile; repeatable.",
)
@click.option(
    "--kernel",
    callback=release,
    metavar="6.1",
    help="The kernel, for minKernel of an OCI profile; the newest without it.",
)
@click.option(
    "--arch",
    type=click.Choice(list(ARCHES)),
    help="The ABI of the host; this machine's without it.",
)
@click.option("-o", "--out", metavar="OUT", help="Write to this file.")
@click.option("--json", "as_json", is_flag=True, help="The result and the notes, for scripts.")
def command(
    file: str,
    to: str,
    form: str | None,
    capabilities: Sequence[str],
    kernel: tuple[int, int] | None,
    arch: str | None,
    out: str | None,
    as_json: bool,
) -> int:
    """Turn OCI profiles and other lists into policies, and policies into OCI profiles.

    What was ignored, and what a format cannot say, is told on standard error.
    """
    native = chosen(arch)
    caps = CAPABILITIES if "ALL" in capabilities else capabilities
    policy, notes, ours = _read(file, form, frozenset(caps), kernel, native)
    if ours and to == "toml":
        raise CommandError(
            f"{file} is a policy in TOML already", Exit.USAGE, hint="say --to oci, or --from what"
        )
    if to == "oci":
        from unotify.policy.oci import export_profile

        document, more = export_profile(policy)
        text = json.dumps(document, indent=2) + "\n"
    else:
        from unotify.policy.writing import to_toml

        text, more = to_toml(policy)
    notes = [*notes, *more]
    if as_json:
        result = {"format": to, "text": text, "notes": notes}
        write((json.dumps(result, indent=2) + "\n").encode(), out)
        return 0
    for note in notes:
        click.echo(f"unotify: note: {note}", err=True)
    write(text.encode(), out)
    return 0


def _read(
    file: str,
    form: str | None,
    capabilities: frozenset[str],
    kernel: tuple[int, int] | None,
    native: Arch,
) -> tuple[Policy, list[str], bool]:
    data = read_bytes(file)
    source = "standard input" if file == "-" else file
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise CommandError(
            f"{source} is no text",
            Exit.POLICY,
            hint="a filter in raw BPF says too little to make a policy of: see 'unotify disasm'",
        )
    if form is None and text.lstrip().startswith("{"):
        form = "oci"
    if form != "oci" and (capabilities or kernel):
        raise click.UsageError("--capability and --kernel are about OCI profiles")
    # The policy, what was noted, and whether it was one in TOML.
    if form == "oci":
        from unotify.policy.oci import read_profile

        found = read_profile(
            text, source=source, capabilities=capabilities, kernel=kernel, native=native
        )
        return found.policy, list(found.notes), False
    if form is not None:
        from unotify.policy.foreign import import_list

        made = import_list(text, form, source=source, native=native)
        return made.policy, list(made.notes), False
    directory = Path() if file == "-" else Path(file).parent
    policy = parse(data, source, directory=directory, native=native)
    if not isinstance(policy, Policy):
        raise CommandError(
            f"{source} is a filter, not a policy",
            Exit.USAGE,
            hint="a filter says too little to make a policy of: see 'unotify disasm'",
        )
    return policy, [], True
