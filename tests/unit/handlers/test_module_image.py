"""Names of modules, from images that may be made to hurt."""

from __future__ import annotations

import errno
import gzip
import lzma
import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import missing
from tests.unit.handlers.images import image
from unotify.errors import Refused
from unotify.handlers import module_image as module
from unotify.handlers.module_image import begin, decompressed, name_of


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("little", [True, False])
def test_the_name_is_found_in_every_kind_of_elf(wide: bool, little: bool) -> None:
    """32 and 64 bits, both byte orders; a minus is an underscore, as the kernel has it."""
    assert name_of(image(wide=wide, little=little)) == "dummy_x"


def refused(data: bytes) -> int:
    """The errno that *data* is refused with."""
    with pytest.raises(Refused) as caught:
        name_of(data)
    return caught.value.errno


@pytest.mark.parametrize(
    "info",
    [
        b"license=GPL\0",
        b"name=\0",
        b"name=../../etc\0",
        b"name=-rf /\0",
        b"name=" + b"x" * 56 + b"\0",
        b"xname=a\0",
        b"name\0",
        b"",
    ],
)
def test_what_is_no_name_is_none(info: bytes) -> None:
    """A name has letters, digits, _ and - only, and at most 55 of them."""
    assert refused(image(info)) == errno.ENOEXEC


def test_offsets_outside_of_the_image_are_refused() -> None:
    """Each offset and count that the file gives is checked before it is used."""
    good = bytearray(image())
    for at, size in ((40, "Q"), (58, "H"), (60, "H"), (62, "H")):
        bad = bytearray(good)
        struct.pack_into("<" + size, bad, at, (1 << 8 * struct.calcsize(size)) - 1)
        assert refused(bytes(bad)) == errno.ENOEXEC
    for cut in (0, 3, 63, len(good) - 1):
        assert refused(bytes(good[:cut])) == errno.ENOEXEC


def outcome(data: bytes) -> str | int:
    """The name, or the errno."""
    try:
        return name_of(data)
    except Refused as caught:
        return caught.errno


@given(st.binary(max_size=300), st.integers(0, 300))
def test_nothing_but_a_name_or_a_refusal_comes_of_nonsense(noise: bytes, at: int) -> None:
    """Whatever bytes there are, and wherever: what looks like a name, or ENOEXEC."""
    data = bytearray(image())
    data[at : at + len(noise)] = noise
    found = outcome(bytes(data))
    assert found == errno.ENOEXEC or re.fullmatch(r"\w{1,55}", str(found), re.ASCII)


@given(st.binary(max_size=400))
def test_headers_of_nonsense_are_refused_too(noise: bytes) -> None:
    """The same behind a header that looks right."""
    assert outcome(b"\x7fELF\x02\x01\x01" + bytes(9) + noise) == errno.ENOEXEC


def looked(path: Path, compressed: str) -> str | int:
    """The name in the file, or the errno."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return begin(fd, compressed)()
    except Refused as caught:
        return caught.errno
    finally:
        os.close(fd)


def test_compressed_images(tmp_path: Path) -> None:
    """Gzip and xz are unpacked, as long as the flag says so; the file's position stays."""
    for name, pack in (("gz", gzip.compress), ("xz", lzma.compress)):
        file = tmp_path / f"x.ko.{name}"
        file.write_bytes(pack(image()))
        assert looked(file, "yes") == "dummy_x"
        assert looked(file, "no") == errno.ENOEXEC
        file.write_bytes(pack(image())[:-9])
        assert looked(file, "yes") in ("dummy_x", errno.ENOEXEC)  # the end may be a mere sum
        file.write_bytes(pack(image())[:40] + bytes(40))
        assert looked(file, "yes") == errno.ENOEXEC
    plain = tmp_path / "x.ko"
    plain.write_bytes(image())
    assert looked(plain, "no") == "dummy_x"
    assert looked(plain, "yes") == errno.ENOEXEC
    with plain.open("rb") as opened:
        opened.seek(7)
        begin(opened.fileno(), "no")()
        assert os.lseek(opened.fileno(), 0, os.SEEK_CUR) == 7


def test_zstd_images(tmp_path: Path) -> None:
    """Zstd is unpacked by the program of that name; what is damaged is refused."""
    program = shutil.which("zstd")
    if program is None:
        missing("this needs the program zstd")
    packed = subprocess.run([program, "-c"], input=image() * 2000, capture_output=True, check=True)
    file = tmp_path / "x.ko.zst"
    file.write_bytes(packed.stdout)
    assert looked(file, "yes") == "dummy_x"
    file.write_bytes(packed.stdout[:30])
    assert looked(file, "yes") == errno.ENOEXEC


def test_without_a_program_for_it_zstd_is_not_supported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EOPNOTSUPP, as of a kernel that was built without it."""
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    file = tmp_path / "x.ko.zst"
    file.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(40))
    assert looked(file, "yes") == errno.EOPNOTSUPP


@pytest.mark.parametrize("kind", ["gzip", "xz"])
def test_a_bomb_is_defused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is unpacked beyond the most that an image may have."""
    monkeypatch.setattr(module, "MOST", 1 << 16)
    packed = {"gzip": gzip.compress, "xz": lzma.compress}[kind](bytes(1 << 22))
    with pytest.raises(Refused) as caught:
        decompressed(kind, packed)
    assert caught.value.errno == errno.EFBIG


def test_a_file_that_is_too_large_or_none_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EFBIG for what is too large, EINVAL for what is no file, as finit_module(2) has it."""
    monkeypatch.setattr(module, "MOST", 100)
    file = tmp_path / "x.ko"
    file.write_bytes(image())
    assert looked(file, "no") == errno.EFBIG
    assert looked(tmp_path, "no") == errno.EINVAL
    reading, writing = os.pipe()
    with pytest.raises(Refused) as caught:
        begin(reading, "no")
    assert caught.value.errno == errno.EINVAL
    os.close(reading)
    with pytest.raises(Refused) as caught:
        begin(writing, "no")
    assert caught.value.errno in (errno.EINVAL, errno.EBADF)
    os.close(writing)
