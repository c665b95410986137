"""The policies that a supervisor is given: made ones, or files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from unotify.abi.arch import Arch
from unotify.errors import PolicyError

if TYPE_CHECKING:
    from unotify.policy.model import Policy

__all__ = ["Policies", "policies_of"]

_One: TypeAlias = "Policy | str | os.PathLike[str]"

Policies: TypeAlias = "_One | Iterable[_One]"
"""A policy, the path of a policy file, or several of them."""


def policies_of(given: Policies, native: Arch) -> tuple[Policy, ...]:
    """Load what is a file.

    Args:
        given: What the user gave.
        native: The architecture that ``native`` means in a file.

    Raises:
        PolicyError: A file cannot be read, or has mistakes.
    """
    if isinstance(given, tuple) and not given:
        return ()
    from unotify.policy.model import Policy

    if isinstance(given, Policy | str | os.PathLike):
        given = [given]
    return tuple(each if isinstance(each, Policy) else _load(each, native) for each in given)


def _load(path: str | os.PathLike[str], native: Arch) -> Policy:
    # Imported here: who makes policies of objects needs no reader.
    file = Path(path)
    text = _read(file)
    if text.lstrip().startswith("{"):
        from unotify.policy.oci import import_profile

        return import_profile(text, source=str(file), native=native)
    from unotify.policy.loader import load

    return load(
        text, source=str(file), include=lambda name: _read(file.parent / name), native=native
    )


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise PolicyError(f"cannot read policy {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PolicyError(f"policy {file} is not UTF-8 text") from None
