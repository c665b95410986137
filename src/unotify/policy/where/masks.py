"""What is wrong with a mask: it asks for bits where there is a value of several bits.

O_WRONLY is not a bit of the flags of open() but one value of the two bits O_ACCMODE, and O_RDONLY
is no bit at all: ``flags & O_WRONLY`` misses O_RDWR. S_IFBLK has all bits of S_IFCHR.
"""

from __future__ import annotations

from unotify.policy.spelling import field_of, is_choice, members
from unotify.policy.where.looks import Seen
from unotify.policy.where.numbers import Number
from unotify.policy.where.registers import Register

__all__ = ["fault_of"]


def fault_of(
    mask: Number, about: Register | Seen, asked: str, written: str
) -> tuple[str, str] | None:
    """What is wrong with *mask*, and what to write; ``None`` if nothing is.

    Args:
        mask: The mask.
        about: What it masks.
        asked: That, as written.
        written: The mask, as written.
    """
    for name in mask.names():
        owner = about.takes.own or name.kind
        if is_choice(owner) and not about.takes.any:
            message = f"{name.name} is one of several values of {about}, not a bit of it"
            return message, f"write {asked} == {name.name}"
        field, called = field_of(owner)
        # CLONE_NEWTIME is a bit where clone() has its signal.
        within = not members(name.kind)[name.name] & ~field and name.kind != "CloneFlags"
        if field and within and mask.value & field != field:
            message = f"{name.name} is one of several values of the bits {called}, not a bit of it"
            return message, f"write {asked} & {called} == {name.name}"
    if mask.value:
        return None
    if mask.names():
        return f"{written} has no bits to test", f"write {asked} == {written}"
    return "a mask of 0 looks at no bit", f"write {asked} == 0"
