"""Limits and usage of control groups, from files as the kernel writes them."""

from __future__ import annotations

from pathlib import Path

from unotify.handlers.cgroups import Hierarchies, Usage, parsed

MOUNTS = """\
23 28 0:21 / /proc rw,relatime - proc proc rw
30 29 0:26 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
31 29 0:27 / /sys/fs/cgroup/memory rw,relatime shared:10 - cgroup cgroup rw,memory
32 29 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 29 0:29 /part /mnt/part rw - cgroup cgroup rw,pids
"""


def files(root: Path, **contents: str) -> None:
    """Write the files of one control group."""
    root.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (root / name.replace("__", ".")).write_text(content)


def test_where_they_are_mounted() -> None:
    """Whole hierarchies count; a part of one that is mounted somewhere does not."""
    found = parsed(iter(MOUNTS.splitlines()))
    assert found.unified == "/sys/fs/cgroup/unified"
    assert found.by_controller["memory"] == "/sys/fs/cgroup/memory"
    assert found.by_controller["cpuacct"] == "/sys/fs/cgroup/cpu,cpuacct"
    assert "pids" not in found.by_controller


def test_the_least_limit_of_all_ancestors_counts(tmp_path: Path) -> None:
    """Version 2: "max" is no limit; a lower one above holds for all below."""
    files(tmp_path / "a", memory__max="1000\n", memory__swap__max="max\n")
    files(tmp_path / "a/b", memory__max="500\n", memory__swap__max="70\n")
    files(
        tmp_path / "a/b/c",
        memory__max="max\n",
        memory__current="400\n",
        memory__stat="anon 10\nfile 30\nshmem 7\n",
        memory__swap__max="max\n",
        memory__swap__current="5\n",
        pids__current="3\n",
    )
    found = Hierarchies(str(tmp_path), {}).usage({"": "/a/b/c"})
    assert found == Usage(500, 400, 30, 7, 70, 5, 3)


def test_version_1(tmp_path: Path) -> None:
    """Swap is what memory and swap together may have more than memory; no limit is a huge one."""
    memory, pids = tmp_path / "memory", tmp_path / "pids"
    files(memory / "a", memory__limit_in_bytes="9223372036854771712\n")
    files(
        memory / "a/b",
        memory__limit_in_bytes="500\n",
        memory__memsw__limit_in_bytes="800\n",
        memory__usage_in_bytes="400\n",
        memory__memsw__usage_in_bytes="410\n",
        memory__stat="cache 1\ntotal_cache 30\ntotal_shmem 7\n",
    )
    files(pids / "x", pids__current="9\n")
    found = Hierarchies("", {"memory": str(memory), "pids": str(pids)}).usage(
        {"memory": "/a/b", "pids": "/x", "": "/"}
    )
    assert found == Usage(500, 400, 30, 7, 300, 10, 9)


def test_without_a_group_nothing_is_known(tmp_path: Path) -> None:
    """The root is the whole machine, and what lies outside of our namespace cannot be seen."""
    hierarchies = Hierarchies(str(tmp_path), {"memory": str(tmp_path)})
    for path in ("/", "/../other", "/gone"):
        assert hierarchies.usage({"": path}) == Usage()
        assert hierarchies.usage({"memory": path}) == Usage()
