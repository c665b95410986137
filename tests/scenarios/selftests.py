"""The kernel's own selftests of seccomp, and the scenarios that ask the same or more.

Tests of ``tools/testing/selftests/seccomp/seccomp_bpf.c`` that concern notifications, precedence,
flags, installing, TSYNC and tracers; those about uprobes and speed have no scenario.
"""

from __future__ import annotations

__all__ = ["SELFTESTS"]

_TEXT = """
user_notification_basic: an_exchange shadows one_listener_in_a_chain both_bits
user_notification_with_tsync: flags_that_do_not_go_together all_threads_are_synchronised
user_notification_kill_in_middle: death_of_a_waiter validity
user_notification_signal: a_signal_with_restart internal_numbers_leak
user_notification_closed_listener: the_last_close
user_notification_child_pid_ns: a_target_in_a_namespace_of_its_own
user_notification_sibling_pid_ns: a_supervisor_in_a_namespace_beside
user_notification_fault_recv: bad_buffers a_buffer_that_cannot_be_written
seccomp_get_notif_sizes: actions_and_sizes
user_notification_continue: continuing replies_that_make_no_sense both_bits
user_notification_filter_empty: hangup_of_a_zombie a_grandchild_holds_the_hangup_off
user_ioctl_notification_filter_empty: a_receiver_is_let_go
user_notification_filter_empty_threaded: hangup_after_threads_and_processes
user_notification_addfd: numbers_of_descriptors descriptors_that_are_refused
user_notification_addfd_rlimit: the_target_s_limit
user_notification_sync: listener_flags
user_notification_fifo: first_in_first_out
user_notification_wait_killable_pre_notification: killable_before_the_receipt
user_notification_wait_killable: killable_after_the_receipt
user_notification_wait_killable_fatal: killable_does_not_stop_what_kills
user_notification_wait_killable_after_reply: killable_after_the_reply
user_notification_addfd_send_interrupted: an_interrupted_descriptor_and_answer
kcmp: one_description
precedence.*: precedence_in_any_order notify_in_the_order
get_action_avail: actions_and_sizes
ALLOW_all, log_all, empty_prog: errno_and_trace the_order_of_the_checks
unknown_ret_is_kill_*: what_kills
KILL_all, KILL_one, KILL_one_arg_*: what_kills kill_by_an_argument
KILL_thread, KILL_process, KILL_unknown: kill_one_thread what_kills
ERRNO_*: errno_and_trace the_strongest_wins
TRAP.*: trap_can_be_caught
arg_out_of_range: numbers_that_are_no_calls
mode_strict_*: strict_mode
mode_filter_without_nnp, no_new_privs_support: privilege only_the_caller
filter_size_limits, filter_chain_limits: the_order_of_the_checks the_longest_chain
mode_filter_cannot_move_to_strict, mode_filter_get_seccomp: operations_and_modes
seccomp_syscall, seccomp_syscall_mode_lock: operations_and_modes
detect_seccomp_filter_flags: flags_that_are_known
filter_flag_log: the_log_flag what_is_audited
get_metadata: filters_tell_whether_they_log
TSYNC.siblings_fail_prctl: who_cannot_install_does_not_differ
tsync_vs_dead_thread_leader: a_dead_leader_does_not_differ
TRACE_syscall.*: a_tracer_is_asked a_tracer_comes_first a_tracer_skips_a_call
TRACE_poke.*: a_tracer_is_asked
syscall_restart: a_continued_sleep
negative_ENOSYS: numbers_that_are_no_calls
TSYNC_first, TSYNC.two_siblings_with_ancestor: a_common_ancestor synchronise_before_anybody_differs
TSYNC.two_sibling_want_nnp, TSYNC.two_siblings_with_no_filter: all_threads_are_synchronised
TSYNC.two_siblings_with_one_divergence*: divergence
TSYNC.two_siblings_not_under_filter: divergence
"""

SELFTESTS: dict[str, tuple[str, ...]] = {
    name: tuple(scenarios.split())
    for name, _, scenarios in (line.rpartition(":") for line in _TEXT.strip().splitlines())
}
"""The names of scenarios, by the names of selftests."""
