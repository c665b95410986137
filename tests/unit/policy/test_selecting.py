"""Which calls a list names."""

from __future__ import annotations

import pytest

from unotify.abi import model, tables
from unotify.abi.arch import Arch
from unotify.errors import PolicyError, UnknownName
from unotify.policy.groups import GROUPS
from unotify.policy.selecting import _ALIASES, Selector, expand


def test_names_groups_and_patterns() -> None:
    """Names, groups and patterns add up."""
    assert expand(["open"]) == {"open": None}
    assert expand(["+open", "@bpf"]) == {"bpf": None, "open": None}
    assert expand(["@mount"]).keys() == GROUPS["@mount"].calls
    assert expand(["*"]).keys() == set(model.names())
    assert expand(["open*"]).keys() == {name for name in model.names() if name.startswith("open")}
    assert expand(["*xattr*"]).keys() == GROUPS["@xattr"].calls


def test_order_decides() -> None:
    """What comes later is added to, or taken from, what came before."""
    assert "mount" not in expand(["@file-system", "@mount", "-@mount"])
    assert "mount" in expand(["@mount", "-@mount", "mount"])
    assert expand(["open", "-open"]) == {}
    assert expand(["-open"]) == {}


def test_single_architectures() -> None:
    """A call may be meant on one architecture only, or on all but one."""
    assert expand(["open@x86_64"]) == {"open": {Arch.X86_64}}
    assert expand(["open@x86_64", "open@i386"]) == {"open": {Arch.X86_64, Arch.I386}}
    assert expand(["open@x86_64", "open"]) == {"open": None}
    assert expand(["open", "-open@x86_64"]) == {"open": set(Arch) - {Arch.X86_64}}
    assert expand(["open@i386", "-open@i386"]) == {}
    assert expand(["@bpf@i386"]) == {"bpf": {Arch.I386}}
    assert expand(["ope*@i386", "-openat*", "-open_*"]) == {"open": {Arch.I386}}


def test_own_sets() -> None:
    """Sets hold what a list holds, other sets too, and know who asked for them."""
    sets = {"a": ["open", "@b", "-creat"], "b": ["creat", "read"], "c": [1]}
    assert expand(["@a"], sets) == {"open": None, "read": None}
    assert expand(["@a@i386"], sets)["read"] == {Arch.I386}
    selector = Selector(sets)
    selector.item("@a")
    assert selector.used == {"a", "b"}


@pytest.mark.parametrize(
    ("item", "message", "hint"),
    [
        ("opnat", "no system call is named 'opnat'", "did you mean openat?"),
        ("qqqqq", "no system call is named 'qqqqq'", "'unotify calls' lists all"),
        ("mine", "no system call is named 'mine'", '"@mine"'),
        ("mount-api", "no system call is named 'mount-api'", '"@mount-api"'),
        ("@mout", "no group or set is named '@mout'", "did you mean @mount?"),
        ("@mime", "no group or set is named '@mime'", "did you mean @mine?"),
        ("open@amd64", "no architecture is named 'amd64'", None),
        ("open@aarch46", "no architecture is named 'aarch46'", "did you mean aarch64?"),
        ("zz*", "no call matches 'zz*'", None),
        ("open at", "'open at' is not the name of a call", None),
        ("", "'' is not the name of a call", None),
        ("@", "'@' is not the name of a call", None),
        ("--open", "'--open' is not the name of a call", None),
        ("@num", "17 is not the name of a call, in the set 'num'", None),
        ("@loop", "the set 'loop' holds itself, in the set 'loop'", None),
        ("@arch", "'open@i386' is about one architecture, in the set 'arch'", '"@arch@i386"'),
    ],
)
def test_what_is_no_call(item: str, message: str, hint: str | None) -> None:
    """A wrong item is told with the nearest right one, or where to look."""
    sets = {"mine": ["open"], "num": [17], "loop": ["@loop2"], "loop2": ["@loop"]}
    with pytest.raises(PolicyError) as caught:
        expand([item], {**sets, "arch": ["open@i386"]})
    assert str(caught.value) == message
    assert hint is None or hint in (caught.value.hint or "")
    assert isinstance(caught.value, UnknownName) == ("no " in message.split("is")[0])


def test_other_names_of_a_call() -> None:
    """A name that stands for another call's number on some architecture names that call there."""
    found = {
        (name, tables.names(arch)[nr], arch)
        for arch in Arch
        for name, nr in tables.numbers(arch).items()
        if tables.names(arch)[nr] != name
    }
    assert found == set(_ALIASES)
    assert expand(["sync_file_range2"])["arm_sync_file_range"] == {Arch.ARM}
