"""What a call asks for, as the act that the supervisor would make."""

from __future__ import annotations

import errno
import struct
from typing import Any

import pytest

from tests.unit.calls.fake_memory import FakeCaller, make_call
from unotify.abi import model, tables
from unotify.abi.arch import Arch
from unotify.abi.types import Address
from unotify.calls.acts import Act, act_of, performable, plan, writes
from unotify.calls.lookups import Spot
from unotify.errors import BadAddress, NotExpressible, Refused, TargetError

PATH, OTHER, DATA, ROOM = 0x1000, 0x2000, 0x3000, 0x4000
MEMORY = {PATH: b"a/b\0", OTHER: b"c\0"}
CWD = -100
ABIS = (Arch.X86_64, Arch.I386)


def planned(
    name: str, *args: int, arch: Arch = Arch.X86_64, data: bytes = b"", **replaced: Any
) -> Act:
    """The act of a call."""
    memory = MEMORY | ({DATA: data} if data else {})
    return plan(make_call(name, *args, arch=arch, memory=memory), replaced)


def refused(name: str, *args: int, **options: Any) -> int:
    """The errno that it is refused with."""
    with pytest.raises(Refused) as caught:
        planned(name, *args, **options)
    return caught.value.errno


@pytest.mark.parametrize("call", performable())
def test_each_is_of_the_model(call: str) -> None:
    """What can be performed, and what it is done by, are calls that the model knows."""
    act = act_of(call)
    assert act is not None
    for name in (call, act):
        assert name in model.names()
    own = {arg.name for arg in model.spec(call).args}
    named = {arg.name for arg in model.spec(act).args if arg.role is model.Role.FD}
    assert named <= own


class Everywhere(FakeCaller):
    """Something is mapped at each address."""

    def read(self, address: Address, length: int) -> bytes:
        """Zeros."""
        return bytes(length)

    def read_string(self, address: Address, limit: int) -> bytes:
        """A path, or a name."""
        return b"name"


@pytest.mark.parametrize("arch", list(Arch), ids=lambda arch: arch.label)
def test_each_is_planned_or_refused_on_each_abi(arch: Arch) -> None:
    """On each ABI what can be performed becomes an act, or is refused with a reason."""
    planned_there, refusals = set(), []
    for name in performable():
        if tables.number(name, arch) is None:
            continue
        call = make_call(name, *[0x1000] * 6, arch=arch, caller=Everywhere())
        try:
            planned_there.add(plan(call).name)
        except (TargetError, NotExpressible) as error:
            refusals.append(str(error))
    assert all(refusals)
    assert {"mkdirat", "sendmsg"} <= planned_there


@pytest.mark.parametrize("call", ["execve", "mount", "read", "close", "getpid"])
def test_what_is_no_act(call: str) -> None:
    """Other calls cannot be done for somebody else."""
    assert act_of(call) is None
    with pytest.raises(NotExpressible, match=f"^{call} cannot be performed"):
        planned(call)


PATH_SPOT = Spot(b"a/b")
NAME = Spot(b"a/b", follow=False, parent=True)


