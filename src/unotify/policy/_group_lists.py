"""The groups that are lists: which call serves which purpose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["LISTS", "PATTERNS", "TOGETHER"]

PATTERNS: Final[Mapping[str, tuple[str, str]]] = {
    "@chown": ("change the owner of files", r"[fl]?chown(at|32)?"),
    "@setuid": ("change user and group ids", r"set(fs|re|res)?[ug]id(32)?|setgroups(32)?"),
    "@xattr": ("extended attributes of files", r"\w*xattr(at)?"),
    "@keyring": ("keys that the kernel holds", r"add_key|keyctl|request_key"),
    "@module": ("load and remove kernel modules", r"(f?init|delete|create|query)_module"),
    "@bpf": ("programs and maps in the kernel", r"bpf"),
    "@pidfd": ("descriptors of processes", r"pidfd_\w+|process_m\w+"),
    "@pkey": ("memory protection keys", r"pkey_\w+"),
    "@io-uring": ("rings whose operations no filter sees", r"io_uring_\w+"),
    "@mount-api": (
        "mounts by descriptors, since Linux 5.2",
        r"fs(config|mount|open|pick)|mount_setattr|move_mount|open_tree(_attr)?",
    ),
    "@landlock": ("sandboxes that a program makes for itself", r"landlock_\w+"),
    "@swap": ("swap spaces", r"swapo(ff|n)"),
    "@memlock": ("keep memory from being paged out", r"m(un)?lock(all)?|mlock2|memfd_secret"),
    "@clock-reading": ("ask for the time", r"clock_get\w+|gettimeofday|time|ftime|times"),
}
"""Groups of calls whose names follow a pattern."""

LISTS: Final[Mapping[str, tuple[str, str]]] = {
    "@aio": (
        "asynchronous input and output, io_uring too",
        "io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit "
        "io_uring_enter io_uring_register io_uring_setup",
    ),
    "@basic-io": (
        "read, write, seek in, duplicate and close open descriptors",
        "_llseek close close_range dup dup2 dup3 llseek lseek pread64 preadv preadv2 pwrite64 "
        "pwritev pwritev2 read readv write writev",
    ),
    "@clock": (
        "set or adjust the time",
        "adjtimex clock_adjtime clock_adjtime64 clock_settime clock_settime64 settimeofday stime",
    ),
    "@cpu-emulation": (
        "emulate and switch modes of the processor",
        "modify_ldt subpage_prot switch_endian vm86 vm86old usr26 usr32",
    ),
    "@debug": (
        "watch programs and the kernel at work",
        "kcmp perf_event_open pidfd_getfd ptrace rtas s390_runtime_instr sys_debug_setcontext "
        "uprobe uretprobe lookup_dcookie breakpoint",
    ),
    "@ptrace": (
        "read or change another process",
        "kcmp get_robust_list migrate_pages move_pages pidfd_getfd process_madvise "
        "process_mrelease process_vm_readv process_vm_writev ptrace",
    ),
    "@event-fds": (
        "descriptors that tell of events",
        "eventfd eventfd2 fanotify_init fanotify_mark inotify_add_watch inotify_init inotify_init1 "
        "inotify_rm_watch signalfd signalfd4 timerfd timerfd_create timerfd_gettime "
        "timerfd_gettime64 timerfd_settime timerfd_settime64 userfaultfd",
    ),
    "@io-event": (
        "wait for descriptors",
        "_newselect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 "
        "epoll_wait epoll_wait_old eventfd eventfd2 poll ppoll ppoll_time64 pselect6 "
        "pselect6_time64 select",
    ),
    "@ipc": (
        "System V and POSIX queues, shared memory and semaphores, pipes",
        "ipc memfd_create mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 "
        "mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd pipe pipe2 "
        "process_madvise process_vm_readv process_vm_writev semctl semget semop semtimedop "
        "semtimedop_time64 shmat shmctl shmdt shmget",
    ),
    "@memory": (
        "map, protect, lock and advise on the caller's own memory",
        "brk cachestat get_mempolicy madvise map_shadow_stack mbind membarrier memfd_create "
        "mincore mlock mlock2 mlockall mmap mmap2 mprotect mremap mseal msync munlock "
        "munlockall munmap pkey_alloc pkey_free pkey_mprotect remap_file_pages set_mempolicy "
        "set_mempolicy_home_node",
    ),
    "@mount": (
        "mount, unmount and change the root",
        "chroot fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree "
        "open_tree_attr pivot_root umount umount2",
    ),
    "@mount-info": ("ask about mounts", "listmount listns statmount"),
    "@network-io": (
        "sockets",
        "accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom "
        "recvmmsg recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socket "
        "socketcall socketpair",
    ),
    "@namespace": ("make and enter namespaces", "clone clone3 setns unshare"),
    "@process": (
        "make, wait for, configure and end processes",
        "arch_prctl clone clone3 execve execveat exit exit_group fork getrusage kill pidfd_open "
        "pidfd_send_signal prctl rt_sigqueueinfo rt_tgsigqueueinfo setns setpgid setsid spu_create "
        "spu_run swapcontext tgkill times tkill unshare vfork wait4 waitid waitpid",
    ),
    "@process-info": (
        "ask about the caller and the system",
        "capget getcpu getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 "
        "getpagesize getpgid getpgrp getpid getppid getresgid getresgid32 getresuid getresuid32 "
        "getsid gettid getuid getuid32 sysinfo uname olduname oldolduname "
        "lsm_get_self_attr lsm_list_modules riscv_hwprobe",
    ),
    "@raw-io": (
        "reach hardware directly",
        "ioperm iopl pciconfig_iobase pciconfig_read pciconfig_write s390_pci_mmio_read "
        "s390_pci_mmio_write s390_sthyi sysmips",
    ),
    "@reboot": ("restart, or start another kernel", "kexec_file_load kexec_load reboot"),
    "@resources": (
        "limits, priorities, scheduling and where memory comes from",
        "getpriority getrlimit ioprio_get ioprio_set mbind migrate_pages move_pages nice prlimit64 "
        "sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr "
        "sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 "
        "sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield "
        "set_mempolicy set_mempolicy_home_node setpriority setrlimit ugetrlimit",
    ),
    "@sandbox": (
        "restrict oneself",
        "landlock_add_rule landlock_create_ruleset landlock_restrict_self lsm_set_self_attr "
        "seccomp",
    ),
    "@signal": (
        "handle, block and wait for signals",
        "pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend "
        "rt_sigtimedwait rt_sigtimedwait_time64 sgetmask sigaction sigaltstack signal signalfd "
        "signalfd4 sigpending sigprocmask sigreturn sigsuspend ssetmask",
    ),
    "@sync": (
        "write to the disk what is in memory",
        "arm_sync_file_range fdatasync fsync msync sync sync_file_range sync_file_range2 syncfs",
    ),
    "@thread": (
        "what libcs need for threads and locks",
        "atomic_barrier atomic_cmpxchg_32 futex futex_requeue futex_time64 futex_wait futex_waitv "
        "futex_wake get_robust_list get_thread_area get_tls membarrier restart_syscall rseq "
        "rseq_slice_yield sched_yield set_robust_list set_thread_area set_tid_address set_tls",
    ),
    "@timer": (
        "timers and sleeping",
        "alarm clock_nanosleep clock_nanosleep_time64 getitimer nanosleep setitimer timer_create "
        "timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime "
        "timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime "
        "timerfd_settime64 times",
    ),
    "@cache": (
        "processor caches",
        "cachectl cacheflush riscv_flush_icache",
    ),
    "@copying": (
        "move data between descriptors inside of the kernel",
        "copy_file_range sendfile sendfile64 splice tee vmsplice",
    ),
    "@file-handle": (
        "files by handle, past the permissions of their directories",
        "name_to_handle_at open_by_handle_at",
    ),
    "@file-data": (
        "size, space, locks and read-ahead of open files",
        "arm_fadvise64_64 cachestat fadvise64 fadvise64_64 fallocate fcntl fcntl64 flock ftruncate "
        "ftruncate64 ioctl readahead",
    ),
    "@host-name": ("name the machine", "setdomainname sethostname"),
    "@kernel-log": ("the kernel's messages", "syslog"),
    "@architecture": (
        "calls of single architectures that belong to no other group",
        "arch_prctl s390_guarded_storage swapcontext sysmips usr26 usr32",
    ),
}
"""Groups that are lists of calls."""

TOGETHER: Final[Mapping[str, tuple[str, str]]] = {
    "@credentials": ("change who one is and what one may do", "@setuid capset"),
    "@file-system": (
        "open, make, name, change and ask about files",
        "@path @xattr @file-data @mount-info getcwd getdents getdents64 readdir umask fchdir "
        "fchmod fchown fchown32 fstat fstat64 fstatfs fstatfs64 oldfstat inotify_init "
        "inotify_init1 inotify_rm_watch close mmap mmap2 munmap ustat "
        # What takes a path and is something else.
        "-@mount -@swap -@process -@obsolete -acct -quotactl -fanotify_mark -chroot -ioctl",
    ),
    "@default": (
        "what every program needs to start, run and end",
        "@thread @clock-reading @cache arch_prctl brk clock_nanosleep clock_nanosleep_time64 "
        "execve exit exit_group getcpu getegid getegid32 geteuid geteuid32 getgid getgid32 "
        "getgroups getgroups32 getpagesize getpgid getpgrp getpid getppid getrandom getresgid "
        "getresgid32 getresuid getresuid32 getrlimit getsid gettid getuid getuid32 "
        "map_shadow_stack mmap mmap2 mprotect mseal munmap nanosleep pause prlimit64 "
        "riscv_hwprobe rt_sigreturn sched_getaffinity sigreturn ugetrlimit -ftime",
    ),
    "@obsolete": (
        "unusual, old or with no code behind them",
        "@removed oldfstat oldlstat oldolduname oldstat olduname sgetmask signal ssetmask sysfs "
        "ustat",
    ),
    "@quota": ("quotas and accounting", "acct quotactl quotactl_fd"),
    "@privileged": (
        "what needs a capability",
        "@bpf @chown @clock @credentials @host-name @kernel-log @keyring @module @mount @quota "
        "@raw-io @reboot @swap fanotify_init fanotify_mark mknod mknodat nfsservctl "
        "open_by_handle_at vhangup",
    ),
    "@system-service": (
        "what an ordinary service uses; nothing for administration",
        "@aio @basic-io @cache @chown @copying @default @event-fds @file-data @file-system "
        "@io-event @ipc @keyring @landlock @memlock @memory @mount-info @network-io @pidfd "
        "@process @process-info @resources @sandbox @setuid @signal @sync @thread @timer capset "
        "personality -pidfd_getfd -process_vm_readv -process_vm_writev -userfaultfd "
        "-fanotify_init -fanotify_mark -@obsolete",
    ),
}
"""Groups that are made of others, in this order; a ``-`` takes away."""
