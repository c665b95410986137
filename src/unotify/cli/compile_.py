"""``unotify compile``: a policy as a proved filter, in the form that others read."""

from __future__ import annotations

import json
import sys

import click

from unotify.cli.analysis import ARCHES, chosen, write
from unotify.cli.failures import CommandError, Exit, typed
from unotify.cli.inputs import load_policy
from unotify.cli.weights import read_weights

__all__ = ["command"]

_EPILOG = "Example: unotify compile offline.toml --format c -o offline.h"


@click.command("compile", epilog=_EPILOG)
@click.argument("policy")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "raw", "c", "json", "oci"]),
    help="text: to read; raw: as seccomp(2) takes it; c: an array; json: numbers and text; "
    "oci: a profile for container runtimes. Default: text.",
)
@click.option("-o", "out", metavar="OUT", help="Write to this file; - is standard output.")
@click.option(
    "--weights", metavar="FILE", help="How often calls are made; hot ones become cheaper."
)
@click.option("--arch", type=click.Choice(list(ARCHES)), help="What 'native' means in the policy.")
@click.option("--name", default="filter", show_default=True, help="What to call the array in C.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
def command(
    policy: str,
    form: str | None,
    out: str | None,
    weights: str | None,
    arch: str | None,
    name: str,
    as_json: bool,
) -> int:
    """Compile POLICY into a filter and prove that it is the policy.

    POLICY is a TOML policy or an OCI profile; - is standard input. What registers
    cannot decide, the filter hands to a supervisor.
    """
    from unotify.bpf.disassembler import disassemble
    from unotify.bpf.formats import render, to_c
    from unotify.policy.compiling import compile_policy

    if as_json and form not in (None, "json"):
        raise CommandError("--json and --format contradict each other", Exit.USAGE)
    form = "json" if as_json else form or "text"
    if form == "raw" and out in (None, "-") and sys.stdout.isatty():
        raise CommandError(
            "a raw filter is not for terminals", Exit.USAGE, hint="give -o FILE, or --format text"
        )
    if form == "oci" and weights is not None:
        raise CommandError("--weights are about filters, and a profile is none", Exit.USAGE)
    abi = chosen(arch)
    loaded = load_policy(policy, native=abi)
    if form == "oci":
        from unotify.policy.oci import export_profile

        profile, unsaid = export_profile(loaded)
        for sentence in unsaid:
            click.echo(f"unotify: note: not in the profile: {sentence}", err=True)
        write((json.dumps(profile, indent=2) + "\n").encode(), out)
        return 0
    counts = read_weights(weights, loaded.architectures) if weights is not None else None
    program = compile_policy(loaded, weights=counts)
    if form == "c":
        with typed():
            data = to_c(program, name)
    elif form == "text":
        data = disassemble(program, little=abi.little, names=True).encode()
    else:
        data = render(program, form)
    write(data, out)
    if out not in (None, "-"):
        click.echo(f"{out}: {len(program)} instructions, proved", err=True)
    return 0