@pytest.mark.parametrize("arch", ABIS, ids=lambda arch: arch.label)
@pytest.mark.parametrize(
    ("name", "args", "act", "values", "spots"),
    [
        (
            "open",
            (PATH, 0o101, 0o107777),
            "openat",
            {"flags": 0o101, "mode": 0o7777},
            {"path": PATH_SPOT},
        ),
        ("open", (PATH, 0, 0o666), "openat", {"flags": 0, "mode": 0}, {"path": PATH_SPOT}),
        ("creat", (PATH, 0o640), "openat", {"flags": 0o1101, "mode": 0o640}, {"path": PATH_SPOT}),
        ("mkdir", (PATH, 0o755), "mkdirat", {"mode": 0o755}, {"path": NAME}),
        ("mknod", (PATH, 0o20600, 259), "mknodat", {"mode": 0o20600, "dev": 259}, {"path": NAME}),
        ("unlink", (PATH,), "unlinkat", {"flags": 0}, {"path": NAME}),
        ("rmdir", (PATH,), "unlinkat", {"flags": 0x200}, {"path": NAME}),
        (
            "unlinkat",
            (5, PATH, 0x200),
            "unlinkat",
            {"flags": 0x200},
            {"path": NAME._replace(dirfd=5)},
        ),
        ("chmod", (PATH, 0o600), "fchmodat2", {"mode": 0o600, "flags": 0}, {"path": PATH_SPOT}),
        ("truncate", (PATH, 7), "truncate", {"length": 7}, {"path": PATH_SPOT}),
        ("access", (PATH, 4), "faccessat2", {"mode": 4, "flags": 0}, {"path": PATH_SPOT}),
        ("symlink", (OTHER, PATH), "symlinkat", {"target": b"c"}, {"linkpath": NAME}),
        ("utime", (PATH, 0), "utimensat", {"times": None, "flags": 0}, {"path": PATH_SPOT}),
    ],
)
def test_one_act_has_many_spellings(
    arch: Arch,
    name: str,
    args: tuple[int, ...],
    act: str,
    values: dict[str, Any],
    spots: dict[str, Spot],
) -> None:
    """Missing flags are none, fixed ones are there, and a path begins where it should."""
    found = planned(name, *args, arch=arch)
    assert (found.name, found.call, dict(found.values), dict(found.spots)) == (
        act,
        name,
        values,
        spots,
    )


@pytest.mark.parametrize("name", ["rename", "renameat", "renameat2", "link", "linkat"])
def test_two_paths(name: str) -> None:
    """Each has its own start; an older spelling has none."""
    at = name.endswith(("at", "at2"))
    found = planned(name, *((3, PATH, 4, OTHER, 0) if at else (PATH, OTHER)))
    old, new = found.spots["oldpath"], found.spots["newpath"]
    assert (old.path, new.path) == (b"a/b", b"c")
    assert (old.dirfd, new.dirfd) == ((3, 4) if at else (CWD, CWD))
    assert (old.parent, new.parent, old.follow) == (True, True, False)


@pytest.mark.parametrize(
    ("name", "args", "kept"),
    [
        ("fchownat", (CWD, PATH, 1, 2, 0x1100), 0),
        ("linkat", (CWD, PATH, CWD, OTHER, 0x1400), 0x400),
        ("renameat2", (CWD, PATH, CWD, OTHER, 5), 5),
        ("newfstatat", (CWD, PATH, ROOM, 0x900), 0x800),
        ("faccessat2", (CWD, PATH, 0, 0x1300), 0x200),
        ("setxattr", (PATH, OTHER, 0, 0, 2), 2),
    ],
)
def test_flags_of_the_look_up_are_in_the_spot(name: str, args: tuple[int, ...], kept: int) -> None:
    """What says how to look up was heard already; all other flags are passed on, right or wrong."""
    assert planned(name, *args).values["flags"] == kept


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("newfstatat", (CWD, PATH, ROOM, 0x8000)),
        ("statx", (CWD, PATH, 0x8000, 0x7FF, ROOM)),
        ("utimensat", (5, 0, 0, 0x100)),
    ],
)
def test_flags_that_a_pinned_path_would_hide(name: str, args: tuple[int, ...]) -> None:
    """They are EINVAL, as the kernel says of a path but not of a descriptor."""
    assert refused(name, *args) == errno.EINVAL


@pytest.mark.parametrize("arch", ABIS, ids=lambda arch: arch.label)
def test_owners(arch: Arch) -> None:
    """-1 means no change, also in the 16 bits of old ids."""
    names = ("chown", "lchown", *(("chown32", "lchown32") if arch is Arch.I386 else ()))
    for name in names:
        found = planned(name, PATH, -1, 7, arch=arch)
        assert found.values["owner"] == 0xFFFFFFFF
        assert found.values["group"] == 7
        assert found.spots["path"].follow == (not name.startswith("l"))
    assert planned("fchown", 5, 0xFFFF, -1, arch=arch).values["owner"] == (
        0xFFFFFFFF if arch is Arch.I386 else 0xFFFF
    )


