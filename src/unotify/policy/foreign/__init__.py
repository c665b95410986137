"""Lists of calls as other tools write them: systemd, strace, minijail, kafel.

Each is read as far as a policy can say it; what cannot be said is an error where it
would change what is allowed, and else a note.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from unotify.abi.arch import Arch
from unotify.abi.hints import nearest
from unotify.errors import UnknownName
from unotify.policy.foreign import kafel, minijail, strace, systemd
from unotify.policy.oci.importing import Imported
from unotify.policy.problems import listed

__all__ = ["FORMATS", "import_list"]

FORMATS: Final[Mapping[str, Callable[[str, str, Arch], Imported]]] = MappingProxyType(
    {
        "systemd": systemd.read,
        "strace": strace.read,
        "minijail": minijail.read,
        "kafel": kafel.read,
    }
)
"""By name: what reads a text, given what messages call it and the native architecture."""


def import_list(
    text: str, form: str, *, source: str = "list", native: Arch = Arch.X86_64
) -> Imported:
    """Make a policy of another tool's list.

    Args:
        text: The list.
        form: A name in `FORMATS`.
        source: What messages call it.
        native: The architecture that it is for.

    Raises:
        UnknownName: No format is called that, or something in the list is unknown.
        PolicyError: The list is wrong, or says what a policy cannot.
    """
    reader = FORMATS.get(form)
    if reader is None:
        raise UnknownName(
            f"no format is named {form!r}", hint=nearest(form, FORMATS) or listed(FORMATS)
        )
    return reader(text, source, native)
