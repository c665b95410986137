"""``unotify calls``: the call model, for people and for scripts."""

from __future__ import annotations

import json
from typing import Any

import click

from unotify.abi import model, tables
from unotify.abi.arch import Arch
from unotify.abi.model import CallSpec
from unotify.cli.failures import CommandError, Exit, typed

__all__ = ["command"]

_ARCHES = {arch.label: arch for arch in Arch}


@click.command("calls")
@click.argument("what", metavar="[NAME|NUMBER]", required=False)
@click.option("--arch", type=click.Choice(list(_ARCHES)), help="Numbers of this ABI.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def command(what: str | None, arch: str | None, as_json: bool) -> int:
    """Look a system call up by name or number; without one, list them all.

    A NUMBER is of the ABI given with --arch, or of this machine's.
    """
    abi = _ARCHES[arch] if arch else _native()
    if what is None:
        return _list(abi, as_json)
    name = _resolve(what, abi)
    facts = _facts(name, abi, only=arch is not None)
    if not facts["numbers"]:
        elsewhere = ", ".join(_facts(name, abi, only=False)["numbers"])
        raise CommandError(
            f"{abi.label} has no call {name}", Exit.USAGE, hint=f"there is one on {elsewhere}"
        )
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        _show(facts)
    return 0


def _native() -> Arch:
    from unotify.kernel import default_kernel

    return default_kernel().arch


def _resolve(what: str, abi: Arch) -> str:
    try:
        nr = int(what, 0)
    except ValueError:
        with typed():
            return model.spec(what).name
    name = tables.name(nr, abi)
    if name is None:
        raise CommandError(
            f"no call has number {nr} on {abi.label}",
            Exit.USAGE,
            hint="see 'unotify calls' for all, or give another --arch",
        )
    return name


def _list(abi: Arch, as_json: bool) -> int:
    numbers = sorted((nr, name) for name, nr in tables.numbers(abi).items())
    if as_json:
        click.echo(json.dumps({name: nr for nr, name in numbers}, indent=2))
        return 0
    for nr, name in numbers:
        arguments = ", ".join(argument.name for argument in model.spec(name, abi).args)
        click.echo(f"{nr:>10}  {name}({arguments})")
    return 0


def _facts(name: str, abi: Arch, *, only: bool) -> dict[str, Any]:
    from unotify.calls import class_name

    spec: CallSpec = model.spec(name, abi) if only else model.spec(name)
    arches = [abi] if only else list(Arch)
    return {
        "name": name,
        "class": class_name(name),
        "prototype": spec.prototype,
        "returns": spec.returns,
        "arguments": [
            {
                "name": argument.name,
                "type": argument.ctype,
                "role": argument.role.name.lower(),
                "bits": argument.bits or "register",
                "signed": argument.signed,
                "enum": argument.enum,
                "struct": argument.struct,
                "length": argument.length,
                "at": argument.at,
            }
            for argument in spec.args
        ],
        "numbers": {
            arch.label: nr for arch in arches if (nr := tables.number(name, arch)) is not None
        },
    }


def _show(facts: dict[str, Any]) -> None:
    click.echo(facts["prototype"])
    click.echo(f"  from unotify.calls import {facts['class']}\n")
    for argument in facts["arguments"]:
        notes = [argument["role"].replace("_", " ")]
        notes += [f"{argument['bits']} bits" if argument["bits"] != "register" else "a register"]
        notes += ["signed"] if argument["signed"] else []
        notes += [
            f"{word} {argument[key]}"
            for key, word in (
                ("enum", ""),
                ("struct", "struct"),
                ("length", "as long as"),
                ("at", "relative to"),
            )
            if argument[key]
        ]
        click.echo(
            f"  {argument['name']:<12} {argument['type']:<28} {', '.join(n.strip() for n in notes)}"
        )
    click.echo()
    by_number: dict[int, list[str]] = {}
    for label, nr in facts["numbers"].items():
        by_number.setdefault(nr, []).append(label)
    for nr, labels in by_number.items():
        click.echo(f"  {nr:>10}  {' '.join(labels)}")