def test_times() -> None:
    """They are copied, as two timespecs; none at all means now."""
    data = struct.pack("<qq", 5, 6)
    assert planned("utime", PATH, DATA, data=data).values["times"] == struct.pack("<4q", 5, 0, 6, 0)
    assert planned("utime", PATH, 0).values["times"] is None


@pytest.mark.parametrize(
    ("flags", "creates", "cloexec"),
    [
        (0, False, False),
        (0o100, True, False),
        (0o20200000, True, False),
        (0o200000, False, False),
        (0o2000000, False, True),
    ],
)
def test_what_an_open_makes(flags: int, creates: bool, cloexec: bool) -> None:
    """The umask matters for O_CREAT and O_TMPFILE, and for no O_DIRECTORY."""
    found = planned("openat", 3, PATH, flags, 0o644)
    assert (found.creates, found.cloexec, found.returns_fd) == (creates, cloexec, True)


def test_o_path_beats_all_else() -> None:
    """open(2) drops the flags that mean nothing with it."""
    assert planned("open", PATH, 0o10000000 | 0o1101 | 0o200000).values["flags"] == 0o10200000


def test_a_32_bit_open_is_of_small_files() -> None:
    """Unless O_LARGEFILE is given; openat2(2) and 64-bit programs have it always."""
    assert planned("open", PATH, 0, arch=Arch.I386).small
    assert planned("openat", CWD, PATH, 0, arch=Arch.I386).small
    assert not planned("open", PATH, 0o100000, arch=Arch.I386).small
    assert not planned("creat", PATH, 0, arch=Arch.I386).small
    assert not planned("open", PATH, 0).small


def how(*fields: int) -> bytes:
    """A struct open_how, or a longer one."""
    return struct.pack(f"<{len(fields)}Q", *fields)


def test_openat2() -> None:
    """Flags, mode and RESOLVE_* come from memory; what is not known is E2BIG, too little EINVAL."""
    found = planned("openat2", 3, PATH, DATA, 24, data=how(0o100, 0o600, 0x10))
    assert dict(found.values) == {"flags": 0o100, "mode": 0o600}
    assert found.spots["path"] == Spot(b"a/b", 3, resolve=0x10)
    assert refused("openat2", 3, PATH, DATA, 32, data=how(0, 0, 0, 1)) == errno.E2BIG
    assert refused("openat2", 3, PATH, DATA, 16, data=how(0, 0, 0)) == errno.EINVAL


def test_real_ids() -> None:
    """access(2) asks about them; AT_EACCESS about the effective ones."""
    assert planned("access", PATH, 4).real_ids
    assert planned("faccessat", CWD, PATH, 4).real_ids
    assert not planned("faccessat2", CWD, PATH, 4, 0x200).real_ids


@pytest.mark.parametrize(
    "name",
    [
        "stat",
        "lstat",
        "fstat",
        "newfstatat",
        "statx",
        "statfs",
        "readlink",
        "getxattr",
        "listxattr",
        "flistxattr",
        "sendmmsg",
        "getxattrat",
    ],
)
def test_what_is_answered_in_memory(name: str) -> None:
    """It is known before anything is done."""
    assert writes(name)
    assert not writes("openat")
    assert not writes("sendmsg")


def test_answers() -> None:
    """Where each goes, and how much room there is; no more than any name or attribute has."""
    found = planned("stat", PATH, ROOM)
    assert (found.outs["statbuf"].address, found.outs["statbuf"].size) == (ROOM, 144)
    assert planned("readlink", PATH, ROOM, 9).outs["buf"].size == 9
    assert planned("getxattr", PATH, OTHER, ROOM, 1 << 40).outs["value"].size == 1 << 16
    assert refused("readlink", PATH, ROOM, -1) == errno.EINVAL
    assert planned("statfs64", PATH, 84, ROOM, arch=Arch.I386).outs["buf"].size == 120
    assert refused("statfs64", PATH, 88, ROOM, arch=Arch.I386) == errno.EINVAL


def test_descriptors_stay_numbers_of_the_target() -> None:
    """Somebody else takes them."""
    assert dict(planned("fchmod", 5, 0o600).fds) == {"fd": 5}
    assert dict(planned("ftruncate64", 5, 1, 2, arch=Arch.I386).values) == {"length": 1 | 2 << 32}


