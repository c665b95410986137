"""`emulate-umount` and `emulate-pivot-root`: what stays, and what goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.privileged.handlers_support import attempt, handled, open_to_all
from unotify.abi import tables
from unotify.kernel._libc import NATIVE

_NUMBER = tables.number("pivot_root", NATIVE)

_TREE = """
place = sys.argv[1]
os.chdir(place)
for name in ("keep", "free", "outer"):
    os.makedirs(name, exist_ok=True)
    assert mount("none", name, "tmpfs") == 0
os.mkdir("outer/inner")
assert mount("none", "outer/inner", "tmpfs") == 0
open("file", "w").close()
assert mount("/proc/self/status", "file", None, 0x1000) == 0
os.symlink("keep", "link")
def left():
    return sorted(shown[0][1:] for shown in mounts(place))
"""


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Path:
    return open_to_all(tmp_path)


@pytest.mark.parametrize("contain", ["contain()", "contain(0x20020000)"], ids=["user", "plain"])
def test_what_is_protected_stays(place: Path, contain: str) -> None:
    """By whatever path it is named; the errno of all else is the kernel's."""
    code = (
        contain
        + _TREE
        + """
os.chdir("keep")
found = [umount(path) for path in (f"{place}/keep", "../keep", ".", "../link", "/proc/self/cwd")]
os.chdir(place)
found.append([umount("link", 8), umount("keep", 2), umount("keep", 1), umount("keep", 4)])
found.append([umount("outer", 2), umount("outer/inner", 2)])
here = os.open("free", os.O_RDONLY)
found.append([umount("free"), umount("none"), umount("keep", 0x100)])
found.append([umount("."), umount(".", 2), umount("outer/..", 2)])
os.close(here)
found.append([umount("free"), umount("free"), umount("file")])
say([found, left()])
"""
    )
    rule = f'umount2: {{ emulate-umount = ["{place}/keep", "{place}/outer/inner", "{place}/no"] }}'
    with handled(rule) as (supervisor, notes):
        found, left = attempt(supervisor, code, place)
        assert notes.faults == []
    assert found == [
        *["EPERM"] * 5,
        ["EINVAL", "EPERM", "EPERM", "EPERM"],
        ["EPERM", "EPERM"],
        ["EBUSY", "ENOENT", "EINVAL"],
        # Nothing is mounted there, whatever is below it.
        ["EINVAL", "EINVAL", "EINVAL"],
        [0, "EINVAL", 0],
    ]
    assert left == ["keep", "outer", "outer/inner"]


def test_all_of_a_tree_goes_at_once(place: Path) -> None:
    """What is not protected may go with all that is below it; in another root too."""
    code = (
        "contain()"
        + _TREE
        + """
os.chroot(place)
os.chdir("/")
found = [umount("/outer"), umount("/keep"), umount("/outer", 2), umount("/")]
say(found)
"""
    )
    with handled(f'umount2: {{ emulate-umount = ["{place}/keep"] }}') as (supervisor, _):
        assert attempt(supervisor, code, place) == ["EBUSY", "EPERM", 0, "EINVAL"]


def test_who_may_unmount(place: Path) -> None:
    """Whoever may by the kernel's rules, in a namespace of one's own too; nobody without rights."""
    code = (
        "contain()"
        + _TREE
        + """
if not os.fork():
    assert libc.unshare(0x10020000) == 0
    libc.prctl(4, 1)
    for name, text in ("setgroups", "deny"), ("uid_map", "0 0 1"), ("gid_map", "0 0 1"):
        open(f"/proc/self/{name}", "w").write(text)
    made = mount("none", "free", "tmpfs")
    # What came along is locked, what was mounted in here is not; force is for the host's root.
    found = [made, umount("free", 1), umount("free"), umount("keep")]
    os._exit(found != [0, "EPERM", 0, "EINVAL"])
inner = os.waitstatus_to_exitcode(os.wait()[1])
os.setresuid(1, 1, 1)
say([inner, umount("free"), umount("none")])
"""
    )
    with handled('umount2: "emulate-umount"') as (supervisor, notes):
        found = attempt(supervisor, code, place)
        assert notes.faults == []
    assert found == [0, "EPERM", "ENOENT"]


def test_a_link_that_is_swapped(place: Path) -> None:
    """While a thread swaps a link, what is protected never goes."""
    code = (
        "contain()"
        + _TREE
        + """
going = True
def swap():
    while going:
        for name in ("free", "keep"):
            os.symlink(name, "new")
            os.rename("new", "link")
thread = threading.Thread(target=swap)
thread.start()
done = [umount("link", flags) for flags in (0, 2) * 100]
going = False
thread.join()
say([left(), sorted(set(done) - {0})])
"""
    )
    with handled(f'umount2: {{ emulate-umount = ["{place}/keep"] }}') as (supervisor, notes):
        left, wrong = attempt(supervisor, code, place)
        assert notes.faults == []
    assert "keep" in left
    assert "free" not in left
    assert set(wrong) <= {"EPERM", "EINVAL", "EBUSY", "ENOENT"}


