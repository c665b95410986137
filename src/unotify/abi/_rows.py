"""The rows of the call model: made by tools/gen_model.py, do not edit."""
# ruff: noqa: E501

from typing import Final

__all__ = ["ROWS"]

ROWS: Final = """\
_llseek(fd:FD <unsigned int>, offset_high:UINT <unsigned long>, offset_low:UINT <unsigned long>, result:OUT_VALUE <loff_t *>, whence:COMMAND SeekWhence <unsigned int>) int 1.2
_newselect(nfds:INT <int>, readfds:INOUT_STRUCT <fd_set *> %fd_set, writefds:INOUT_STRUCT <fd_set *> %fd_set, exceptfds:INOUT_STRUCT <fd_set *> %fd_set, timeout:INOUT_STRUCT <struct __kernel_old_timeval *>) int 2.0
_newselect@mips64n32,mipsel64n32(nfds:INT <int>, readfds:INOUT_STRUCT <compat_ulong_t *> %fd_set, writefds:INOUT_STRUCT <compat_ulong_t *> %fd_set, exceptfds:INOUT_STRUCT <compat_ulong_t *> %fd_set, timeout:INOUT_STRUCT <struct old_timeval32 *>) int 2.0
_sysctl(args:IN_STRUCT <struct __sysctl_args *>) int 2.0 !removed
accept(fd:FD <int>, address:OUT_SOCKADDR <struct sockaddr *> #length, length:SOCKLEN <int *>) fd 2.0
accept4(fd:FD <int>, address:OUT_SOCKADDR <struct sockaddr *> #length, length:SOCKLEN <int *>, flags:FLAGS SocketFlags <int>) fd 2.6.28
access(path:PATH <const char *>, mode:FLAGS AccessMode <int>) int 1.0
acct(path:PATH <const char *>) int 1.0
add_key(type:STRING <const char *>, description:STRING <const char *>, payload:IN_BUFFER <const void *> #plen, plen:SIZE <size_t>, keyring:INT <key_serial_t>) int 2.6.10
adjtimex(buf:INOUT_STRUCT <struct __kernel_timex *>) int 1.0
adjtimex@i386,arm,ppc,s390,mips,mipsel,mips64n32,mipsel64n32,parisc,sh4,m68k(buf:INOUT_STRUCT <struct old_timex32 *>) int 1.0
afs_syscall() int !removed
alarm(seconds:UINT <unsigned int>) int 1.0
arch_prctl(option:COMMAND ArchPrctlOption <int>, addr:ARGUMENT <unsigned long>) int 2.6
arm_fadvise64_64(fd:FD <int>, advice:COMMAND FadviseAdvice <int>, offset:OFFSET <loff_t>, size:OFFSET <loff_t>) int
arm_sync_file_range(fd:FD <int>, flags:FLAGS SyncFileRangeFlags <unsigned int>, offset:OFFSET <loff_t>, nbytes:OFFSET <loff_t>) int
atomic_barrier() int 2.6.34
atomic_cmpxchg_32(newval:UINT <unsigned long>, oldval:INT <int>, d3:INT <int>, d4:INT <int>, d5:INT <int>, mem:ADDRESS <unsigned long *>) int 2.6.34
bdflush(func:INT <int>, data:INT <long>) int 1.2 !removed
bind(fd:FD <int>, address:SOCKADDR <struct sockaddr *> #length, length:SIZE <int>) int 2.0
bpf(cmd:COMMAND BpfCommand <int>, attr:INOUT_STRUCT <union bpf_attr *> #size, size:SIZE <unsigned int>, common_attr:INOUT_STRUCT <struct bpf_common_attr *> #common_size, common_size:SIZE <unsigned int>) int 3.18
break() int !removed
breakpoint() int 2.2
brk(addr:ADDRESS <unsigned long>) address 1.0
cachectl(addr:ADDRESS <char *>, nbytes:INT <int>, op:INT <int>) int
cacheflush(addr:ADDRESS <unsigned long>, size:SIZE <unsigned long>, cache:FLAGS <unsigned int>) int 1.2
cacheflush@arm(start:ADDRESS <unsigned long>, end:ADDRESS <unsigned long>, flags:FLAGS <unsigned long>) int 1.2
cacheflush@m68k(addr:ADDRESS <unsigned long>, scope:INT <int>, cache:INT <int>, size:SIZE <unsigned long>) int 1.2
cachestat(fd:FD <unsigned int>, range:IN_STRUCT <struct cachestat_range *>, stat:OUT_STRUCT <struct cachestat *>, flags:FLAGS <unsigned int>) int 6.5
capget(header:INOUT_STRUCT <cap_user_header_t>, data:OUT_STRUCT <cap_user_data_t>) int 2.2
capset(header:INOUT_STRUCT <cap_user_header_t>, data:IN_STRUCT <cap_user_data_t>) int 2.2
chdir(path:PATH <const char *>) int 1.0
chmod(path:PATH <const char *>, mode:MODE <umode_t>) int 1.0
chown(path:PATH <const char *>, owner:UID <uid_t>, group:GID <gid_t>) int 2.2
chown@i386,arm,s390,sh4,m68k(path:PATH <const char *>, owner:UID <old_uid_t>, group:GID <old_gid_t>) int 2.2
chown32(path:PATH <const char *>, owner:UID <uid_t>, group:GID <gid_t>) int 2.4
chroot(path:PATH <const char *>) int 1.0
clock_adjtime(clockid:COMMAND ClockId <clockid_t>, buf:INOUT_STRUCT <struct __kernel_timex *>) int 2.6.39
clock_adjtime@i386,arm,ppc,s390,mips,mipsel,mips64n32,mipsel64n32,parisc,sh4,m68k(clockid:COMMAND ClockId <clockid_t>, buf:INOUT_STRUCT <struct old_timex32 *>) int 2.6.39
clock_adjtime64(clockid:COMMAND ClockId <clockid_t>, buf:INOUT_STRUCT <struct __kernel_timex *>) int 5.1
clock_getres(clockid:COMMAND ClockId <clockid_t>, res:OUT_STRUCT <struct __kernel_timespec *>) int 2.6
clock_getres@i386,arm,ppc,s390,mips,mipsel,mips64n32,mipsel64n32,parisc,sh4,m68k(clockid:COMMAND ClockId <clockid_t>, res:OUT_STRUCT <struct old_timespec32 *>) int 2.6
clock_getres_time64(clockid:COMMAND ClockId <clockid_t>, res:OUT_STRUCT <struct __kernel_timespec *>) int 5.1
clock_gettime(clockid:COMMAND ClockId <clockid_t>, tp:OUT_STRUCT <struct __kernel_timespec *>) int 2.6
clock_gettime@i386,arm,ppc,s390,mips,mipsel,mips64n32,mipsel64n32,parisc,sh4,m68k(clockid:COMMAND ClockId <clockid_t>, tp:OUT_STRUCT <struct old_timespec32 *>) int 2.6
clock_gettime64(clockid:COMMAND ClockId <clockid_t>, tp:OUT_STRUCT <struct __kernel_timespec *>) int 5.1
clock_nanosleep(clockid:COMMAND ClockId <clockid_t>, flags:FLAGS TimerFlags <int>, request:IN_STRUCT <const struct __kernel_timespec *>, remain:OUT_STRUCT <struct __kernel_timespec *>) int 2.6
clock_nanosleep@i386,arm,ppc,s390,mips,mipsel,mips64n32,mipsel64n32,parisc,sh4,m68k(clockid:COMMAND ClockId <clockid_t>, flags:FLAGS TimerFlags <int>, request:IN_STRUCT <struct old_timespec32 *>, remain:OUT_STRUCT <struct old_timespec32 *>) int 2.6
clock_nanosleep_time64(clockid:COMMAND ClockId <clockid_t>, flags:FLAGS TimerFlags <int>, request:IN_STRUCT <const struct __kernel_timespec *>, remain:OUT_STRUCT <struct __kernel_timespec *>) int 5.1
clock_settime(clockid:COMMAND ClockId <clockid_t>, tp:IN_STRUCT <const struct __kernel_timespec *>) int 2.6
clock_settime@i386,arm,ppc,s390,mips,mipsel,mips64n32,mipsel64n32,parisc,sh4,m68k(clockid:COMMAND ClockId <clockid_t>, tp:IN_STRUCT <struct old_timespec32 *>) int 2.6
clock_settime64(clockid:COMMAND ClockId <clockid_t>, tp:IN_STRUCT <const struct __kernel_timespec *>) int 5.1
clone(flags:FLAGS/32 CloneFlags <unsigned long>, stack:ADDRESS <unsigned long>, parent_tid:OUT_VALUE <int *>, child_tid:OUT_VALUE <int *>, tls:ADDRESS <unsigned long>) pid 1.0
clone@i386,arm,aarch64,riscv64,riscv32,ppc,ppc64,ppc64le,mips,mipsel,mips64,mipsel64,mips64n32,mipsel64n32,parisc(flags:FLAGS/32 CloneFlags <unsigned long>, stack:ADDRESS <unsigned long>, parent_tid:OUT_VALUE <int *>, tls:ADDRESS <unsigned long>, child_tid:OUT_VALUE <int *>) pid 1.0
clone@s390,s390x(stack:ADDRESS <unsigned long>, flags:FLAGS/32 CloneFlags <unsigned long>, parent_tid:OUT_VALUE <int *>, child_tid:OUT_VALUE <int *>, tls:ADDRESS <unsigned long>) pid 1.0
clone3(args:INOUT_STRUCT <struct clone_args *> #size, size:SIZE <size_t>) pid 5.3
close(fd:FD <unsigned int>) int 1.0
close_range(first:UINT <unsigned int>, last:UINT <unsigned int>, flags:FLAGS CloseRangeFlags <unsigned int>) int 5.9
connect(fd:FD <int>, address:SOCKADDR <struct sockaddr *> #length, length:SIZE <int>) int 2.0
copy_file_range(fd_in:FD <int>, off_in:INOUT_VALUE <loff_t *>, fd_out:FD <int>, off_out:INOUT_VALUE <loff_t *>, size:SIZE <size_t>, flags:FLAGS <unsigned int>) ssize_t 4.5
creat(path:PATH <const char *>, mode:MODE <umode_t>) fd 1.0
create_module(name:STRING <const char *>, size:SIZE <size_t>) int 1.0 !removed
delete_module(name:STRING <const char *>, flags:FLAGS DeleteModuleFlags <unsigned int>) int 1.0
dup(oldfd:FD <unsigned int>) fd 1.0
dup2(oldfd:FD <unsigned int>, newfd:FD <unsigned int>) fd 1.0
dup3(oldfd:FD <unsigned int>, newfd:FD <unsigned int>, flags:FLAGS OpenFlags <int>) fd 2.6.27
epoll_create(size:INT <int>) fd 2.6
epoll_create1(flags:FLAGS EpollCreateFlags <int>) fd 2.6.27
epoll_ctl(epfd:FD <int>, op:COMMAND EpollOperation <int>, fd:FD <int>, event:IN_STRUCT <struct epoll_event *>) int 2.6
epoll_ctl_old(epfd:FD <int>, op:COMMAND EpollOperation <int>, fd:FD <int>, event:IN_STRUCT <struct epoll_event *>) int !removed
epoll_pwait(epfd:FD <int>, events:OUT_ARRAY <struct epoll_event *> #maxevents, maxevents:INT <int>, timeout:INT <int>, sigmask:IN_STRUCT <const sigset_t *> #sigsetsize, sigsetsize:SIZE <size_t>) int 2.6.19
epoll_pwait@mips64n32,mipsel64n32(epfd:FD <int>, events:OUT_ARRAY <struct epoll_event *> #maxevents, maxevents:INT <int>, timeout:INT <int>, sigmask:IN_STRUCT <const compat_sigset_t *> #sigsetsize, sigsetsize:SIZE <compat_size_t>) int 2.6.19
epoll_pwait2(epfd:FD <int>, events:OUT_ARRAY <struct epoll_event *> #maxevents, maxevents:INT <int>, timeout:IN_STRUCT <const struct __kernel_timespec *>, sigmask:IN_STRUCT <const sigset_t *> #sigsetsize, sigsetsize:SIZE <size_t>) int 5.11
epoll_pwait2@mips64n32,mipsel64n32(epfd:FD <int>, events:OUT_ARRAY <struct epoll_event *> #maxevents, maxevents:INT <int>, timeout:IN_STRUCT <const struct __kernel_timespec *>, sigmask:IN_STRUCT <const compat_sigset_t *> #sigsetsize, sigsetsize:SIZE <compat_size_t>) int 5.11
epoll_wait(epfd:FD <int>, events:OUT_ARRAY <struct epoll_event *> #maxevents, maxevents:INT <int>, timeout:INT <int>) int 2.6
epoll_wait_old(epfd:FD <int>, events:OUT_ARRAY <struct epoll_event *> #maxevents, maxevents:INT <int>, timeout:INT <int>) int !removed
eventfd(initval:UINT <unsigned int>) fd 2.6.22
eventfd2(initval:UINT <unsigned int>, flags:FLAGS EventfdFlags <int>) fd 2.6.27
execve(path:PATH <const char *>, argv:STRINGS <const char * const *>, envp:STRINGS <const char * const *>) int 1.0
execveat(dirfd:DIRFD <int>, path:PATH <const char *> @dirfd, argv:STRINGS <const char * const *>, envp:STRINGS <const char * const *>, flags:FLAGS AtFlags <int>) int 3.19
exit(status:INT <int>) void 1.0 !never_returns
exit_group(status:INT <int>) void 2.6 !never_returns
faccessat(dirfd:DIRFD <int>, path:PATH <const char *> @dirfd, mode:FLAGS AccessMode <int>) int 2.6.16
faccessat2(dirfd:DIRFD <int>, path:PATH <const char *> @dirfd, mode:FLAGS AccessMode <int>, flags:FLAGS AtFlags <int>) int 5.8
fadvise64(fd:FD <int>, offset:OFFSET <loff_t>, size:SIZE <size_t>, advice:COMMAND FadviseAdvice <int>) int 2.6
fadvise64@aarch64,riscv64,loongarch64,s390x,mips,mipsel,mips64,mipsel64,mips64n32,mipsel64n32(fd:FD <int>, offset:OFFSET <loff_t>, size:SIZE <loff_t>, advice:COMMAND FadviseAdvice <int>) int 2.6
fadvise64_64(fd:FD <int>, offset:OFFSET <loff_t>, size:OFFSET <loff_t>, advice:COMMAND FadviseAdvice <int>) int 2.6
fadvise64_64@ppc(fd:FD <int>, advice:COMMAND FadviseAdvice <int>, offset:OFFSET <loff_t>, size:OFFSET <loff_t>) int 2.6
fadvise64_64@s390(args:IN_STRUCT <struct fadvise64_64_args *>) int 2.6
fallocate(fd:FD <int>, mode:FLAGS FallocateMode <int>, offset:OFFSET <loff_t>, size:OFFSET <loff_t>) int 2.6.23
fanotify_init(flags:FLAGS FanotifyInitFlags <unsigned int>, event_f_flags:FLAGS OpenFlags <unsigned int>) fd 2.6.37
fanotify_mark(fanotify_fd:FD <int>, flags:FLAGS FanotifyMarkFlags <unsigned int>, mask:FLAGS FanotifyMask <__u64>, dirfd:DIRFD <int>, path:PATH <const char *> @dirfd) int 2.6.37
fchdir(fd:FD <unsigned int>) int 1.0
fchmod(fd:FD <unsigned int>, mode:MODE <umode_t>) int 1.0
fchmodat(dirfd:DIRFD <int>, path:PATH <const char *> @dirfd, mode:MODE <umode_t>) int 2.6.16
fchmodat2(dirfd:DIRFD <int>, path:PATH <const char *> @dirfd, mode:MODE <umode_t>, flags:FLAGS AtFlags <unsigned int>) int 6.6
fchown(fd:FD <unsigned int>, owner:UID <uid_t>, group:GID <gid_t>) int 1.0
fchown@i386,arm,s390,sh4,m68k(fd:FD <unsigned int>, owner:UID <old_uid_t>, group:GID <old_gid_t>) int 1.0
fchown32(fd:FD <unsigned int>, owner:UID <uid_t>, group:GID <gid_t>) int 2.4
fchownat(dirfd:DIRFD <int>, path:PATH <const char *> @dirfd, owner:UID <uid_t>, group:GID <gid_t>, flags:FLAGS AtFlags <int>) int 2.6.16
fcntl(fd:FD <unsigned int>, cmd:COMMAND FcntlCommand <unsigned int>, arg:ARGUMENT <unsigned long>) int 1.0
fcntl@mips64n32,mipsel64n32(fd:FD <unsigned int>, cmd:COMMAND FcntlCommand <unsigned int>, arg:ARGUMENT <compat_ulong_t>) int 1.0
fcntl64(fd:FD <unsigned int>, cmd:COMMAND FcntlCommand <unsigned int>, arg:ARGUMENT <unsigned long>) int 2.4
fcntl64@mips64n32,mipsel64n32(fd:FD <unsigned int>, cmd:COMMAND FcntlCommand <unsigned int>, arg:ARGUMENT <compat_ulong_t>) int 2.4
fdatasync(fd:FD <unsigned int>) int 2.0
fgetxattr(fd:FD <int>, name:STRING <const char *>, value:OUT_BUFFER <void *> #size, size:SIZE <size_t>) ssize_t 2.6
file_getattr(dirfd:DIRFD <int>, path:PATH <const char *> @dirfd, attr:OUT_STRUCT <struct file_attr *> #size, size:SIZE <size_t>, flags:FLAGS AtFlags <unsigned int>) int 6.17
file_setattr(dirfd:DIRFD <int>, path:PATH <const char *> @dirfd, attr:IN_STRUCT <struct file_attr *> #size, size:SIZE <size_t>, flags:FLAGS AtFlags <unsigned int>) int 6.17
finit_module(fd:FD <int>, params:STRING <const char *>, flags:FLAGS ModuleFlags <int>) int 3.8
flistxattr(fd:FD <int>, list:OUT_BUFFER <char *> #size, size:SIZE <size_t>) ssize_t 2.6
flock(fd:FD <unsigned int>, operation:FLAGS FlockOperation <unsigned int>) int 2.0
fork() pid 1.0
fremovexattr(fd:FD <int>, name:STRING <const char *>) int 2.6
fsconfig(fd:FD <int>, cmd:COMMAND FsconfigCommand <unsigned int>, key:STRING <const char *>, value:ARGUMENT <const void *>, aux:INT <int>) int 5.2
fsetxattr(fd:FD <int>, name:STRING <const char *>, value:IN_BUFFER <const void *> #size, size:SIZE <size_t>, flags:FLAGS XattrFlags <int>) int 2.6
fsmount(fsfd:FD <int>, flags:FLAGS FsmountFlags <unsigned int>, attr_flags:FLAGS MountAttr <unsigned int>) fd 5.2
fsopen(fsname:STRING <const char *>, flags:FLAGS FsopenFlags <unsigned int>) fd 5.2
fspick(dirfd:DIRFD <int>, path:PATH <const char *> @dirfd, flags:FLAGS FspickFlags <unsigned int>) fd 5.2
fstat(fd:FD <unsigned int>, statbuf:OUT_STRUCT <struct stat *>) int 1.0
fstat64(fd:FD <unsigned long>, statbuf:OUT_STRUCT <struct stat64 *>) int 2.4
fstatat64(dirfd:DIRFD <int>, path:PATH <const char *> @dirfd, statbuf:OUT_STRUCT <struct stat64 *>, flags:FLAGS AtFlags <int>) int 2.6.16
fstatfs(fd:FD <unsigned int>, buf:OUT_STRUCT <struct statfs *>) int 1.0
fstatfs@mips64n32,mipsel64n32(fd:FD <unsigned int>, buf:OUT_STRUCT <struct compat_statfs *>) int 1.0
fstatfs64(fd:FD <unsigned int>, size:SIZE <size_t>, buf:OUT_STRUCT <struct statfs64 *>) int 2.6
fstatfs64@mips64n32,mipsel64n32(fd:FD <unsigned int>, size:SIZE <compat_size_t>, buf:OUT_STRUCT <struct compat_statfs64 *>) int 2.6
fsync(fd:FD <unsigned int>) int 1.0
ftime(tp:OUT_STRUCT <struct timeb *>) int !removed
ftruncate(fd:FD <unsigned int>, length:OFFSET <off_t>) int 1.0
ftruncate64(fd:FD <unsigned int>, length:OFFSET <loff_t>) int 2.4
futex(uaddr:ADDRESS <u32 *>, op:FLAGS FutexOperation <int>, val:UINT <u32>, timeout:ARGUMENT <const struct __kernel_timespec *>, uaddr2:ADDRESS <u32 *>, val3:UINT <u32>) int 2.6
futex@i386,arm,ppc,s390,mips,mipsel,mips64n32,mipsel64n32,parisc,sh4,m68k(uaddr:ADDRESS <u32 *>, op:FLAGS FutexOperation <int>, val:UINT <u32>, timeout:ARGUMENT <const struct old_timespec32 *>, uaddr2:ADDRESS <u32 *>, val3:UINT <u32>) int 2.6
futex_requeue(waiters:IN_ARRAY <struct futex_waitv *>, flags:FLAGS <unsigned int>, nr_wake:INT <int>, nr_requeue:INT <int>) int 6.7
futex_time64(uaddr:ADDRESS <u32 *>, op:FLAGS FutexOperation <int>, val:UINT <u32>, timeout:ARGUMENT <const struct __kernel_timespec *>, uaddr2:ADDRESS <u32 *>, val3:UINT <u32>) int 5.1
futex_wait(uaddr:ADDRESS <void *>, val:UINT <unsigned long>, mask:UINT <unsigned long>, flags:FLAGS Futex2Flags <unsigned int>, timeout:IN_STRUCT <struct __kernel_timespec *>, clockid:COMMAND ClockId <clockid_t>) int 6.7
futex_waitv(waiters:IN_ARRAY <struct futex_waitv *> #nr_futexes, nr_futexes:SIZE <unsigned int>, flags:FLAGS <unsigned int>, timeout:IN_STRUCT <struct __kernel_timespec *>, clockid:COMMAND ClockId <clockid_t>) int 5.16
futex_wake(uaddr:ADDRESS <void *>, mask:UINT <unsigned long>, nr:INT <int>, flags:FLAGS Futex2Flags <unsigned int>) int 6.7
futimesat(dirfd:DIRFD <int>, path:PATH <const char *> @dirfd, times:IN_STRUCT <struct __kernel_old_timeval *>) int 2.6.16
futimesat@i386,arm,ppc,s390,mips,mipsel,mips64n32,mipsel64n32,parisc,sh4,m68k(dirfd:DIRFD <unsigned int>, path:PATH <const char *> @dirfd, times:IN_STRUCT <struct old_timeval32 *>) int 2.6.16
get_kernel_syms(table:ADDRESS <struct kernel_sym *>) int 1.0 !removed
get_mempolicy(mode:OUT_VALUE <int *>, nodemask:ADDRESS <unsigned long *>, maxnode:UINT <unsigned long>, addr:ADDRESS <unsigned long>, flags:FLAGS GetMempolicyFlags <unsigned long>) int 2.6.6
get_robust_list(pid:PID <int>, head:OUT_VALUE <struct robust_list_head **>, size:OUT_VALUE <size_t *>) int 2.6.17
get_thread_area(u_info:INOUT_STRUCT <struct user_desc *>) int 2.6
get_thread_area@m68k() int 2.6
get_tls() int 4.15
getcpu(cpu:OUT_VALUE <unsigned *>, node:OUT_VALUE <unsigned *>, tcache:ADDRESS <void *>) int 2.6.19
getcwd(buf:OUT_BUFFER <char *> #size, size:SIZE <unsigned long>) int 2.2
getdents(fd:FD <unsigned int>, dirp:OUT_BUFFER <struct linux_dirent *> #count %linux_dirent, count:SIZE <unsigned int>) ssize_t 2.0
getdents@mips64n32,mipsel64n32(fd:FD <unsigned int>, dirp:OUT_BUFFER <struct compat_linux_dirent *> #count %linux_dirent, count:SIZE <unsigned int>) ssize_t 2.0
getdents64(fd:FD <unsigned int>, dirp:OUT_BUFFER <struct linux_dirent64 *> #count %linux_dirent64, count:SIZE <unsigned int>) ssize_t 2.4
getegid() gid 1.0
getegid32() gid 2.4
geteuid() uid 1.0
geteuid32() uid 2.4
getgid() gid 1.0
getgid32() gid 2.4
getgroups(size:INT <int>, list:OUT_ARRAY <gid_t *> #size) int 1.0
getgroups32(size:INT <int>, list:OUT_ARRAY <gid_t *> #size) int 2.4
getitimer(which:COMMAND ItimerWhich <int>, curr_value:OUT_STRUCT <struct __kernel_old_itimerval *>) int 1.0
getitimer@mips64n32,mipsel64n32(which:COMMAND ItimerWhich <int>, curr_value:OUT_STRUCT <struct old_itimerval32 *>) int 1.0
getpagesize() int 2.0
getpeername(fd:FD <int>, address:OUT_SOCKADDR <struct sockaddr *> #length, length:SOCKLEN <int *>) int 2.0
getpgid(pid:PID <pid_t>) pid 1.0
getpgrp() pid 1.0
getpid() pid 1.0
getpmsg() int !removed
getppid() pid 1.0
getpriority(which:COMMAND PriorityWhich <int>, who:INT <int>) int 1.0
getrandom(buf:OUT_BUFFER <char *> #size, size:SIZE <size_t>, flags:FLAGS GetrandomFlags <unsigned int>) ssize_t 3.17
getresgid(rgid:OUT_VALUE <gid_t *>, egid:OUT_VALUE <gid_t *>, sgid:OUT_VALUE <gid_t *>) int 2.2
getresgid32(rgid:OUT_VALUE <gid_t *>, egid:OUT_VALUE <gid_t *>, sgid:OUT_VALUE <gid_t *>) int 2.4
getresuid(ruid:OUT_VALUE <uid_t *>, euid:OUT_VALUE <uid_t *>, suid:OUT_VALUE <uid_t *>) int 2.2
getresuid32(ruid:OUT_VALUE <uid_t *>, euid:OUT_VALUE <uid_t *>, suid:OUT_VALUE <uid_t *>) int 2.4
getrlimit(resource:COMMAND RlimitResource <unsigned int>, rlim:OUT_STRUCT <struct rlimit *>) int 1.0
getrlimit@mips64n32,mipsel64n32(resource:COMMAND RlimitResource <unsigned int>, rlim:OUT_STRUCT <struct compat_rlimit *>) int 1.0
getrusage(who:COMMAND RusageWho <int>, usage:OUT_STRUCT <struct rusage *>) int 1.0
getrusage@mips64n32,mipsel64n32(who:COMMAND RusageWho <int>, usage:OUT_STRUCT <struct compat_rusage *>) int 1.0
getsid(pid:PID <pid_t>) pid 2.0
getsockname(fd:FD <int>, address:OUT_SOCKADDR <struct sockaddr *> #length, length:SOCKLEN <int *>) int 2.0
getsockopt(fd:FD <int>, level:INT <int>, option:INT <int>, value:OUT_BUFFER <char *> #length, length:SOCKLEN <int *>) int 2.0
gettid() pid 2.4.11
gettimeofday(tv:OUT_STRUCT <struct __kernel_old_timeval *>, tz:OUT_STRUCT <struct timezone *>) int 1.0
gettimeofday@mips64n32,mipsel64n32(tv:OUT_STRUCT <struct old_timeval32 *>, tz:OUT_STRUCT <struct timezone *>) int 1.0
getuid() uid 1.0
getuid32() uid 2.4
getxattr(path:PATH <const char *>, name:STRING <const char *>, value:OUT_BUFFER <void *> #size, size:SIZE <size_t>) ssize_t 2.6
getxattrat(dirfd:DIRFD <int>, path:PATH <const char *> @dirfd, at_flags:FLAGS AtFlags <unsigned int>, name:STRING <const char *>, args:IN_STRUCT <struct xattr_args *> #size, size:SIZE <size_t>) ssize_t 6.13
gtty() int !removed
idle() int !removed
init_module(image:IN_BUFFER <void *> #size, size:SIZE <unsigned long>, params:STRING <const char *>) int 1.0
inotify_add_watch(fd:FD <int>, path:PATH <const char *>, mask:FLAGS InotifyMask <u32>) int 2.6.13
inotify_init() fd 2.6.13
inotify_init1(flags:FLAGS InotifyInitFlags <int>) fd 2.6.27
inotify_rm_watch(fd:FD <int>, wd:INT <__s32>) int 2.6.13
io_cancel(ctx_id:ADDRESS <aio_context_t>, iocb:IN_STRUCT <struct iocb *>, result:OUT_STRUCT <struct io_event *>) int 2.6
io_destroy(ctx_id:ADDRESS <aio_context_t>) int 2.6
io_getevents(ctx_id:ADDRESS <aio_context_t>, min_nr:INT <long>, nr:INT <long>, events:OUT_ARRAY <struct io_event *> #nr, timeout:IN_STRUCT <struct __kernel_timespec *>) int 2.6
io_getevents@i386,arm,ppc,s390,mips,mipsel,mips64n32,mipsel64n32,parisc,sh4,m68k(ctx_id:ADDRESS <__u32>, min_nr:INT <__s32>, nr:INT <__s32>, events:OUT_ARRAY <struct io_event *> #nr, timeout:IN_STRUCT <struct old_timespec32 *>) int 2.6
io_pgetevents(ctx_id:ADDRESS <aio_context_t>, min_nr:INT <long>, nr:INT <long>, events:OUT_ARRAY <struct io_event *> #nr, timeout:IN_STRUCT <struct __kernel_timespec *>, usig:IN_STRUCT <const struct __aio_sigset *>) int 4.18
io_pgetevents@i386,arm,ppc,mips,mipsel,parisc(ctx_id:ADDRESS <aio_context_t>, min_nr:INT <long>, nr:INT <long>, events:OUT_ARRAY <struct io_event *> #nr, timeout:IN_STRUCT <struct old_timespec32 *>, usig:IN_STRUCT <const struct __aio_sigset *>) int 4.18
io_pgetevents@mips64n32,mipsel64n32(ctx_id:ADDRESS <compat_aio_context_t>, min_nr:INT <compat_long_t>, nr:INT <compat_long_t>, events:OUT_ARRAY <struct io_event *> #nr, timeout:IN_STRUCT <struct old_timespec32 *>, usig:IN_STRUCT <const struct __compat_aio_sigset *>) int 4.18
io_pgetevents_time64(ctx_id:ADDRESS <aio_context_t>, min_nr:INT <long>, nr:INT <long>, events:OUT_ARRAY <struct io_event *> #nr, timeout:IN_STRUCT <struct __kernel_timespec *>, usig:IN_STRUCT <const struct __aio_sigset *>) int 5.1
io_pgetevents_time64@mips64n32,mipsel64n32(ctx_id:ADDRESS <compat_aio_context_t>, min_nr:INT <compat_long_t>, nr:INT <compat_long_t>, events:OUT_ARRAY <struct io_event *> #nr, timeout:IN_STRUCT <struct __kernel_timespec *>, usig:IN_STRUCT <const struct __compat_aio_sigset *>) int 5.1
io_setup(nr_events:UINT <unsigned>, ctxp:INOUT_VALUE <aio_context_t *>) int 2.6
io_submit(ctx_id:ADDRESS <aio_context_t>, nr:SIZE <long>, iocbpp:POINTERS <struct iocb **>) int 2.6
io_submit@x32,mips64n32,mipsel64n32(ctx_id:ADDRESS <compat_aio_context_t>, nr:SIZE <int>, iocbpp:POINTERS <compat_uptr_t *>) int 2.6
io_uring_enter(fd:FD <unsigned int>, to_submit:UINT <u32>, min_complete:UINT <u32>, flags:FLAGS IoUringEnterFlags <u32>, arg:IN_BUFFER <const void *> #argsz, argsz:SIZE <size_t>) int 5.1
io_uring_register(fd:FD <unsigned int>, opcode:COMMAND IoUringRegister <unsigned int>, arg:ARGUMENT <void *>, nr_args:UINT <unsigned int>) int 5.1
io_uring_setup(entries:UINT <u32>, params:INOUT_STRUCT <struct io_uring_params *>) fd 5.1
ioctl(fd:FD <unsigned int>, cmd:UINT <unsigned int>, arg:ARGUMENT <unsigned long>) int 1.0
ioctl@x32,mips64n32,mipsel64n32(fd:FD <unsigned int>, cmd:UINT <unsigned int>, arg:ARGUMENT <compat_ulong_t>) int 1.0
ioperm(from_port:UINT <unsigned long>, num:UINT <unsigned long>, turn_on:INT <int>) int 1.0
iopl(level:UINT <unsigned int>) int 1.0
ioprio_get(which:COMMAND IoprioWho <int>, who:INT <int>) int 2.6.13
ioprio_set(which:COMMAND IoprioWho <int>, who:INT <int>, ioprio:INT <int>) int 2.6.13
ipc(call:COMMAND IpcCall <unsigned int>, first:INT <int>, second:UINT <unsigned long>, third:ARGUMENT <unsigned long>, ptr:ADDRESS <void *>, fifth:ARGUMENT <long>) int 1.0
ipc@s390,s390x(call:COMMAND IpcCall <unsigned int>, first:INT <int>, second:UINT <unsigned long>, third:ARGUMENT <unsigned long>, ptr:ADDRESS <void *>) int 1.0
kcmp(pid1:PID <pid_t>, pid2:PID <pid_t>, type:COMMAND KcmpType <int>, idx1:UINT <unsigned long>, idx2:UINT <unsigned long>) int 3.5
kexec_file_load(kernel_fd:FD <int>, initrd_fd:FD <int>, cmdline_len:SIZE <unsigned long>, cmdline:IN_BUFFER <const char *> #cmdline_len, flags:FLAGS KexecFileFlags <unsigned long>) int 3.17
kexec_load(entry:ADDRESS <unsigned long>, nr_segments:SIZE <unsigned long>, segments:IN_ARRAY <struct kexec_segment *> #nr_segments, flags:FLAGS KexecFlags <unsigned long>) int 2.6.13
kexec_load@x32,mips64n32,mipsel64n32(entry:ADDRESS <compat_ulong_t>, nr_segments:SIZE <compat_ulong_t>, segments:IN_ARRAY <struct compat_kexec_segment *> #nr_segments, flags:FLAGS KexecFlags <compat_ulong_t>) int 2.6.13
keyctl(operation:COMMAND KeyctlOperation <int>, arg2:ARGUMENT <unsigned long>, arg3:ARGUMENT <unsigned long>, arg4:ARGUMENT <unsigned long>, arg5:ARGUMENT <unsigned long>) int 2.6.10
keyctl@mips64n32,mipsel64n32(operation:COMMAND KeyctlOperation <u32>, arg2:ARGUMENT <u32>, arg3:ARGUMENT <u32>, arg4:ARGUMENT <u32>, arg5:ARGUMENT <u32>) int 2.6.10
kill(pid:PID <pid_t>, sig:SIGNAL Signal <int>) int 1.0
landlock_add_rule(ruleset_fd:FD <int>, rule_type:COMMAND LandlockRuleType <enum landlock_rule_type>, rule_attr:ADDRESS <const void *>, flags:FLAGS LandlockAddRuleFlags <__u32>) int 5.13
landlock_create_ruleset(attr:IN_STRUCT <const struct landlock_ruleset_attr *> #size, size:SIZE <size_t>, flags:FLAGS LandlockCreateFlags <__u32>) fd 5.13
landlock_restrict_self(ruleset_fd:FD <int>, flags:FLAGS LandlockRestrictFlags <__u32>) int 5.13
lchown(path:PATH <const char *>, owner:UID <uid_t>, group:GID <gid_t>) int 1.0
lchown@i386,arm,s390,sh4,m68k(path:PATH <const char *>, owner:UID <old_uid_t>, group:GID <old_gid_t>) int 1.0
lchown32(path:PATH <const char *>, owner:UID <uid_t>, group:GID <gid_t>) int 2.4
lgetxattr(path:PATH <const char *>, name:STRING <const char *>, value:OUT_BUFFER <void *> #size, size:SIZE <size_t>) ssize_t 2.6
link(oldpath:PATH <const char *>, newpath:PATH <const char *>) int 1.0
linkat(olddirfd:DIRFD <int>, oldpath:PATH <const char *> @olddirfd, newdirfd:DIRFD <int>, newpath:PATH <const char *> @newdirfd, flags:FLAGS AtFlags <int>) int 2.6.16
listen(fd:FD <int>, backlog:INT <int>) int 2.0
listmount(req:IN_STRUCT <const struct mnt_id_req *>, mnt_ids:OUT_ARRAY <u64 *> #nr_mnt_ids, nr_mnt_ids:SIZE <size_t>, flags:FLAGS ListmountFlags <unsigned int>) ssize_t 6.8
listns(req:IN_STRUCT <const struct ns_id_req *>, ns_ids:OUT_ARRAY <u64 *> #nr_ns_ids, nr_ns_ids:SIZE <size_t>, flags:FLAGS <unsigned int>) ssize_t
listxattr(path:PATH <const char *>, list:OUT_BUFFER <char *> #size, size:SIZE <size_t>) ssize_t 2.6
listxattrat(dirfd:DIRFD <int>, path:PATH <const char *> @dirfd, at_flags:FLAGS AtFlags <unsigned int>, list:OUT_BUFFER <char *> #size, size:SIZE <size_t>) ssize_t 6.13
llistxattr(path:PATH <const char *>, list:OUT_BUFFER <char *> #size, size:SIZE <size_t>) ssize_t 2.6
llseek(fd:FD <unsigned int>, offset_high:UINT <unsigned long>, offset_low:UINT <unsigned long>, result:OUT_VALUE <loff_t *>, whence:COMMAND SeekWhence <unsigned int>) int
lock() int !removed
lookup_dcookie(cookie:UINT <u64>, buffer:OUT_BUFFER <char *> #size, size:SIZE <size_t>) int 2.6 !removed
lremovexattr(path:PATH <const char *>, name:STRING <const char *>) int 2.6
lseek(fd:FD <unsigned int>, offset:OFFSET <off_t>, whence:COMMAND SeekWhence <unsigned int>) off_t 1.0
lsetxattr(path:PATH <const char *>, name:STRING <const char *>, value:IN_BUFFER <const void *> #size, size:SIZE <size_t>, flags:FLAGS XattrFlags <int>) int 2.6
lsm_get_self_attr(attr:COMMAND LsmAttr <unsigned int>, ctx:OUT_BUFFER <struct lsm_ctx *> #size %lsm_ctx, size:INOUT_VALUE <u32 *>, flags:FLAGS LsmFlags <u32>) int 6.8
lsm_list_modules(ids:OUT_BUFFER <u64 *> #size, size:INOUT_VALUE <u32 *>, flags:FLAGS <u32>) int 6.8
lsm_set_self_attr(attr:COMMAND LsmAttr <unsigned int>, ctx:IN_STRUCT <struct lsm_ctx *> #size, size:SIZE <u32>, flags:FLAGS <u32>) int 6.8
lstat(path:PATH <const char *>, statbuf:OUT_STRUCT <struct stat *>) int 1.0
lstat64(path:PATH <const char *>, statbuf:OUT_STRUCT <struct stat64 *>) int 2.4
madvise(addr:ADDRESS <unsigned long>, size:SIZE <size_t>, advice:COMMAND MadviseAdvice <int>) int 2.4
map_shadow_stack(addr:ADDRESS <unsigned long>, size:SIZE <unsigned long>, flags:FLAGS <unsigned int>) address 6.6
mbind(addr:ADDRESS <unsigned long>, size:SIZE <unsigned long>, mode:COMMAND MempolicyMode <unsigned long>, nodemask:ADDRESS <const unsigned long *>, maxnode:UINT <unsigned long>, flags:FLAGS MbindFlags <unsigned int>) int 2.6.6
membarrier(cmd:COMMAND MembarrierCommand <int>, flags:FLAGS MembarrierFlags <unsigned int>, cpu_id:INT <int>) int 3.17
memfd_create(name:STRING <const char *>, flags:FLAGS MemfdFlags <unsigned int>) fd 3.17
memfd_secret(flags:FLAGS OpenFlags <unsigned int>) fd 5.14
migrate_pages(pid:PID <pid_t>, maxnode:UINT <unsigned long>, old_nodes:ADDRESS <const unsigned long *>, new_nodes:ADDRESS <const unsigned long *>) int 2.6.16
mincore(addr:ADDRESS <unsigned long>, size:SIZE <size_t>, vec:ADDRESS <unsigned char *>) int 2.4
mkdir(path:PATH <const char *>, mode:MODE <umode_t>) int 1.0
mkdirat(dirfd:DIRFD <int>, path:PATH <const char *> @dirfd, mode:MODE <umode_t>) int 2.6.16
mknod(path:PATH <const char *>, mode:MODE <umode_t>, dev:DEV <unsigned>) int 1.0
mknodat(dirfd:DIRFD <int>, path:PATH <const char *> @dirfd, mode:MODE <umode_t>, dev:DEV <unsigned int>) int 2.6.16
mlock(addr:ADDRESS <unsigned long>, size:SIZE <size_t>) int 2.0
mlock2(addr:ADDRESS <unsigned long>, size:SIZE <size_t>, flags:FLAGS MlockFlags <int>) int 4.4
mlockall(flags:FLAGS MlockallFlags <int>) int 2.0
mmap(addr:ADDRESS <unsigned long>, size:SIZE <unsigned long>, prot:FLAGS MmapProt <unsigned long>, flags:FLAGS MmapFlags <unsigned long>, fd:FD <unsigned long>, offset:OFFSET <unsigned long>) address 1.0
mmap@i386,m68k,s390,s390x(args:IN_STRUCT <struct mmap_arg_struct *>) address 1.0
mmap@ppc,ppc64,ppc64le(addr:ADDRESS <unsigned long>, size:SIZE <size_t>, prot:FLAGS MmapProt <unsigned long>, flags:FLAGS MmapFlags <unsigned long>, fd:FD <unsigned long>, offset:OFFSET <off_t>) address 1.0
mmap@mips,mipsel,mips64,mipsel64,mips64n32,mipsel64n32(addr:ADDRESS <unsigned long>, size:SIZE <unsigned long>, prot:FLAGS MmapProt <unsigned long>, flags:FLAGS MmapFlags <unsigned long>, fd:FD <unsigned long>, offset:OFFSET <off_t>) address 1.0
mmap2(addr:ADDRESS <unsigned long>, size:SIZE <unsigned long>, prot:FLAGS MmapProt <unsigned long>, flags:FLAGS MmapFlags <unsigned long>, fd:FD <unsigned long>, pgoffset:UINT <unsigned long>) address 2.4
mmap2@s390(args:IN_STRUCT <struct mmap_arg_struct_emu31 *>) address 2.4
modify_ldt(func:INT <int>, ptr:ADDRESS <void *>, bytecount:SIZE <unsigned long>) int 1.0
mount(source:PATH <char *>, target:PATH <char *>, fstype:STRING <char *>, flags:FLAGS MountFlags <unsigned long>, data:STRING <void *>) int 1.0
mount_setattr(dirfd:DIRFD <int>, path:PATH <const char *> @dirfd, flags:FLAGS AtFlags <unsigned int>, attr:IN_STRUCT <struct mount_attr *> #size, size:SIZE <size_t>) int 5.12
move_mount(from_dirfd:DIRFD <int>, from_path:PATH <const char *> @from_dirfd, to_dirfd:DIRFD <int>, to_path:PATH <const char *> @to_dirfd, flags:FLAGS MoveMountFlags <unsigned int>) int 5.2
move_pages(pid:PID <pid_t>, count:SIZE <unsigned long>, pages:POINTERS <const void **>, nodes:IN_ARRAY <const int *> #count, status:OUT_ARRAY <int *> #count, flags:FLAGS MbindFlags <int>) int 2.6.18
mprotect(addr:ADDRESS <unsigned long>, size:SIZE <size_t>, prot:FLAGS MmapProt <unsigned long>) int 1.0
mpx() int !removed
mq_getsetattr(mqdes:FD <mqd_t>, newattr:IN_STRUCT <const struct mq_attr *>, oldattr:OUT_STRUCT <struct mq_attr *>) int 2.6.6
mq_getsetattr@mips64n32,mipsel64n32(mqdes:FD <mqd_t>, newattr:IN_STRUCT <const struct compat_mq_attr *>, oldattr:OUT_STRUCT <struct compat_mq_attr *>) int 2.6.6
mq_notify(mqdes:FD <mqd_t>, event:IN_STRUCT <const struct sigevent *>) int 2.6.6
mq_notify@x32,mips64n32,mipsel64n32(mqdes:FD <mqd_t>, event:IN_STRUCT <const struct compat_sigevent *>) int 2.6.6
mq_open(name:STRING <const char *>, oflag:FLAGS OpenFlags <int>, mode:MODE <umode_t>, attr:IN_STRUCT <struct mq_attr *>) fd 2.6.6
mq_open@mips64n32,mipsel64n32(name:STRING <const char *>, oflag:FLAGS OpenFlags <int>, mode:MODE <compat_mode_t>, attr:IN_STRUCT <struct compat_mq_attr *>) fd 2.6.6
mq_timedreceive(mqdes:FD <mqd_t>, msg:OUT_BUFFER <char *> #size, size:SIZE <size_t>, priority:OUT_VALUE <unsigned int *>, timeout:IN_STRUCT <const struct __kernel_timespec *>) ssize_t 2.6.6
mq_timedreceive@i386,arm,ppc,s390,mips,mipsel,mips64n32,mipsel64n32,parisc,sh4,m68k(mqdes:FD <mqd_t>, msg:OUT_BUFFER <char *> #size, size:SIZE <unsigned int>, priority:OUT_VALUE <unsigned int *>, timeout:IN_STRUCT <const struct old_timespec32 *>) ssize_t 2.6.6
mq_timedreceive_time64(mqdes:FD <mqd_t>, msg:OUT_BUFFER <char *> #size, size:SIZE <size_t>, priority:OUT_VALUE <unsigned int *>, timeout:IN_STRUCT <const struct __kernel_timespec *>) ssize_t 5.1
mq_timedsend(mqdes:FD <mqd_t>, msg:IN_BUFFER <const char *> #size, size:SIZE <size_t>, priority:UINT <unsigned int>, timeout:IN_STRUCT <const struct __kernel_timespec *>) int 2.6.6
mq_timedsend@i386,arm,ppc,s390,mips,mipsel,mips64n32,mipsel64n32,parisc,sh4,m68k(mqdes:FD <mqd_t>, msg:IN_BUFFER <const char *> #size, size:SIZE <unsigned int>, priority:UINT <unsigned int>, timeout:IN_STRUCT <const struct old_timespec32 *>) int 2.6.6
mq_timedsend_time64(mqdes:FD <mqd_t>, msg:IN_BUFFER <const char *> #size, size:SIZE <size_t>, priority:UINT <unsigned int>, timeout:IN_STRUCT <const struct __kernel_timespec *>) int 5.1
mq_unlink(name:STRING <const char *>) int 2.6.6
mremap(old_address:ADDRESS <unsigned long>, old_size:SIZE <unsigned long>, new_size:SIZE <unsigned long>, flags:FLAGS MremapFlags <unsigned long>, new_address:ADDRESS <unsigned long>) address 2.0
mseal(addr:ADDRESS <unsigned long>, size:SIZE <size_t>, flags:FLAGS <unsigned long>) int 6.10
msgctl(msqid:INT <int>, cmd:COMMAND IpcCommand <int>, buf:ADDRESS <struct msqid_ds *>) int 2.0
msgctl@mips64n32,mipsel64n32(msqid:INT <int>, cmd:COMMAND IpcCommand <int>, buf:ADDRESS <void *>) int 2.0
msgget(key:INT <key_t>, msgflg:FLAGS IpcFlags <int>) int 2.0
msgrcv(msqid:INT <int>, msgp:OUT_STRUCT <struct msgbuf *> %msgbuf, msgsz:SIZE <size_t>, msgtyp:INT <long>, msgflg:FLAGS IpcFlags <int>) ssize_t 2.0
msgrcv@mips64n32,mipsel64n32(msqid:INT <int>, msgp:OUT_STRUCT <compat_uptr_t> %msgbuf, msgsz:SIZE <compat_ssize_t>, msgtyp:INT <compat_long_t>, msgflg:FLAGS IpcFlags <int>) ssize_t 2.0
msgsnd(msqid:INT <int>, msgp:IN_STRUCT <struct msgbuf *> %msgbuf, msgsz:SIZE <size_t>, msgflg:FLAGS IpcFlags <int>) int 2.0
msgsnd@mips64n32,mipsel64n32(msqid:INT <int>, msgp:IN_STRUCT <compat_uptr_t> %msgbuf, msgsz:SIZE <compat_ssize_t>, msgflg:FLAGS IpcFlags <int>) int 2.0
msync(addr:ADDRESS <unsigned long>, size:SIZE <size_t>, flags:FLAGS MsyncFlags <int>) int 2.0
multiplexer() int !removed
munlock(addr:ADDRESS <unsigned long>, size:SIZE <size_t>) int 2.0
munlockall() int 2.0
munmap(addr:ADDRESS <unsigned long>, size:SIZE <size_t>) int 1.0
name_to_handle_at(dirfd:DIRFD <int>, path:PATH <const char *> @dirfd, handle:INOUT_STRUCT <struct file_handle *>, mount_id:OUT_VALUE <void *>, flags:FLAGS HandleFlags <int>) int 2.6.39
nanosleep(request:IN_STRUCT <struct __kernel_timespec *>, remain:OUT_STRUCT <struct __kernel_timespec *>) int 2.0
nanosleep@i386,arm,ppc,s390,mips,mipsel,mips64n32,mipsel64n32,parisc,sh4,m68k(request:IN_STRUCT <struct old_timespec32 *>, remain:OUT_STRUCT <struct old_timespec32 *>) int 2.0
newfstatat(dirfd:DIRFD <int>, path:PATH <const char *> @dirfd, statbuf:OUT_STRUCT <struct stat *>, flags:FLAGS AtFlags <int>) int 2.6.16
nfsservctl(cmd:INT <int>, arg:IN_STRUCT <struct nfsctl_arg *>, res:ADDRESS <void *>) int 2.2 !removed
nice(inc:INT <int>) int 1.0
oldfstat(fd:FD <unsigned int>, statbuf:OUT_STRUCT <struct __old_kernel_stat *>) int 1.0
oldlstat(path:PATH <const char *>, statbuf:OUT_STRUCT <struct __old_kernel_stat *>) int 1.0
oldolduname(buf:OUT_STRUCT <struct oldold_utsname *>) int 1.0
oldstat(path:PATH <const char *>, statbuf:OUT_STRUCT <struct __old_kernel_stat *>) int 1.0
olduname(buf:OUT_STRUCT <struct old_utsname *>) int 1.0
open(path:PATH <const char *>, flags:FLAGS OpenFlags <int>, mode:MODE <umode_t>) fd 1.0
open_by_handle_at(mount_fd:DIRFD <int>, handle:IN_STRUCT <struct file_handle *>, flags:FLAGS OpenFlags <int>) fd 2.6.39
open_tree(dirfd:DIRFD <int>, path:PATH <const char *> @dirfd, flags:FLAGS OpenTreeFlags <unsigned>) fd 5.2
open_tree_attr(dirfd:DIRFD <int>, path:PATH <const char *> @dirfd, flags:FLAGS OpenTreeFlags <unsigned>, attr:IN_STRUCT <struct mount_attr *> #size, size:SIZE <size_t>) fd 6.15
openat(dirfd:DIRFD <int>, path:PATH <const char *> @dirfd, flags:FLAGS OpenFlags <int>, mode:MODE <umode_t>) fd 2.6.16
openat2(dirfd:DIRFD <int>, path:PATH <const char *> @dirfd, how:IN_STRUCT <struct open_how *> #size, size:SIZE <size_t>) fd 5.6
pause() int 1.0
pciconfig_iobase(which:INT <long>, bus:UINT <unsigned long>, devfn:UINT <unsigned long>) int 2.2.15
pciconfig_read(bus:UINT <unsigned long>, dfn:UINT <unsigned long>, off:UINT <unsigned long>, size:UINT <unsigned long>, buf:OUT_BUFFER <void *>) int 2.0.26
pciconfig_write(bus:UINT <unsigned long>, dfn:UINT <unsigned long>, off:UINT <unsigned long>, size:UINT <unsigned long>, buf:IN_BUFFER <void *>) int 2.0.26
perf_event_open(attr:IN_STRUCT <struct perf_event_attr *>, pid:PID <pid_t>, cpu:INT <int>, group_fd:FD <int>, flags:FLAGS PerfFlags <unsigned long>) fd 2.6.31
personality(persona:FLAGS Personality <unsigned int>) int 1.2
personality@ppc64,ppc64le,mips64n32,mipsel64n32(persona:FLAGS Personality <unsigned long>) int 1.2
pidfd_getfd(pidfd:FD <int>, targetfd:REMOTE_FD <int>, flags:FLAGS <unsigned int>) fd 5.6
pidfd_open(pid:PID <pid_t>, flags:FLAGS PidfdFlags <unsigned int>) fd 5.3
pidfd_send_signal(pidfd:FD <int>, sig:SIGNAL Signal <int>, info:IN_STRUCT <siginfo_t *>, flags:FLAGS PidfdSignalFlags <unsigned int>) int 5.1
pipe(pipefd:FD_OUT <int *>) int 1.0
pipe@mips,mipsel,mips64,mipsel64,mips64n32,mipsel64n32,sh4() int 1.0
pipe2(pipefd:FD_OUT <int *>, flags:FLAGS OpenFlags <int>) int 2.6.27
pivot_root(new_root:PATH <const char *>, put_old:PATH <const char *>) int 2.4
pkey_alloc(flags:FLAGS <unsigned long>, access_rights:FLAGS PkeyAccess <unsigned long>) int 4.8
pkey_free(pkey:INT <int>) int 4.8
pkey_mprotect(addr:ADDRESS <unsigned long>, size:SIZE <size_t>, prot:FLAGS MmapProt <unsigned long>, pkey:INT <int>) int 4.8
poll(fds:INOUT_ARRAY <struct pollfd *> #nfds, nfds:SIZE <unsigned int>, timeout:INT <int>) int 2.0.36
ppoll(fds:INOUT_ARRAY <struct pollfd *> #nfds, nfds:SIZE <unsigned int>, tmo_p:INOUT_STRUCT <struct __kernel_timespec *>, sigmask:IN_STRUCT <const sigset_t *> #sigsetsize, sigsetsize:SIZE <size_t>) int 2.6.16
ppoll@i386,arm,ppc,s390,mips,mipsel,parisc,sh4,m68k(fds:INOUT_ARRAY <struct pollfd *> #nfds, nfds:SIZE <unsigned int>, tmo_p:INOUT_STRUCT <struct old_timespec32 *>, sigmask:IN_STRUCT <const sigset_t *> #sigsetsize, sigsetsize:SIZE <size_t>) int 2.6.16
ppoll@mips64n32,mipsel64n32(fds:INOUT_ARRAY <struct pollfd *> #nfds, nfds:SIZE <unsigned int>, tmo_p:INOUT_STRUCT <struct old_timespec32 *>, sigmask:IN_STRUCT <const compat_sigset_t *> #sigsetsize, sigsetsize:SIZE <compat_size_t>) int 2.6.16
ppoll_time64(fds:INOUT_ARRAY <struct pollfd *> #nfds, nfds:SIZE <unsigned int>, tmo_p:INOUT_STRUCT <struct __kernel_timespec *>, sigmask:IN_STRUCT <const sigset_t *> #sigsetsize, sigsetsize:SIZE <size_t>) int 5.1
ppoll_time64@mips64n32,mipsel64n32(fds:INOUT_ARRAY <struct pollfd *> #nfds, nfds:SIZE <unsigned int>, tmo_p:INOUT_STRUCT <struct __kernel_timespec *>, sigmask:IN_STRUCT <const compat_sigset_t *> #sigsetsize, sigsetsize:SIZE <compat_size_t>) int 5.1
prctl(option:COMMAND PrctlOption <int>, arg2:ARGUMENT <unsigned long>, arg3:ARGUMENT <unsigned long>, arg4:ARGUMENT <unsigned long>, arg5:ARGUMENT <unsigned long>) int 2.2
pread64(fd:FD <unsigned int>, buf:OUT_BUFFER <char *> #count, count:SIZE <size_t>, offset:OFFSET <loff_t>) ssize_t
preadv(fd:FD <unsigned long>, iov:OUT_IOVEC <const struct iovec *> #iovcnt, iovcnt:SIZE <unsigned long>, offset_low:UINT <unsigned long>, offset_high:UINT <unsigned long>) ssize_t 2.6.30
preadv@x32(fd:FD <unsigned long>, iov:OUT_IOVEC <const struct iovec *> #iovcnt, iovcnt:SIZE <unsigned long>, offset:OFFSET <loff_t>) ssize_t 2.6.30
preadv@mips64n32,mipsel64n32(fd:FD <compat_ulong_t>, iov:OUT_IOVEC <const struct iovec *> #iovcnt, iovcnt:SIZE <compat_ulong_t>, offset_low:UINT <u32>, offset_high:UINT <u32>) ssize_t 2.6.30
preadv2(fd:FD <unsigned long>, iov:OUT_IOVEC <const struct iovec *> #iovcnt, iovcnt:SIZE <unsigned long>, offset_low:UINT <unsigned long>, offset_high:UINT <unsigned long>, flags:FLAGS RwFlags <rwf_t>) ssize_t 4.6
preadv2@x32(fd:FD <unsigned long>, iov:OUT_IOVEC <const struct iovec *> #iovcnt, iovcnt:SIZE <unsigned long>, offset:OFFSET <loff_t>, flags:FLAGS RwFlags <rwf_t>) ssize_t 4.6
preadv2@mips64n32,mipsel64n32(fd:FD <compat_ulong_t>, iov:OUT_IOVEC <const struct iovec *> #iovcnt, iovcnt:SIZE <compat_ulong_t>, offset_low:UINT <u32>, offset_high:UINT <u32>, flags:FLAGS RwFlags <rwf_t>) ssize_t 4.6
prlimit64(pid:PID <pid_t>, resource:COMMAND RlimitResource <unsigned int>, new_rlim:IN_STRUCT <const struct rlimit64 *>, old_rlim:OUT_STRUCT <struct rlimit64 *>) int 2.6.36
process_madvise(pidfd:FD <int>, iov:REMOTE_IOVEC <const struct iovec *> #iovcnt, iovcnt:SIZE <size_t>, advice:COMMAND MadviseAdvice <int>, flags:FLAGS <unsigned int>) ssize_t 5.10
process_mrelease(pidfd:FD <int>, flags:FLAGS <unsigned int>) int 5.15
process_vm_readv(pid:PID <pid_t>, local_iov:OUT_IOVEC <const struct iovec *> #liovcnt, liovcnt:SIZE <unsigned long>, remote_iov:REMOTE_IOVEC <const struct iovec *> #riovcnt, riovcnt:SIZE <unsigned long>, flags:FLAGS <unsigned long>) ssize_t 3.2
process_vm_writev(pid:PID <pid_t>, local_iov:IOVEC <const struct iovec *> #liovcnt, liovcnt:SIZE <unsigned long>, remote_iov:REMOTE_IOVEC <const struct iovec *> #riovcnt, riovcnt:SIZE <unsigned long>, flags:FLAGS <unsigned long>) ssize_t 3.2
prof() int !removed
profil() int !removed
pselect6(nfds:INT <int>, readfds:INOUT_STRUCT <fd_set *> %fd_set, writefds:INOUT_STRUCT <fd_set *> %fd_set, exceptfds:INOUT_STRUCT <fd_set *> %fd_set, timeout:INOUT_STRUCT <struct __kernel_timespec *>, sigmask:IN_STRUCT <void *> %sigset_argpack) int 2.6.16
pselect6@i386,arm,ppc,s390,mips,mipsel,parisc,sh4,m68k(nfds:INT <int>, readfds:INOUT_STRUCT <fd_set *> %fd_set, writefds:INOUT_STRUCT <fd_set *> %fd_set, exceptfds:INOUT_STRUCT <fd_set *> %fd_set, timeout:INOUT_STRUCT <struct old_timespec32 *>, sigmask:IN_STRUCT <void *> %sigset_argpack) int 2.6.16
pselect6@mips64n32,mipsel64n32(nfds:INT <int>, readfds:INOUT_STRUCT <compat_ulong_t *> %fd_set, writefds:INOUT_STRUCT <compat_ulong_t *> %fd_set, exceptfds:INOUT_STRUCT <compat_ulong_t *> %fd_set, timeout:INOUT_STRUCT <struct old_timespec32 *>, sigmask:IN_STRUCT <void *> %sigset_argpack) int 2.6.16
pselect6_time64(nfds:INT <int>, readfds:INOUT_STRUCT <fd_set *> %fd_set, writefds:INOUT_STRUCT <fd_set *> %fd_set, exceptfds:INOUT_STRUCT <fd_set *> %fd_set, timeout:INOUT_STRUCT <struct __kernel_timespec *>, sigmask:IN_STRUCT <void *> %sigset_argpack) int 5.1
pselect6_time64@mips64n32,mipsel64n32(nfds:INT <int>, readfds:INOUT_STRUCT <compat_ulong_t *> %fd_set, writefds:INOUT_STRUCT <compat_ulong_t *> %fd_set, exceptfds:INOUT_STRUCT <compat_ulong_t *> %fd_set, timeout:INOUT_STRUCT <struct __kernel_timespec *>, sigmask:IN_STRUCT <void *> %sigset_argpack) int 5.1
ptrace(request:COMMAND PtraceRequest <long>, pid:PID <long>, addr:ADDRESS <unsigned long>, data:ARGUMENT <unsigned long>) int 1.0
ptrace@x32,mips64n32,mipsel64n32(request:COMMAND PtraceRequest <compat_long_t>, pid:PID <compat_long_t>, addr:ADDRESS <compat_long_t>, data:ARGUMENT <compat_long_t>) int 1.0
putpmsg() int !removed
pwrite64(fd:FD <unsigned int>, buf:IN_BUFFER <const char *> #count, count:SIZE <size_t>, offset:OFFSET <loff_t>) ssize_t
pwritev(fd:FD <unsigned long>, iov:IOVEC <const struct iovec *> #iovcnt, iovcnt:SIZE <unsigned long>, offset_low:UINT <unsigned long>, offset_high:UINT <unsigned long>) ssize_t 2.6.30
pwritev@x32(fd:FD <unsigned long>, iov:IOVEC <const struct iovec *> #iovcnt, iovcnt:SIZE <unsigned long>, offset:OFFSET <loff_t>) ssize_t 2.6.30
pwritev@mips64n32,mipsel64n32(fd:FD <compat_ulong_t>, iov:IOVEC <const struct iovec *> #iovcnt, iovcnt:SIZE <compat_ulong_t>, offset_low:UINT <u32>, offset_high:UINT <u32>) ssize_t 2.6.30
pwritev2(fd:FD <unsigned long>, iov:IOVEC <const struct iovec *> #iovcnt, iovcnt:SIZE <unsigned long>, offset_low:UINT <unsigned long>, offset_high:UINT <unsigned long>, flags:FLAGS RwFlags <rwf_t>) ssize_t 4.6
pwritev2@x32(fd:FD <unsigned long>, iov:IOVEC <const struct iovec *> #iovcnt, iovcnt:SIZE <unsigned long>, offset:OFFSET <loff_t>, flags:FLAGS RwFlags <rwf_t>) ssize_t 4.6
pwritev2@mips64n32,mipsel64n32(fd:FD <compat_ulong_t>, iov:IOVEC <const struct iovec *> #iovcnt, iovcnt:SIZE <compat_ulong_t>, offset_low:UINT <u32>, offset_high:UINT <u32>, flags:FLAGS RwFlags <rwf_t>) ssize_t 4.6
query_module(name:STRING <const char *>, which:INT <int>, buf:OUT_BUFFER <void *> #bufsize, bufsize:SIZE <size_t>, ret:OUT_VALUE <size_t *>) int 2.2 !removed
quotactl(cmd:UINT <unsigned int>, special:PATH <const char *>, id:UINT <qid_t>, addr:ADDRESS <void *>) int 1.0
quotactl_fd(fd:FD <unsigned int>, cmd:UINT <unsigned int>, id:UINT <qid_t>, addr:ADDRESS <void *>) int 5.14
read(fd:FD <unsigned int>, buf:OUT_BUFFER <char *> #count, count:SIZE <size_t>) ssize_t 1.0
readahead(fd:FD <int>, offset:OFFSET <loff_t>, count:SIZE <size_t>) int 2.4.13
readdir(fd:FD <unsigned int>, dirp:OUT_STRUCT <struct old_linux_dirent *>, count:UINT <unsigned int>) int 1.0
readlink(path:PATH <const char *>, buf:OUT_BUFFER <char *> #size, size:SIZE <int>) ssize_t 1.0
readlinkat(dirfd:DIRFD <int>, path:PATH <const char *> @dirfd, buf:OUT_BUFFER <char *> #size, size:SIZE <int>) ssize_t 2.6.16
readv(fd:FD <unsigned long>, iov:OUT_IOVEC <const struct iovec *> #iovcnt, iovcnt:SIZE <unsigned long>) ssize_t 2.0
reboot(magic:INT <int>, magic2:INT <int>, cmd:COMMAND RebootCommand <unsigned int>, arg:STRING <void *>) int 1.0
recv(fd:FD <int>, buf:OUT_BUFFER <void *> #size, size:SIZE <size_t>, flags:FLAGS MsgFlags <unsigned int>) ssize_t 2.0
recvfrom(fd:FD <int>, buf:OUT_BUFFER <void *> #size, size:SIZE <size_t>, flags:FLAGS MsgFlags <unsigned int>, address:OUT_SOCKADDR <struct sockaddr *> #length, length:SOCKLEN <int *>) ssize_t 2.0
recvfrom@x32,mips64n32,mipsel64n32(fd:FD <int>, buf:OUT_BUFFER <void *> #size, size:SIZE <compat_size_t>, flags:FLAGS MsgFlags <unsigned int>, address:OUT_SOCKADDR <struct sockaddr *> #length, length:SOCKLEN <int *>) ssize_t 2.0
recvmmsg(fd:FD <int>, msgvec:OUT_MMSGHDR <struct mmsghdr *> #vlen, vlen:SIZE <unsigned int>, flags:FLAGS MsgFlags <unsigned int>, timeout:INOUT_STRUCT <struct __kernel_timespec *>) int 2.6.33
recvmmsg@x32(fd:FD <int>, msgvec:OUT_MMSGHDR <struct compat_mmsghdr *> #vlen, vlen:SIZE <unsigned int>, flags:FLAGS MsgFlags <unsigned int>, timeout:INOUT_STRUCT <struct __kernel_timespec *>) int 2.6.33
recvmmsg@i386,arm,ppc,s390,mips,mipsel,parisc,sh4,m68k(fd:FD <int>, msgvec:OUT_MMSGHDR <struct mmsghdr *> #vlen, vlen:SIZE <unsigned int>, flags:FLAGS MsgFlags <unsigned int>, timeout:INOUT_STRUCT <struct old_timespec32 *>) int 2.6.33
recvmmsg@mips64n32,mipsel64n32(fd:FD <int>, msgvec:OUT_MMSGHDR <struct compat_mmsghdr *> #vlen, vlen:SIZE <unsigned int>, flags:FLAGS MsgFlags <unsigned int>, timeout:INOUT_STRUCT <struct old_timespec32 *>) int 2.6.33
recvmmsg_time64(fd:FD <int>, msgvec:OUT_MMSGHDR <struct mmsghdr *> #vlen, vlen:SIZE <unsigned int>, flags:FLAGS MsgFlags <unsigned int>, timeout:INOUT_STRUCT <struct __kernel_timespec *>) int 5.1
recvmmsg_time64@mips64n32,mipsel64n32(fd:FD <int>, msgvec:OUT_MMSGHDR <struct compat_mmsghdr *> #vlen, vlen:SIZE <unsigned int>, flags:FLAGS MsgFlags <unsigned int>, timeout:INOUT_STRUCT <struct __kernel_timespec *>) int 5.1
recvmsg(fd:FD <int>, msg:OUT_MSGHDR <struct user_msghdr *>, flags:FLAGS MsgFlags <unsigned int>) ssize_t 2.0
recvmsg@x32,mips64n32,mipsel64n32(fd:FD <int>, msg:OUT_MSGHDR <struct compat_msghdr *>, flags:FLAGS MsgFlags <unsigned int>) ssize_t 2.0
remap_file_pages(addr:ADDRESS <unsigned long>, size:SIZE <unsigned long>, prot:FLAGS MmapProt <unsigned long>, pgoff:UINT <unsigned long>, flags:FLAGS MmapFlags <unsigned long>) int 2.6
removexattr(path:PATH <const char *>, name:STRING <const char *>) int 2.6
removexattrat(dirfd:DIRFD <int>, path:PATH <const char *> @dirfd, at_flags:FLAGS AtFlags <unsigned int>, name:STRING <const char *>) int 6.13
rename(oldpath:PATH <const char *>, newpath:PATH <const char *>) int 1.0
renameat(olddirfd:DIRFD <int>, oldpath:PATH <const char *> @olddirfd, newdirfd:DIRFD <int>, newpath:PATH <const char *> @newdirfd) int 2.6.16
renameat2(olddirfd:DIRFD <int>, oldpath:PATH <const char *> @olddirfd, newdirfd:DIRFD <int>, newpath:PATH <const char *> @newdirfd, flags:FLAGS RenameFlags <unsigned int>) int 3.15
request_key(type:STRING <const char *>, description:STRING <const char *>, callout_info:STRING <const char *>, dest_keyring:INT <key_serial_t>) int 2.6.10
reserved177() int !removed
reserved193() int !removed
reserved221() int !removed
reserved82() int !removed
restart_syscall() int 2.6
riscv_flush_icache(start:ADDRESS <uintptr_t>, end:ADDRESS <uintptr_t>, flags:FLAGS <uintptr_t>) int 4.15
riscv_hwprobe(pairs:INOUT_ARRAY <struct riscv_hwprobe *> #pair_count, pair_count:SIZE <size_t>, cpusetsize:SIZE <size_t>, cpus:ADDRESS <unsigned long *>, flags:FLAGS <unsigned int>) int 6.4
rmdir(path:PATH <const char *>) int 1.0
rseq(rseq:ADDRESS <struct rseq *> %rseq, rseq_len:SIZE <u32>, flags:FLAGS RseqFlags <int>, sig:UINT <u32>) int 4.18
rseq_slice_yield() int
rt_sigaction(sig:SIGNAL Signal <int>, act:IN_STRUCT <const struct sigaction *>, oldact:OUT_STRUCT <struct sigaction *>, sigsetsize:SIZE <size_t>) int 2.2
rt_sigaction@x32,mips64n32,mipsel64n32(sig:SIGNAL Signal <int>, act:IN_STRUCT <const struct compat_sigaction *>, oldact:OUT_STRUCT <struct compat_sigaction *>, sigsetsize:SIZE <compat_size_t>) int 2.2
rt_sigpending(set:OUT_STRUCT <sigset_t *> #sigsetsize, sigsetsize:SIZE <size_t>) int 2.2
rt_sigpending@x32,mips64n32,mipsel64n32(set:OUT_STRUCT <compat_sigset_t *> #sigsetsize, sigsetsize:SIZE <compat_size_t>) int 2.2
rt_sigprocmask(how:COMMAND SigprocmaskHow <int>, set:IN_STRUCT <sigset_t *> #sigsetsize, oldset:OUT_STRUCT <sigset_t *> #sigsetsize, sigsetsize:SIZE <size_t>) int 2.2
rt_sigprocmask@mips64n32,mipsel64n32(how:COMMAND SigprocmaskHow <int>, set:IN_STRUCT <compat_sigset_t *> #sigsetsize, oldset:OUT_STRUCT <compat_sigset_t *> #sigsetsize, sigsetsize:SIZE <compat_size_t>) int 2.2
rt_sigqueueinfo(tgid:PID <pid_t>, sig:SIGNAL Signal <int>, info:IN_STRUCT <siginfo_t *>) int 2.2
rt_sigqueueinfo@x32,mips64n32,mipsel64n32(tgid:PID <compat_pid_t>, sig:SIGNAL Signal <int>, info:IN_STRUCT <struct compat_siginfo *>) int 2.2
rt_sigreturn() int 2.2 !never_returns
rt_sigsuspend(mask:IN_STRUCT <sigset_t *> #sigsetsize, sigsetsize:SIZE <size_t>) int 2.2
rt_sigsuspend@mips64n32,mipsel64n32(mask:IN_STRUCT <compat_sigset_t *> #sigsetsize, sigsetsize:SIZE <compat_size_t>) int 2.2
rt_sigtimedwait(set:IN_STRUCT <const sigset_t *> #sigsetsize, info:OUT_STRUCT <siginfo_t *>, timeout:IN_STRUCT <const struct __kernel_timespec *>, sigsetsize:SIZE <size_t>) int 2.2
rt_sigtimedwait@x32(set:IN_STRUCT <compat_sigset_t *> #sigsetsize, info:OUT_STRUCT <struct compat_siginfo *>, timeout:IN_STRUCT <struct __kernel_timespec *>, sigsetsize:SIZE <compat_size_t>) int 2.2
rt_sigtimedwait@i386,arm,ppc,s390,mips,mipsel,parisc,sh4,m68k(set:IN_STRUCT <const sigset_t *> #sigsetsize, info:OUT_STRUCT <siginfo_t *>, timeout:IN_STRUCT <const struct old_timespec32 *>, sigsetsize:SIZE <size_t>) int 2.2
rt_sigtimedwait@mips64n32,mipsel64n32(set:IN_STRUCT <compat_sigset_t *> #sigsetsize, info:OUT_STRUCT <struct compat_siginfo *>, timeout:IN_STRUCT <struct old_timespec32 *>, sigsetsize:SIZE <compat_size_t>) int 2.2
rt_sigtimedwait_time64(set:IN_STRUCT <const sigset_t *> #sigsetsize, info:OUT_STRUCT <siginfo_t *>, timeout:IN_STRUCT <const struct __kernel_timespec *>, sigsetsize:SIZE <size_t>) int 5.1
rt_sigtimedwait_time64@mips64n32,mipsel64n32(set:IN_STRUCT <compat_sigset_t *> #sigsetsize, info:OUT_STRUCT <struct compat_siginfo *>, timeout:IN_STRUCT <struct __kernel_timespec *>, sigsetsize:SIZE <compat_size_t>) int 5.1
rt_tgsigqueueinfo(tgid:PID <pid_t>, tid:PID <pid_t>, sig:SIGNAL Signal <int>, info:IN_STRUCT <siginfo_t *>) int 2.6.31
rt_tgsigqueueinfo@x32,mips64n32,mipsel64n32(tgid:PID <compat_pid_t>, tid:PID <compat_pid_t>, sig:SIGNAL Signal <int>, info:IN_STRUCT <struct compat_siginfo *>) int 2.6.31
rtas(args:INOUT_STRUCT <struct rtas_args *>) int 2.6.2
s390_guarded_storage(command:INT <int>, gs_cb:INOUT_STRUCT <struct gs_cb *>) int 4.12
s390_pci_mmio_read(mmio_addr:ADDRESS <unsigned long>, buf:OUT_BUFFER <void *> #size, size:SIZE <size_t>) int 3.19
s390_pci_mmio_write(mmio_addr:ADDRESS <unsigned long>, buf:IN_BUFFER <const void *> #size, size:SIZE <size_t>) int 3.19
s390_runtime_instr(command:INT <int>, signum:INT <int>) int 3.7
s390_sthyi(function_code:UINT <unsigned long>, buffer:ADDRESS <void *>, return_code:OUT_VALUE <u64 *>, flags:FLAGS <unsigned long>) int 4.15
sched_get_priority_max(policy:COMMAND SchedPolicy <int>) int 2.0
sched_get_priority_min(policy:COMMAND SchedPolicy <int>) int 2.0
sched_getaffinity(pid:PID <pid_t>, cpusetsize:SIZE <unsigned int>, mask:OUT_BUFFER <unsigned long *> #cpusetsize) int 2.6
sched_getattr(pid:PID <pid_t>, attr:OUT_STRUCT <struct sched_attr *> #size, size:SIZE <unsigned int>, flags:FLAGS <unsigned int>) int 3.14
sched_getparam(pid:PID <pid_t>, param:OUT_STRUCT <struct sched_param *>) int 2.0
sched_getscheduler(pid:PID <pid_t>) int 2.0
sched_rr_get_interval(pid:PID <pid_t>, tp:OUT_STRUCT <struct __kernel_timespec *>) int 2.0
sched_rr_get_interval@i386,arm,ppc,s390,mips,mipsel,mips64n32,mipsel64n32,parisc,sh4,m68k(pid:PID <pid_t>, tp:OUT_STRUCT <struct old_timespec32 *>) int 2.0
sched_rr_get_interval_time64(pid:PID <pid_t>, tp:OUT_STRUCT <struct __kernel_timespec *>) int 5.1
sched_setaffinity(pid:PID <pid_t>, cpusetsize:SIZE <unsigned int>, mask:IN_BUFFER <unsigned long *> #cpusetsize) int 2.6
sched_setattr(pid:PID <pid_t>, attr:IN_STRUCT <struct sched_attr *>, flags:FLAGS <unsigned int>) int 3.14
sched_setparam(pid:PID <pid_t>, param:IN_STRUCT <struct sched_param *>) int 2.0
sched_setscheduler(pid:PID <pid_t>, policy:FLAGS SchedPolicy <int>, param:IN_STRUCT <struct sched_param *>) int 2.0
sched_yield() int 2.0
seccomp(operation:COMMAND Operation <unsigned int>, flags:FLAGS FilterFlag <unsigned int>, args:ARGUMENT <void *>) int 3.17
security() int !removed
select(nfds:INT <int>, readfds:INOUT_STRUCT <fd_set *> %fd_set, writefds:INOUT_STRUCT <fd_set *> %fd_set, exceptfds:INOUT_STRUCT <fd_set *> %fd_set, timeout:INOUT_STRUCT <struct __kernel_old_timeval *>) int 1.0
select@i386,ppc,m68k(args:IN_STRUCT <struct sel_arg_struct *>) int 1.0
semctl(semid:INT <int>, semnum:INT <int>, cmd:COMMAND IpcCommand <int>, arg:ARGUMENT <unsigned long>) int 2.0
semctl@mips64n32,mipsel64n32(semid:INT <int>, semnum:INT <int>, cmd:COMMAND IpcCommand <int>, arg:ARGUMENT <int>) int 2.0
semget(key:INT <key_t>, nsems:INT <int>, semflg:FLAGS IpcFlags <int>) int 2.0
semop(semid:INT <int>, sops:IN_ARRAY <struct sembuf *> #nsops, nsops:SIZE <unsigned int>) int 2.0
semtimedop(semid:INT <int>, sops:IN_ARRAY <struct sembuf *> #nsops, nsops:SIZE <unsigned int>, timeout:IN_STRUCT <const struct __kernel_timespec *>) int 2.6
semtimedop@arm,mips64n32,mipsel64n32,parisc(semid:INT <int>, sops:IN_ARRAY <struct sembuf *> #nsops, nsops:SIZE <unsigned int>, timeout:IN_STRUCT <const struct old_timespec32 *>) int 2.6
semtimedop_time64(semid:INT <int>, sops:IN_ARRAY <struct sembuf *> #nsops, nsops:SIZE <unsigned int>, timeout:IN_STRUCT <const struct __kernel_timespec *>) int 5.1
send(fd:FD <int>, buf:IN_BUFFER <void *> #size, size:SIZE <size_t>, flags:FLAGS MsgFlags <unsigned int>) ssize_t 2.0
sendfile(out_fd:FD <int>, in_fd:FD <int>, offset:INOUT_VALUE <loff_t *>, count:SIZE <size_t>) ssize_t 2.2
sendfile@mips64n32,mipsel64n32(out_fd:FD <int>, in_fd:FD <int>, offset:INOUT_VALUE <compat_off_t *>, count:SIZE <compat_size_t>) ssize_t 2.2
sendfile64(out_fd:FD <int>, in_fd:FD <int>, offset:INOUT_VALUE <loff_t *>, count:SIZE <size_t>) ssize_t 2.6
sendmmsg(fd:FD <int>, msgvec:MMSGHDR <struct mmsghdr *> #vlen, vlen:SIZE <unsigned int>, flags:FLAGS MsgFlags <unsigned int>) int 3.0
sendmmsg@x32,mips64n32,mipsel64n32(fd:FD <int>, msgvec:MMSGHDR <struct compat_mmsghdr *> #vlen, vlen:SIZE <unsigned int>, flags:FLAGS MsgFlags <unsigned int>) int 3.0
sendmsg(fd:FD <int>, msg:MSGHDR <struct user_msghdr *>, flags:FLAGS MsgFlags <unsigned int>) ssize_t 2.0
sendmsg@x32,mips64n32,mipsel64n32(fd:FD <int>, msg:MSGHDR <struct compat_msghdr *>, flags:FLAGS MsgFlags <unsigned int>) ssize_t 2.0
sendto(fd:FD <int>, buf:IN_BUFFER <void *> #size, size:SIZE <size_t>, flags:FLAGS MsgFlags <unsigned int>, address:SOCKADDR <struct sockaddr *> #length, length:SIZE <int>) ssize_t 2.0
set_mempolicy(mode:COMMAND MempolicyMode <int>, nodemask:ADDRESS <const unsigned long *>, maxnode:UINT <unsigned long>) int 2.6.6
set_mempolicy_home_node(addr:ADDRESS <unsigned long>, size:SIZE <unsigned long>, home_node:UINT <unsigned long>, flags:FLAGS <unsigned long>) int 5.17
set_robust_list(head:ADDRESS <struct robust_list_head *> %robust_list_head, size:SIZE <size_t>) int 2.6.17
set_robust_list@x32,mips64n32,mipsel64n32(head:ADDRESS <struct compat_robust_list_head *> %robust_list_head, size:SIZE <compat_size_t>) int 2.6.17
set_thread_area(u_info:INOUT_STRUCT <struct user_desc *>) int 2.6
set_thread_area@mips,mipsel,mips64,mipsel64,mips64n32,mipsel64n32,m68k(tp:ADDRESS <unsigned long>) int 2.6
set_thread_area@i386(u_info:INOUT_STRUCT <struct user_desc *>) int 2.6
set_tid_address(tidptr:ADDRESS <int *>) pid 2.6
set_tls(tp:ADDRESS <unsigned long>) int 2.6.11
setdomainname(name:IN_BUFFER <char *> #size, size:SIZE <int>) int 1.0
setfsgid(gid:GID <gid_t>) gid 1.2
setfsgid@i386,arm,s390,sh4,m68k(gid:GID <old_gid_t>) gid 1.2
setfsgid32(gid:GID <gid_t>) gid 2.4
setfsuid(uid:UID <uid_t>) uid 1.2
setfsuid@i386,arm,s390,sh4,m68k(uid:UID <old_uid_t>) uid 1.2
setfsuid32(uid:UID <uid_t>) uid 2.4
setgid(gid:GID <gid_t>) int 1.0
setgid@i386,arm,s390,sh4,m68k(gid:GID <old_gid_t>) int 1.0
setgid32(gid:GID <gid_t>) int 2.4
setgroups(size:INT <int>, list:IN_ARRAY <gid_t *> #size) int 1.0
setgroups32(size:INT <int>, list:IN_ARRAY <gid_t *> #size) int 2.4
sethostname(name:IN_BUFFER <char *> #size, size:SIZE <int>) int 1.0
setitimer(which:COMMAND ItimerWhich <int>, new_value:IN_STRUCT <struct __kernel_old_itimerval *>, old_value:OUT_STRUCT <struct __kernel_old_itimerval *>) int 1.0
setitimer@mips64n32,mipsel64n32(which:COMMAND ItimerWhich <int>, new_value:IN_STRUCT <struct old_itimerval32 *>, old_value:OUT_STRUCT <struct old_itimerval32 *>) int 1.0
setns(fd:FD <int>, nstype:FLAGS CloneFlags <int>) int 3.0
setpgid(pid:PID <pid_t>, pgid:PID <pid_t>) int 1.0
setpriority(which:COMMAND PriorityWhich <int>, who:INT <int>, prio:INT <int>) int 1.0
setregid(rgid:GID <gid_t>, egid:GID <gid_t>) int 1.0
setregid@i386,arm,s390,sh4,m68k(rgid:GID <old_gid_t>, egid:GID <old_gid_t>) int 1.0
setregid32(rgid:GID <gid_t>, egid:GID <gid_t>) int 2.4
setresgid(rgid:GID <gid_t>, egid:GID <gid_t>, sgid:GID <gid_t>) int 2.2
setresgid@i386,arm,s390,sh4,m68k(rgid:GID <old_gid_t>, egid:GID <old_gid_t>, sgid:GID <old_gid_t>) int 2.2
setresgid32(rgid:GID <gid_t>, egid:GID <gid_t>, sgid:GID <gid_t>) int 2.4
setresuid(ruid:UID <uid_t>, euid:UID <uid_t>, suid:UID <uid_t>) int 2.2
setresuid@i386,arm,s390,sh4,m68k(ruid:UID <old_uid_t>, euid:UID <old_uid_t>, suid:UID <old_uid_t>) int 2.2
setresuid32(ruid:UID <uid_t>, euid:UID <uid_t>, suid:UID <uid_t>) int 2.4
setreuid(ruid:UID <uid_t>, euid:UID <uid_t>) int 1.0
setreuid@i386,arm,s390,sh4,m68k(ruid:UID <old_uid_t>, euid:UID <old_uid_t>) int 1.0
setreuid32(ruid:UID <uid_t>, euid:UID <uid_t>) int 2.4
setrlimit(resource:COMMAND RlimitResource <unsigned int>, rlim:IN_STRUCT <struct rlimit *>) int 1.0
setrlimit@mips64n32,mipsel64n32(resource:COMMAND RlimitResource <unsigned int>, rlim:IN_STRUCT <struct compat_rlimit *>) int 1.0
setsid() pid 1.0
setsockopt(fd:FD <int>, level:INT <int>, option:INT <int>, value:IN_BUFFER <char *> #length, length:SIZE <int>) int 2.0
settimeofday(tv:IN_STRUCT <struct __kernel_old_timeval *>, tz:IN_STRUCT <struct timezone *>) int 1.0
settimeofday@mips64n32,mipsel64n32(tv:IN_STRUCT <struct old_timeval32 *>, tz:IN_STRUCT <struct timezone *>) int 1.0
setuid(uid:UID <uid_t>) int 1.0
setuid@i386,arm,s390,sh4,m68k(uid:UID <old_uid_t>) int 1.0
setuid32(uid:UID <uid_t>) int 2.4
setxattr(path:PATH <const char *>, name:STRING <const char *>, value:IN_BUFFER <const void *> #size, size:SIZE <size_t>, flags:FLAGS XattrFlags <int>) int 2.6
setxattrat(dirfd:DIRFD <int>, path:PATH <const char *> @dirfd, at_flags:FLAGS AtFlags <unsigned int>, name:STRING <const char *>, args:IN_STRUCT <const struct xattr_args *> #size, size:SIZE <size_t>) int 6.13
sgetmask() int 1.0
shmat(shmid:INT <int>, shmaddr:ADDRESS <char *>, shmflg:FLAGS ShmatFlags <int>) address 2.0
shmctl(shmid:INT <int>, cmd:COMMAND IpcCommand <int>, buf:ADDRESS <struct shmid_ds *>) int 2.0
shmctl@mips64n32,mipsel64n32(shmid:INT <int>, cmd:COMMAND IpcCommand <int>, buf:ADDRESS <void *>) int 2.0
shmdt(shmaddr:ADDRESS <char *>) int 2.0
shmget(key:INT <key_t>, size:SIZE <size_t>, shmflg:FLAGS IpcFlags <int>) int 2.0
shutdown(fd:FD <int>, how:COMMAND ShutdownHow <int>) int 2.0
sigaction(sig:SIGNAL Signal <int>, act:IN_STRUCT <const struct old_sigaction *>, oldact:OUT_STRUCT <struct old_sigaction *>) int 1.0
sigaction@mips,mipsel(sig:SIGNAL Signal <int>, act:IN_STRUCT <const struct sigaction *>, oldact:OUT_STRUCT <struct sigaction *>) int 1.0
sigaltstack(ss:IN_STRUCT <const stack_t *>, old_ss:OUT_STRUCT <stack_t *>) int 2.2
sigaltstack@x32,mips64n32,mipsel64n32(ss:IN_STRUCT <const compat_stack_t *>, old_ss:OUT_STRUCT <compat_stack_t *>) int 2.2
signal(sig:SIGNAL Signal <int>, handler:ADDRESS <__sighandler_t>) int 1.0
signalfd(fd:FD <int>, mask:IN_STRUCT <sigset_t *> #sizemask, sizemask:SIZE <size_t>) fd 2.6.22
signalfd@mips64n32,mipsel64n32(fd:FD <int>, mask:IN_STRUCT <const compat_sigset_t *> #sizemask, sizemask:SIZE <compat_size_t>) fd 2.6.22
signalfd4(fd:FD <int>, mask:IN_STRUCT <sigset_t *> #sizemask, sizemask:SIZE <size_t>, flags:FLAGS SignalfdFlags <int>) fd 2.6.27
signalfd4@mips64n32,mipsel64n32(fd:FD <int>, mask:IN_STRUCT <const compat_sigset_t *> #sizemask, sizemask:SIZE <compat_size_t>, flags:FLAGS SignalfdFlags <int>) fd 2.6.27
sigpending(set:OUT_VALUE <old_sigset_t *>) int 1.0
sigprocmask(how:COMMAND SigprocmaskHow <int>, set:IN_VALUE <old_sigset_t *>, oldset:OUT_VALUE <old_sigset_t *>) int 1.0
sigreturn() int 1.0 !never_returns
sigsuspend(unused1:INT <int>, unused2:INT <int>, mask:UINT <old_sigset_t>) int 1.0
sigsuspend@ppc,ppc64,ppc64le,sh4(mask:UINT <old_sigset_t>) int 1.0
sigsuspend@mips,mipsel(set:IN_STRUCT <sigset_t *>) int 1.0
socket(family:COMMAND SocketDomain <int>, type:FLAGS SocketType <int>, protocol:INT <int>) fd 2.0
socketcall(call:COMMAND SocketCall <int>, args:ADDRESS <unsigned long *>) int 1.0
socketpair(family:COMMAND SocketDomain <int>, type:FLAGS SocketType <int>, protocol:INT <int>, sv:FD_OUT <int *>) int 2.0
splice(fd_in:FD <int>, off_in:INOUT_VALUE <loff_t *>, fd_out:FD <int>, off_out:INOUT_VALUE <loff_t *>, size:SIZE <size_t>, flags:FLAGS SpliceFlags <unsigned int>) ssize_t 2.6.17
spu_create(path:PATH <const char *>, flags:FLAGS <unsigned int>, mode:MODE <umode_t>, neighbor_fd:FD <int>) fd 2.6.16
spu_run(fd:FD <int>, npc:INOUT_VALUE <__u32 *>, event:OUT_VALUE <__u32 *>) int 2.6.16
ssetmask(newmask:INT <int>) int 1.0
stat(path:PATH <const char *>, statbuf:OUT_STRUCT <struct stat *>) int 1.0
stat64(path:PATH <const char *>, statbuf:OUT_STRUCT <struct stat64 *>) int 2.4
statfs(path:PATH <const char *>, buf:OUT_STRUCT <struct statfs *>) int 1.0
statfs@mips64n32,mipsel64n32(path:PATH <const char *>, buf:OUT_STRUCT <struct compat_statfs *>) int 1.0
statfs64(path:PATH <const char *>, size:SIZE <size_t>, buf:OUT_STRUCT <struct statfs64 *>) int 2.6
statfs64@mips64n32,mipsel64n32(path:PATH <const char *>, size:SIZE <compat_size_t>, buf:OUT_STRUCT <struct compat_statfs64 *>) int 2.6
statmount(req:IN_STRUCT <const struct mnt_id_req *>, buf:OUT_STRUCT <struct statmount *> #size, size:SIZE <size_t>, flags:FLAGS <unsigned int>) int 6.8
statx(dirfd:DIRFD <int>, path:PATH <const char *> @dirfd, flags:FLAGS AtFlags <unsigned>, mask:FLAGS StatxMask <unsigned int>, statxbuf:OUT_STRUCT <struct statx *>) int 4.11
stime(t:IN_VALUE <__kernel_old_time_t *>) int 1.0
stty() int !removed
subpage_prot(addr:ADDRESS <unsigned long>, size:SIZE <unsigned long>, map:ADDRESS <u32 *>) int 2.6.25
swapcontext(old_ctx:OUT_STRUCT <struct ucontext *>, new_ctx:IN_STRUCT <struct ucontext *>, ctx_size:INT <long>) int 2.6.3
swapoff(path:PATH <const char *>) int 1.0
swapon(path:PATH <const char *>, flags:FLAGS SwapFlags <int>) int 1.0
switch_endian() int 4.1
symlink(target:STRING <const char *>, linkpath:PATH <const char *>) int 1.0
symlinkat(target:STRING <const char *>, newdirfd:DIRFD <int>, linkpath:PATH <const char *> @newdirfd) int 2.6.16
sync() int 1.0
sync_file_range(fd:FD <int>, offset:OFFSET <loff_t>, nbytes:OFFSET <loff_t>, flags:FLAGS SyncFileRangeFlags <unsigned int>) int 2.6.17
sync_file_range2(fd:FD <int>, flags:FLAGS SyncFileRangeFlags <unsigned int>, offset:OFFSET <loff_t>, nbytes:OFFSET <loff_t>) int 2.6.22
syncfs(fd:FD <int>) int 2.6.39
sys_debug_setcontext(ctx:IN_STRUCT <struct ucontext *>, ndbg:INT <int>, dbg:IN_ARRAY <struct sig_dbg_op *> #ndbg) int 2.6.11
syscall(number:INT <unsigned long>, arg1:ARGUMENT <unsigned long>, arg2:ARGUMENT <unsigned long>, arg3:ARGUMENT <unsigned long>, arg4:ARGUMENT <unsigned long>, arg5:ARGUMENT <unsigned long>) int 1.0
sysfs(option:INT <int>, arg1:ARGUMENT <unsigned long>, arg2:ARGUMENT <unsigned long>) int 1.2
sysinfo(info:OUT_STRUCT <struct sysinfo *>) int 1.0
sysinfo@mips64n32,mipsel64n32(info:OUT_STRUCT <struct compat_sysinfo *>) int 1.0
syslog(type:COMMAND SyslogAction <int>, buf:OUT_BUFFER <char *> #size, size:SIZE <int>) int 1.0
sysmips(cmd:INT <long>, arg1:ARGUMENT <long>, arg2:ARGUMENT <long>) int 2.6.0
tee(fd_in:FD <int>, fd_out:FD <int>, size:SIZE <size_t>, flags:FLAGS SpliceFlags <unsigned int>) ssize_t 2.6.17
tgkill(tgid:PID <pid_t>, tid:PID <pid_t>, sig:SIGNAL Signal <int>) int 2.6
time(tloc:OUT_VALUE <__kernel_old_time_t *>) time 1.0
timer_create(clockid:COMMAND ClockId <clockid_t>, event:IN_STRUCT <struct sigevent *>, timerid:OUT_VALUE <timer_t *>) int 2.6
timer_create@x32,mips64n32,mipsel64n32(clockid:COMMAND ClockId <clockid_t>, event:IN_STRUCT <struct compat_sigevent *>, timerid:OUT_VALUE <timer_t *>) int 2.6
timer_delete(timerid:INT <timer_t>) int 2.6
timer_getoverrun(timerid:INT <timer_t>) int 2.6
timer_gettime(timerid:INT <timer_t>, curr_value:OUT_STRUCT <struct __kernel_itimerspec *>) int 2.6
timer_gettime@i386,arm,ppc,s390,mips,mipsel,mips64n32,mipsel64n32,parisc,sh4,m68k(timerid:INT <timer_t>, curr_value:OUT_STRUCT <struct old_itimerspec32 *>) int 2.6
timer_gettime64(timerid:INT <timer_t>, curr_value:OUT_STRUCT <struct __kernel_itimerspec *>) int 5.1
timer_settime(timerid:INT <timer_t>, flags:FLAGS TimerFlags <int>, new_value:IN_STRUCT <const struct __kernel_itimerspec *>, old_value:OUT_STRUCT <struct __kernel_itimerspec *>) int 2.6
timer_settime@i386,arm,ppc,s390,mips,mipsel,mips64n32,mipsel64n32,parisc,sh4,m68k(timerid:INT <timer_t>, flags:FLAGS TimerFlags <int>, new_value:IN_STRUCT <struct old_itimerspec32 *>, old_value:OUT_STRUCT <struct old_itimerspec32 *>) int 2.6
timer_settime64(timerid:INT <timer_t>, flags:FLAGS TimerFlags <int>, new_value:IN_STRUCT <const struct __kernel_itimerspec *>, old_value:OUT_STRUCT <struct __kernel_itimerspec *>) int 5.1
timerfd() int !removed
timerfd_create(clockid:COMMAND ClockId <int>, flags:FLAGS TimerfdFlags <int>) fd 2.6.25
timerfd_gettime(fd:FD <int>, curr_value:OUT_STRUCT <struct __kernel_itimerspec *>) int 2.6.25
timerfd_gettime@i386,arm,ppc,s390,mips,mipsel,mips64n32,mipsel64n32,parisc,sh4,m68k(fd:FD <int>, curr_value:OUT_STRUCT <struct old_itimerspec32 *>) int 2.6.25
timerfd_gettime64(fd:FD <int>, curr_value:OUT_STRUCT <struct __kernel_itimerspec *>) int 5.1
timerfd_settime(fd:FD <int>, flags:FLAGS TimerfdSettimeFlags <int>, new_value:IN_STRUCT <const struct __kernel_itimerspec *>, old_value:OUT_STRUCT <struct __kernel_itimerspec *>) int 2.6.25
timerfd_settime@i386,arm,ppc,s390,mips,mipsel,mips64n32,mipsel64n32,parisc,sh4,m68k(fd:FD <int>, flags:FLAGS TimerfdSettimeFlags <int>, new_value:IN_STRUCT <const struct old_itimerspec32 *>, old_value:OUT_STRUCT <struct old_itimerspec32 *>) int 2.6.25
timerfd_settime64(fd:FD <int>, flags:FLAGS TimerfdSettimeFlags <int>, new_value:IN_STRUCT <const struct __kernel_itimerspec *>, old_value:OUT_STRUCT <struct __kernel_itimerspec *>) int 5.1
times(buf:OUT_STRUCT <struct tms *>) int 1.0
times@mips64n32,mipsel64n32(buf:OUT_STRUCT <struct compat_tms *>) int 1.0
tkill(tid:PID <pid_t>, sig:SIGNAL Signal <int>) int 2.6
truncate(path:PATH <const char *>, length:OFFSET <long>) int 1.0
truncate64(path:PATH <const char *>, length:OFFSET <loff_t>) int 2.4
tuxcall() int !removed
ugetrlimit(resource:COMMAND RlimitResource <unsigned int>, rlim:OUT_STRUCT <struct rlimit *>) int 2.4
ulimit(cmd:INT <int>, newlimit:INT <long>) int !removed
umask(mask:MODE <int>) int 1.0
umount(target:PATH <char *>) int 1.0
umount2(target:PATH <char *>, flags:FLAGS UmountFlags <int>) int 2.2
uname(buf:OUT_STRUCT <struct new_utsname *>) int 1.0
unlink(path:PATH <const char *>) int 1.0
unlinkat(dirfd:DIRFD <int>, path:PATH <const char *> @dirfd, flags:FLAGS UnlinkFlags <int>) int 2.6.16
unshare(flags:FLAGS CloneFlags <unsigned long>) int 2.6.16
unused109() int !removed
unused150() int !removed
unused18() int !removed
unused28() int !removed
unused59() int !removed
unused84() int !removed
uprobe() int
uretprobe() int 6.11
uselib(library:PATH <const char *>) int 1.0 !removed
userfaultfd(flags:FLAGS UserfaultfdFlags <int>) fd 4.3
usr26() int 2.4.8.1
usr32() int 2.4.8.1
ustat(dev:DEV <unsigned>, buf:OUT_STRUCT <struct ustat *>) int 1.0
ustat@mips64n32,mipsel64n32(dev:DEV <unsigned>, buf:OUT_STRUCT <struct compat_ustat *>) int 1.0
utime(path:PATH <char *>, times:IN_STRUCT <struct utimbuf *>) int 1.0
utime@i386,ppc,s390,mips,mipsel,mips64n32,mipsel64n32,parisc,sh4,m68k(path:PATH <const char *>, times:IN_STRUCT <struct old_utimbuf32 *>) int 1.0
utimensat(dirfd:DIRFD <int>, path:PATH <const char *> @dirfd, times:IN_STRUCT <struct __kernel_timespec *>, flags:FLAGS AtFlags <int>) int 2.6.22
utimensat@i386,arm,ppc,s390,mips,mipsel,mips64n32,mipsel64n32,parisc,sh4,m68k(dirfd:DIRFD <unsigned int>, path:PATH <const char *> @dirfd, times:IN_STRUCT <struct old_timespec32 *>, flags:FLAGS AtFlags <int>) int 2.6.22
utimensat_time64(dirfd:DIRFD <int>, path:PATH <const char *> @dirfd, times:IN_STRUCT <struct __kernel_timespec *>, flags:FLAGS AtFlags <int>) int 5.1
utimes(path:PATH <char *>, times:IN_STRUCT <struct __kernel_old_timeval *>) int 2.2
utimes@i386,arm,ppc,s390,mips,mipsel,mips64n32,mipsel64n32,parisc,sh4,m68k(path:PATH <const char *>, times:IN_STRUCT <struct old_timeval32 *>) int 2.2
vfork() pid 2.2
vhangup() int 1.0
vm86(cmd:UINT <unsigned long>, arg:ADDRESS <unsigned long>) int 2.0.28
vm86old(info:INOUT_STRUCT <struct vm86_struct *>) int 1.0
vmsplice(fd:FD <int>, iov:INOUT_IOVEC <const struct iovec *> #nr_segs, nr_segs:SIZE <unsigned long>, flags:FLAGS SpliceFlags <unsigned int>) ssize_t 2.6.17
vserver() int !removed
wait4(pid:PID <pid_t>, wstatus:OUT_VALUE <int *>, options:FLAGS WaitOptions <int>, rusage:OUT_STRUCT <struct rusage *>) pid 1.0
wait4@mips64n32,mipsel64n32(pid:PID <compat_pid_t>, wstatus:OUT_VALUE <compat_uint_t *>, options:FLAGS WaitOptions <int>, rusage:OUT_STRUCT <struct compat_rusage *>) pid 1.0
waitid(idtype:COMMAND IdType <int>, id:PID <pid_t>, infop:OUT_STRUCT <struct siginfo *>, options:FLAGS WaitOptions <int>, rusage:OUT_STRUCT <struct rusage *>) int 2.6.10
waitid@x32,mips64n32,mipsel64n32(idtype:COMMAND IdType <int>, id:PID <compat_pid_t>, infop:OUT_STRUCT <struct compat_siginfo *>, options:FLAGS WaitOptions <int>, rusage:OUT_STRUCT <struct compat_rusage *>) int 2.6.10
waitpid(pid:PID <pid_t>, wstatus:OUT_VALUE <int *>, options:FLAGS WaitOptions <int>) pid 1.0
write(fd:FD <unsigned int>, buf:IN_BUFFER <const char *> #count, count:SIZE <size_t>) ssize_t 1.0
writev(fd:FD <unsigned long>, iov:IOVEC <const struct iovec *> #iovcnt, iovcnt:SIZE <unsigned long>) ssize_t 2.0
"""
"""``call[@architectures](name:ROLE[/bits] [enum] <C type> [@at] [#length] [%struct], ...) returns
[since] [!notes]``; parsed by `unotify.abi.model`."""
