"""Acting for targets where a mere copy of a call's arguments is not enough.

Each verb of a policy that is carried out here is a Python function too, with the same name and
the same parameters::

    @sup.on(MkNodAt)
    def made(call):
        return handlers.emulate_mknod(call, devices=["c:10:200"])

`ADDONS` are the modules that have them, for :meth:`unotify.Supervisor.add`; ``unotify run`` adds
them by itself. Whoever imports this package says that there are handlers for these verbs.
"""

from __future__ import annotations

from types import ModuleType
from typing import Final

from unotify.handlers import (
    clocks,
    devices,
    keyring,
    machine,
    modules,
    mounts,
    network,
    ownership,
    perf_events,
    programs,
    scheduling,
    sysinfo,
    unmounting,
    xattr,
)
from unotify.handlers.clocks import emulate_clock
from unotify.handlers.devices import emulate_mknod
from unotify.handlers.keyring import emulate_keyring
from unotify.handlers.machine import emulate_hostname, emulate_quota, emulate_reboot, emulate_swap
from unotify.handlers.modules import load_module
from unotify.handlers.mounts import emulate_mount
from unotify.handlers.network import host_socket
from unotify.handlers.ownership import fake_ownership
from unotify.handlers.perf_events import emulate_perf
from unotify.handlers.programs import emulate_device_programs
from unotify.handlers.scheduling import emulate_sched
from unotify.handlers.sysinfo import emulate_sysinfo
from unotify.handlers.unmounting import emulate_pivot_root, emulate_umount
from unotify.handlers.xattr import emulate_xattr
from unotify.policy.actions import ACTIONS, register
from unotify.supervisor.addons import verbs_of

__all__ = [
    "ADDONS",
    "emulate_clock",
    "emulate_device_programs",
    "emulate_hostname",
    "emulate_keyring",
    "emulate_mknod",
    "emulate_mount",
    "emulate_perf",
    "emulate_pivot_root",
    "emulate_quota",
    "emulate_reboot",
    "emulate_sched",
    "emulate_swap",
    "emulate_sysinfo",
    "emulate_umount",
    "emulate_xattr",
    "fake_ownership",
    "host_socket",
    "load_module",
]

ADDONS: Final[tuple[ModuleType, ...]] = (
    clocks,
    devices,
    keyring,
    machine,
    modules,
    mounts,
    network,
    ownership,
    perf_events,
    programs,
    scheduling,
    sysinfo,
    unmounting,
    xattr,
)
"""The modules whose functions carry out the verbs."""

for _addon in ADDONS:
    for _name, _function in verbs_of(_addon):
        register(ACTIONS[_name])
