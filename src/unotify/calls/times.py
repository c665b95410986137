"""Times of files, which the kernel has many spellings of."""

from __future__ import annotations

import errno

from unotify.abi.types import Address
from unotify.calls.call import Call
from unotify.calls.structs import LAYOUTS
from unotify.errors import Refused

__all__ = ["times_of"]


def times_of(call: Call) -> bytes | None:
    """Two timespecs of ours, from whatever the target's spelling has; ``None`` for a NULL: now.

    Raises:
        TargetError: They cannot be read, or have more microseconds than a second has.
    """
    spec = call.spec.arg("times")
    address = call.register("times")
    if not address:
        return None
    layout = LAYOUTS[spec.struct or ""].format(call.arch)
    padded = spec.struct == "__kernel_timespec" and call.arch.pointer == 4
    pair = spec.struct not in ("utimbuf", "old_utimbuf32")
    raw = call.caller.read(Address(address), layout.size * (2 if pair else 1))
    seconds = [value for values in layout.iter_unpack(raw) for value in values]
    if not pair:
        seconds = [seconds[0], 0, seconds[1], 0]
    elif "timeval" in (spec.struct or ""):
        if not all(0 <= part < 1_000_000 for part in seconds[1::2]):
            raise Refused("microseconds of a time", errno=errno.EINVAL)
        seconds[1::2] = [part * 1000 for part in seconds[1::2]]
    elif padded:
        seconds[1::2] = [part & 0xFFFFFFFF for part in seconds[1::2]]
    return b"".join(
        part.to_bytes(8, "little" if call.arch.little else "big", signed=True) for part in seconds
    )