def test_attributes() -> None:
    """The newest spelling has its value in a struct; an old one in arguments."""
    found = planned("lsetxattr", PATH, OTHER, DATA, 3, 1, data=b"xyz")
    assert dict(found.values) == {"name": b"c", "value": b"xyz", "size": 3, "flags": 1}
    assert not found.spots["path"].follow
    args = struct.pack("<QII", ROOM, 8, 0)
    found = planned("getxattrat", 5, PATH, 0x100, OTHER, DATA, 16, data=args)
    assert (found.name, found.outs["value"].address, found.outs["value"].size) == (
        "getxattr",
        ROOM,
        8,
    )
    assert found.spots["path"] == Spot(b"a/b", 5, follow=False)
    args = struct.pack("<QII", PATH, 3, 2)
    found = planned("setxattrat", CWD, PATH, 0, OTHER, DATA, 16, data=args)
    assert dict(found.values) == {"name": b"c", "value": b"a/b", "size": 3, "flags": 2}
    assert planned("removexattrat", CWD, PATH, 0, OTHER).values["name"] == b"c"
    assert planned("listxattrat", CWD, PATH, 0, ROOM, 8).outs["list"].size == 8


@pytest.mark.parametrize(
    ("name", "args", "data", "number"),
    [
        ("getxattrat", (CWD, PATH, 0x2, OTHER, DATA, 16), (ROOM, 8, 0), errno.EINVAL),
        ("getxattrat", (CWD, PATH, 0, OTHER, DATA, 16), (ROOM, 8, 1), errno.EINVAL),
        ("setxattrat", (CWD, PATH, 0, OTHER, DATA, 16), (ROOM, 1 << 17, 0), errno.E2BIG),
        ("listxattrat", (CWD, PATH, 0x400, ROOM, 8), (0, 0, 0), errno.EINVAL),
    ],
)
def test_attributes_that_are_wrong(
    name: str, args: tuple[int, ...], data: tuple[int, ...], number: int
) -> None:
    """As the kernel says."""
    assert refused(name, *args, data=struct.pack("<QII", *data)) == number


INET = struct.pack("<H", 2) + struct.pack(">H4s8x", 80, bytes([127, 0, 0, 1]))


def test_addresses() -> None:
    """Their bytes are passed on as they are, too short ones too: the kernel knows what to say."""
    assert planned("connect", 5, DATA, 16, data=INET).values == {"address": INET}
    assert planned("bind", 5, DATA, 3, data=INET).values == {"address": INET[:3]}
    assert refused("connect", 5, DATA, 129, data=INET) == errno.EINVAL
    with pytest.raises(BadAddress):
        planned("connect", 5, 8, 16)


def test_replaced_arguments() -> None:
    """A path keeps its start and its rules; an address is bytes, or made of what was given."""
    found = planned("openat", 3, PATH, 0o400000, 0, path=b"/x")
    assert found.spots["path"] == Spot(b"/x", 3, follow=False)
    assert planned("connect", 5, DATA, 16, data=INET, address=b"new").values == {"address": b"new"}
    found = planned("connect", 5, DATA, 16, data=INET, address=lambda raw: raw[:4])
    assert found.values == {"address": INET[:4]}


def test_messages_with_other_addresses() -> None:
    """What goes to a connected socket has no address that could be another."""
    args = (5, PATH, 3, 0, DATA, 16)
    (message,) = planned("sendto", *args, data=INET, address=lambda raw: raw[::-1]).messages
    assert (message.data, message.address) == (b"a/b", INET[::-1])
    (message,) = planned("sendto", 5, PATH, 3, 0, 0, 0, address=b"new").messages
    assert message.address == b""


def test_what_cannot_be_read() -> None:
    """A path that is not there is EFAULT, before anything is done."""
    for name, args in (("mkdir", (8, 0)), ("openat", (CWD, 0, 0)), ("utimensat", (CWD, 0, 0, 0))):
        with pytest.raises(BadAddress):
            planned(name, *args)
