"""``unotify schema``: what a policy file may look like, for editors."""

from __future__ import annotations

import json

import click

__all__ = ["command"]

_EPILOG = """\b
Example, for editors with a TOML language server (taplo, Even Better TOML):
  unotify schema > unotify.schema.json
and as the first line of a policy:
  #:schema ./unotify.schema.json
"""


@click.command("schema", epilog=_EPILOG)
@click.option("--json", "as_json", is_flag=True, help="On one line; it is JSON in any case.")
def command(as_json: bool) -> int:
    """Print the JSON Schema of policy files (draft 2020-12).

    With it, editors complete and check them as you type.
    """
    from unotify.policy.schema import schema

    click.echo(json.dumps(schema(), indent=None if as_json else 2))
    return 0
