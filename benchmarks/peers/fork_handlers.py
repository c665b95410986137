"""Handlers for ``unotify agent`` that start a process for each call, as other managers do.

The environment's ``UNOTIFY_FORK_HELPER`` is the program.
"""

from __future__ import annotations

import os
import subprocess

from unotify import Fail, Reply, Return, on
from unotify.calls import Mknod, MknodAt, Mount

HELPER = os.environ["UNOTIFY_FORK_HELPER"]


def answer(call: Mknod | MknodAt | Mount, *args: str) -> Reply:
    """Let the helper make the call."""
    done = subprocess.run([HELPER, str(call.caller.pid), *args], check=False)
    return Fail(done.returncode) if done.returncode else Return(0)


@on(Mknod, MknodAt)
def mknod(call: Mknod | MknodAt) -> Reply:
    """Make a node."""
    return answer(call, "mknod", str(call.path), str(int(call.mode)), str(int(call.dev)))


@on(Mount)
def mount(call: Mount) -> Reply:
    """Bind one directory over another."""
    return answer(call, "bind", str(call.source), str(call.target))
