"""Module images, made by hand."""

from __future__ import annotations

import struct

STRINGS = b"\0.modinfo\0.shstrtab\0"


def image(
    info: bytes = b"license=GPL\0name=dummy-x\0", *, wide: bool = True, little: bool = True
) -> bytes:
    """An ELF file with a section .modinfo."""
    order, head = ("<" if little else ">"), (64 if wide else 52)
    word = "Q" if wide else "I"

    def section(name: int, offset: int, size: int) -> bytes:
        return struct.pack(f"{order}II4{word}II2{word}", name, 1, 0, 0, offset, size, 0, 0, 1, 0)

    entry = len(section(0, 0, 0))
    at = head + len(info) + len(STRINGS)
    begin = b"\x7fELF" + bytes([1 + wide, 1 if little else 2, 1]) + bytes(9)
    begin += struct.pack(
        f"{order}HHI3{word}IHHHHHH", 1, 62, 1, 0, 0, at, 0, head, 0, 0, entry, 3, 2
    )
    table = section(0, 0, 0) + section(1, head, len(info))
    table += section(10, head + len(info), len(STRINGS))
    return begin + info + STRINGS + table
