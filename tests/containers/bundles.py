"""Bundles for container runtimes: a busybox and what it is to run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BUSYBOX = "/bin/busybox"


def bundle(
    directory: Path, socket: Path, args: Sequence[str], notify: Sequence[str], **seccomp: Any
) -> Path:
    """Make a bundle whose container runs *args*, and whose profile notifies of some calls."""
    root = directory / "rootfs"
    for name in ("bin", "proc", "sys", "dev", "tmp", "etc"):
        (root / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, root / "bin")
    names = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True)
    for name in names.stdout.split():
        if name != "busybox":
            os.symlink("busybox", root / "bin" / name)
    subprocess.run(["runc", "spec"], cwd=directory, check=True)
    file = directory / "config.json"
    config = json.loads(file.read_text())
    config["process"] |= {"terminal": False, "args": list(args)}
    config["process"].pop("rlimits", None)
    config["root"]["readonly"] = False
    config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(socket),
        "syscalls": [{"names": list(notify), "action": "SCMP_ACT_NOTIFY"}],
    } | seccomp
    file.write_text(json.dumps(config))
    return directory