def test_pivot_root(place: Path) -> None:
    """The root that was looked at is the one that the caller, and all its namespace, get."""
    code = (
        f"""
PIVOT_ROOT = ctypes.c_long({_NUMBER})"""
        + """
contain()
place = sys.argv[1]
os.chdir(place)
for name in ("new", "other"):
    os.mkdir(name)
    assert mount("none", name, "tmpfs") == 0
os.mkdir("new/old")
def pivot(new, old):
    done = libc.syscall(PIVOT_ROOT, new, old)
    return errno.errorcode[ctypes.get_errno()] if done else 0
found = [pivot(b"other", b"other"), pivot(b"new", b"none"), pivot(b"new", b"other"),
         pivot(b".", b"."), pivot(b"new", b"new/old")]
found += [os.listdir("/"), os.path.exists("/old/proc/self"), os.listdir(f"/old{place}")]
os.chdir("/")
found.append(umount("/old", 2))
found.append(os.listdir("/old"))
say(found)
"""
    )
    rules = (
        f"pivot_root: \"emulate-pivot-root\" if resolved(new_root) == '{place}/new'",
        'pivot_root: { fail = "EACCES" }',
    )
    with handled(*rules) as (supervisor, notes):
        found = attempt(supervisor, code, place)
        assert notes.faults == []
    assert found == [
        *("EACCES", "ENOENT", "EINVAL", "EACCES", 0, ["old"], True),
        *(["new", "other"], 0, []),
    ]


def test_pivot_root_onto_itself(place: Path) -> None:
    """As container runtimes do it: to where they are, and the old root is unmounted from there."""
    code = (
        f"""
PIVOT_ROOT = ctypes.c_long({_NUMBER})"""
        + """
contain()
os.mkdir(f"{sys.argv[1]}/new")
assert mount("none", f"{sys.argv[1]}/new", "tmpfs") == 0
os.chdir(f"{sys.argv[1]}/new")
done = libc.syscall(PIVOT_ROOT, b".", b".")
found = [done, umount(".", 2)]
os.chdir("/")
say([*found, os.listdir("/")])
"""
    )
    rules = ('pivot_root: "emulate-pivot-root"', 'umount2: "emulate-umount"')
    with handled(*rules) as (supervisor, notes):
        assert attempt(supervisor, code, place) == [0, 0, []]
        assert notes.faults == []


@pytest.mark.parametrize("how", ["renamed", "replaced", "covered", "above", "pivoted"])
def test_what_is_protected_stays_wherever_it_goes(place: Path, how: str) -> None:
    """Neither a rename nor another mount in its place gets it unmounted; what is new goes."""
    code = (
        "contain()"
        + """
place, how = sys.argv[1:]
os.chdir(place)
os.makedirs("data/in/keep it")
assert mount("none", "data/in/keep it", "tmpfs") == 0
held = os.open("data/in/keep it", os.O_RDONLY)
os.makedirs("mine/keep it")
found = []
if how == "covered":
    assert mount("none", "data", "tmpfs") == 0
    os.fchdir(held)
    found += [umount("."), umount(".", 2), umount(f"{place}/data")]
elif how == "above":
    assert mount("none", "mine", "tmpfs") == 0
    os.mkdir("mine/below")
    assert mount("data", "mine/below", None, 0x5000) == 0
    os.close(held)
    os.rename("data", "other")
    found += [umount("mine", 2), umount("other/in/keep it", 2), umount("other/in/keep it")]
    os.chdir("/")
    found += [umount(f"{place}/mine/below/in/keep it")]
elif how == "pivoted":
    os.makedirs("new/old")
    assert mount("none", "new", "tmpfs") == 0
    os.mkdir("new/old")
    assert libc.syscall(int(NUMBER), b"new", b"new/old") == 0
    os.chdir("/")
    os.close(held)
    found += [umount(f"/old{place}/data/in/keep it", 2), umount("/old", 2)]
else:
    os.close(held)
    os.rename("data", "other")
    if how == "replaced":
        os.makedirs("data/in/keep it")
        assert mount("none", "data/in/keep it", "tmpfs") == 0
        assert mount("none", "mine/keep it", "tmpfs") == 0
        found += [umount("data/in/keep it"), umount("mine/keep it")]
    found += [umount("other/in/keep it"), umount("other/in/keep it", 2)]
say(found)
""".replace("NUMBER", str(_NUMBER))
    )
    with handled(f'umount2: {{ emulate-umount = ["{place}/data/in/keep it"] }}') as (
        supervisor,
        notes,
    ):
        found = attempt(supervisor, code, place, how)
        assert notes.faults == []
    assert (
        found
        == {
            "renamed": ["EPERM", "EPERM"],
            "replaced": ["EPERM", 0, "EPERM", "EPERM"],
            "covered": ["EPERM", "EPERM", 0],
            "above": ["EPERM", "EPERM", "EPERM", "EPERM"],
            "pivoted": ["EPERM", "EPERM"],
        }[how]
    )
