"""The verbs of `unotify.handlers` that are about the system as a whole.

As in `unotify.policy.handled`, only what they may be given.
"""

from __future__ import annotations

from typing import Final

from unotify.policy import host_sockets
from unotify.policy.action import Action, Parameter, only

__all__ = ["SYSTEM"]

_XATTR: Final = (
    *("setxattr", "lsetxattr", "fsetxattr", "setxattrat"),
    *("getxattr", "lgetxattr", "fgetxattr", "getxattrat"),
    *("removexattr", "lremovexattr", "fremovexattr", "removexattrat"),
)

_CLOCKS: Final = (
    *("clock_settime", "clock_settime64", "settimeofday", "stime"),
    *("clock_adjtime", "clock_adjtime64", "adjtimex"),
)

SYSTEM: Final[tuple[Action, ...]] = (
    Action(
        "load-module",
        "load the host's own module of that name; delete_module is refused",
        {
            "modules": Parameter(
                "strings",
                "the names that may be loaded, with * for any part of one",
                example="br_netfilter",
                pattern="[A-Za-z0-9_*-]{1,55}",
                wants="names of modules",
            ),
            "command": Parameter("strings", "what loads one, given its name; modprobe by default"),
            "parameters": Parameter("strings", "what may be given as parameters of a module"),
        },
        main="modules",
        one_of=("modules",),
        refuses=only("init_module", "finit_module", "delete_module"),
    ),
    Action(
        "emulate-sysinfo",
        "answer with the limits of the caller's control group",
        refuses=only("sysinfo"),
    ),
    Action(
        "emulate-xattr",
        "set, read and remove the trusted.* attributes that are listed",
        {
            "names": Parameter(
                "strings",
                "the attributes, with * for any part of a name, or NAME=VALUE for one value; "
                "trusted.overlay.* by default",
                example="trusted.overlay.opaque=y",
                pattern=r"trusted\..+",
                wants="names that begin with trusted.",
            )
        },
        main="names",
        refuses=only(*_XATTR),
    ),
    Action(
        "emulate-sched",
        "set how threads of the container are scheduled",
        {
            "policies": Parameter(
                "strings",
                "the policies that may be set; other, batch and idle by default",
                example="rr",
                pattern="other|fifo|rr|batch|idle",
                wants="other, fifo, rr, batch or idle",
            ),
            "priority": Parameter(
                "integer", "the highest real-time priority; 1 by default", least=1, most=99
            ),
            "nice": Parameter("integer", "the lowest nice value; 0 by default", least=-20, most=19),
            "io": Parameter(
                "strings",
                "the classes of I/O that may be set; none, best-effort and idle by default",
                example="best-effort",
                pattern="none|realtime|best-effort|idle",
                wants="none, realtime, best-effort or idle",
            ),
        },
        refuses=only(
            *("sched_setscheduler", "sched_setparam", "sched_setattr", "setpriority", "ioprio_set")
        ),
        # Of groups and users the kernel decides.
        concerns=lambda call, given: {
            "setpriority": "which == PRIO_PROCESS",
            "ioprio_set": "which == IOPRIO_WHO_PROCESS",
        }.get(call),
    ),
    Action(
        "host-socket",
        "connect, bind and send on the host's network",
        {
            "to": Parameter(
                "strings",
                "what may be reached: IP, IP/BITS, either with :PORT or :PORT-PORT",
                example="10.0.0.0/8:443",
            ),
            "map": Parameter(
                "strings",
                "what is reached instead: IP:PORT=IP:PORT",
                example="10.0.2.2:80=127.0.0.1:8080",
            ),
            "ports": Parameter(
                "strings", "what may be bound: PORT=PORT or PORT=IP:PORT", example="8080=18080"
            ),
        },
        main="to",
        one_of=("to", "map", "ports"),
        refuses=only(
            *("connect", "bind", "listen", "sendto", "sendmsg", "sendmmsg"),
            *("getpeername", "getsockname"),
        ),
        together=host_sockets.problem,
    ),
    Action(
        "emulate-reboot",
        "end the container instead of the machine",
        {
            "answer": Parameter(
                "string",
                "container (the default): the kernel ends the pid namespace; fake: nothing "
                "happens; deny",
                ("container", "fake", "deny"),
            )
        },
        main="answer",
        refuses=only("reboot"),
    ),
    Action(
        "emulate-swap",
        "answer who would page to files of the container",
        {
            "answer": Parameter(
                "string", "fake (the default): nothing happens; deny", ("fake", "deny")
            )
        },
        main="answer",
        refuses=only("swapon", "swapoff"),
    ),
    Action(
        "emulate-hostname",
        "set the name of the container",
        {
            "answer": Parameter(
                "string",
                "own (the default): of the caller's own UTS namespace; fake: nothing happens; deny",
                ("own", "fake", "deny"),
            ),
            "names": Parameter(
                "strings", "the names that may be set, with * for any part of one; all by default"
            ),
        },
        refuses=only("sethostname", "setdomainname"),
    ),
    Action(
        "emulate-quota",
        "answer as a file system without quotas",
        {
            "answer": Parameter(
                "string",
                "none (the default): there are none; fake: they can be set, and nothing happens; "
                "deny",
                ("none", "fake", "deny"),
            )
        },
        main="answer",
        refuses=only("quotactl", "quotactl_fd"),
    ),
    Action(
        "emulate-clock",
        "answer who would set the machine's clock; reading its state is answered",
        {
            "answer": Parameter(
                "string",
                "deny (the default); fake: nothing happens; host: the machine's clock is set",
                ("deny", "fake", "host"),
            )
        },
        main="answer",
        refuses=only(*_CLOCKS),
    ),
    Action(
        "emulate-keyring",
        "answer for the kernel's keyrings",
        {
            "answer": Parameter(
                "string",
                "absent (the default): there are none; session: one of its own, and empty; deny",
                ("absent", "session", "deny"),
            )
        },
        main="answer",
        refuses=only("keyctl", "add_key", "request_key"),
    ),
    Action(
        "emulate-perf",
        "open performance events of the caller's own threads, in user space",
        {
            "answer": Parameter(
                "string",
                "own (the default): open them; absent: there are none; deny",
                ("own", "absent", "deny"),
            ),
            "events": Parameter(
                "strings",
                "what may be measured; all three by default",
                example="software",
                pattern="hardware|software|cache",
                wants="hardware, software or cache",
            ),
        },
        refuses=only("perf_event_open"),
    ),
    Action(
        "emulate-device-programs",
        "load programs for devices, and attach them to control groups of the container",
        {
            "instructions": Parameter(
                "integer", "how long a program may be; 4096 by default", least=1, most=4096
            )
        },
        refuses=only("bpf"),
        concerns=lambda call, given: (
            "cmd == BPF_PROG_LOAD or cmd == BPF_PROG_ATTACH or cmd == BPF_PROG_DETACH"
        ),
    ),
)
