"""`examples/policies/container-files.toml` at work in a container."""

from __future__ import annotations

from pathlib import Path

from tests.privileged.handlers_support import attempt, open_to_all
from tests.privileged.loop_support import image, loop
from unotify import Supervisor
from unotify.handlers import ADDONS

POLICY = Path(__file__).parents[2] / "examples/policies/container-files.toml"


def test_container_files(tmp_path: Path) -> None:
    """Listed nodes and disks are there, others are not; what the container was given stays."""
    (tmp_path / "mnt").mkdir()
    open_to_all(tmp_path)
    code = """
contain()
place, device = sys.argv[1:]
os.chdir(place)
found = [tried(os.mknod, "null", stat.S_IFCHR | 0o666, os.makedev(1, 3)),
         tried(os.mknod, "mem", stat.S_IFCHR | 0o666, os.makedev(1, 1))]
found += [mount(device, "mnt", "ext4"), open("mnt/hello").read(), umount("mnt")]
found += [mount("x", "mnt", "tmpfs", 0, "size=1g"), os.statvfs("mnt").f_blocks << 12]
found += [mount(device, "mnt", "xfs"), mount("mnt", "mnt", None, 0x1000)]
found += [umount("mnt"), umount("/proc", 2), umount("/proc/self/root/proc", 2)]
say(found)
"""
    with loop(image(tmp_path)) as device, Supervisor(policy=POLICY) as supervisor:
        supervisor.add(*ADDONS)
        found = attempt(supervisor, code, tmp_path, device)
        assert supervisor.statistics().faults == 0
    assert found == [
        *(0, "EPERM", 0, "hello\n", 0, 0, 256 << 20, "EPERM", 0, 0, "EPERM", "EPERM"),
    ]
