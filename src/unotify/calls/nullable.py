"""For which pointers NULL is a meaning of its own."""

from __future__ import annotations

from typing import Final

__all__ = ["NULLABLE"]

_NULLABLE_TEXT: Final = """
acct path | epoll_ctl event | epoll_pwait2 timeout | execve argv envp | execveat argv envp
fanotify_mark path | fsconfig key | futex_wait timeout | futex_waitv timeout
futimesat path times | getxattrat path | io_getevents timeout | io_pgetevents timeout
io_pgetevents_time64 timeout | io_uring_enter arg | listxattrat path | mount source fstype data
mq_timedreceive timeout | mq_timedreceive_time64 timeout | mq_timedsend timeout
mq_timedsend_time64 timeout | newfstatat path | _newselect timeout | open_tree_attr attr
ppoll tmo_p | ppoll_time64 tmo_p | prlimit64 new_rlim | pselect6 timeout
pselect6_time64 timeout | quotactl special | reboot arg | recvmmsg timeout
recvmmsg_time64 timeout | removexattrat path | request_key callout_info
rt_sigtimedwait timeout | rt_sigtimedwait_time64 timeout | select timeout | semtimedop timeout
semtimedop_time64 timeout | sendto address | settimeofday tv | setxattrat path | statx path
utime times | utimensat path times | utimensat_time64 path times | utimes times
"""

NULLABLE: Final = frozenset(
    (call, argument)
    for row in _NULLABLE_TEXT.replace("\n", "|").split("|")
    if row.strip()
    for call, *arguments in [row.split()]
    for argument in arguments
)
"""Call and argument; these decode to ``None``."""
