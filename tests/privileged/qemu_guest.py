"""The first process of a machine in QEMU: modules are asked for in a container, and loaded."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

sys.path[:0] = ["/unotify", "/"]
libc = ctypes.CDLL(None, use_errno=True)

CODE = """
contain()
os.chdir("/images")
def finit(name, flags=0):
    fd = os.open(name, os.O_RDONLY)
    try:
        return called(313, fd, b"", flags)
    finally:
        os.close(fd)
data = open("nlmon.ko", "rb").read()
say([finit("dummy.ko"), finit("dummy.ko"), finit("dummy.ko.xz", 4),
     finit("bridge.ko"), finit("nowhere.ko"),
     called(175, data, len(data), b""), called(176, b"dummy", 0),
     *(os.system(f"/sbin/modprobe {name} 2>/dev/null") for name in ("ifb", "bridge"))])
"""


CLOCK = """
contain()
say(called(227, 0, struct.pack("qq", 1_000_000_000, 0)))
"""


def attempt(supervisor: Any, code: str) -> Any:
    """What the program says; there is time."""
    from tests.privileged.handlers_support import start

    process = start(supervisor, code)
    output, _ = process.communicate(timeout=800)
    assert process.returncode == 0, process.returncode
    return json.loads(output)


def tell() -> dict[str, Any]:
    """Run the program, and say what became of it."""
    from tests.privileged.handlers_support import handled
    from unotify.handlers import modules

    modules._LOOK_SECONDS = modules._LOAD_SECONDS = 300.0  # this machine is a slow one
    rule = "init_module finit_module delete_module: { load-module = "
    rule += '["dummy", "nlmon", "ifb", "nowhere"] }'
    before = os.path.exists("/sys/module/dummy")
    clock = 'clock_settime: { emulate-clock = "host" }'
    with handled(rule, clock) as (supervisor, notes):
        found = attempt(supervisor, CODE)
        clock_set = attempt(supervisor, CLOCK), time.time()
    return {
        "before": before,
        "found": found,
        "clock": clock_set,
        "faults": [str(fault) for fault in notes.faults],
        "modules": sorted(
            line.split()[0] for line in Path("/proc/modules").read_text().splitlines()
        ),
        "interfaces": sorted(os.listdir("/sys/class/net")),
        "kernel": os.uname().release,
    }


def main() -> None:
    """Mount what is needed, tell, and switch the machine off."""
    for kind, where in (
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("tmpfs", "/tmp"),
    ):
        os.makedirs(where, exist_ok=True)
        libc.mount(kind.encode(), where.encode(), kind.encode(), 0, None)
    console = os.open("/dev/console", os.O_RDWR)
    for fd in range(3):
        os.dup2(console, fd)
    subprocess.run(["/sbin/modprobe", "--version"], check=True, stdout=subprocess.DEVNULL)
    try:
        told = tell()
    except BaseException:
        told = {"error": traceback.format_exc()}
    print(f"\nTOLD {json.dumps(told)}", flush=True)
    libc.sync()
    libc.reboot(0x4321FEDC)


if __name__ == "__main__":
    main()
