"""The chain simulation against the kernel: random small stacks, in any order.

A worker process installs each stack in a process of its own, forks who makes the
calls, and answers notifications with a number of its own. The calls are getppid
with an argument that only filters look at.
"""

from __future__ import annotations

import errno
import json
import platform
import random
import subprocess
import sys
from typing import Any, TypeAlias

import pytest

from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.bpf import Instruction, Program, SeccompData, check_program, encode
from unotify.bpf.chain import Outcome, run_chain
from unotify.bpf.instructions import jeq, ld_abs, ret

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the worker's numbers are those of x86-64"
)

GETPPID = 110
ANSWER = 3333

WORKER = r"""
import ctypes, fcntl, json, os, select, struct, sys

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
GETPPID, ANSWER = 110, 3333


class Fprog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def install(raw, flags):
    if libc.prctl(38, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs")
    result = libc.syscall(317, 1, flags, ctypes.byref(Fprog(len(raw) // 8, raw)))
    if result < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return result


def call(arg):
    result = libc.syscall(GETPPID, ctypes.c_uint64(arg))
    return -ctypes.get_errno() if result == -1 else 0


def serve(listener, pid):
    # Answer until the caller has ended.
    pidfd = os.pidfd_open(pid)
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    if listener is not None:
        poller.register(listener, select.POLLIN)
    while True:
        ready = dict(poller.poll())
        if listener is not None and ready.get(listener, 0) & select.POLLIN:
            buffer = bytearray(80)
            fcntl.ioctl(listener, 0xC0502100, buffer)
            id = struct.unpack_from("=Q", buffer)[0]
            fcntl.ioctl(listener, 0xC0182101, struct.pack("=QqiI", id, 0, -ANSWER, 0))
        elif pidfd in ready:
            os.close(pidfd)
            return


def run(programs, open_one, args):
    listener = None
    for index, raw in enumerate(programs):
        result = install(bytes.fromhex(raw), 8 if index == open_one else 0)
        if index == open_one:
            listener = result
    answers = []
    for arg in args:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            if listener is not None:
                os.close(listener)
            os.write(writer, str(call(arg)).encode())
            os._exit(0)
        os.close(writer)
        serve(listener, pid)
        status = os.waitpid(pid, 0)[1]
        with open(reader) as pipe:
            answers.append(f"signal {status}" if os.WIFSIGNALED(status) else int(pipe.read()))
    return answers


found = []
for job in json.load(sys.stdin):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            answer = run(*job)
        except BaseException as error:
            answer = repr(error)
        with open(writer, "w") as pipe:
            json.dump(answer, pipe)
        os._exit(0)
    os.close(writer)
    with open(reader) as pipe:
        found.append(json.load(pipe))
    os.waitpid(pid, 0)
json.dump(found, sys.stdout)
"""

Stack: TypeAlias = tuple[list[list[Instruction]], int | None]
"""Programs, the oldest first, and which of them has a listener."""

ARGS = (0, 1, 2, 3)


def work(stacks: list[Stack]) -> list[Any]:
    """What the kernel does with each stack and argument."""
    jobs = [([encode(one).hex() for one in programs], at, ARGS) for programs, at in stacks]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", WORKER],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers: list[Any] = json.loads(done.stdout)
    return answers


def simulated(stack: Stack, arg: int) -> Outcome:
    """The outcome that the simulation gives, whose index 0 is the newest."""
    programs, at = stack
    newest_first = programs[::-1]
    listener = None if at is None else len(programs) - 1 - at
    call = SeccompData(GETPPID, Arch.X86_64.audit, (arg, 0, 0, 0, 0, 0))
    return run_chain(newest_first, call, listener=listener)


def expected(outcome: Outcome) -> object:
    """What the worker sees of an outcome, without a tracer."""
    if outcome.runs:
        return 0
    if outcome.listener is not None:
        return -ANSWER
    if outcome.action is Action.TRACE:
        return -errno.ENOSYS
    if outcome.errno is not None:
        return -outcome.errno
    return "signal 31"


def filter_of(*values: int) -> list[Instruction]:
    """A filter that answers getppid(n) with the n-th value, and allows the rest."""
    code = [ld_abs(0), jeq(GETPPID, 1, 0), ret(Action.ALLOW), ld_abs(16)]
    for n, value in enumerate(values):
        code += [jeq(n, 0, 1), ret(value)]
    code.append(ret(Action.ALLOW))
    check_program(code)
    return code


def random_stack(rng: random.Random) -> Stack:
    """One to four filters, of which one may have a listener."""

    def value() -> int:
        kind = rng.randrange(12)
        if kind == 0:
            return rng.getrandbits(32)
        if kind < 4:
            return int(Action.USER_NOTIF) | rng.randrange(3)
        if kind < 6:
            return int(Action.ERRNO) | rng.choice((0, 1, 2, 4095, 4096, 0xFFFF))
        if kind < 9:
            return int(rng.choice((Action.ALLOW, Action.LOG, Action.TRACE)))
        return int(rng.choice(list(Action)))

    programs = [filter_of(*(value() for _ in ARGS)) for _ in range(rng.randrange(1, 5))]
    return programs, rng.choice((None, *range(len(programs))))


def assert_agrees(stacks: list[Stack]) -> None:
    """The kernel does with each call what the simulation says."""
    for stack, answers in zip(stacks, work(stacks), strict=True):
        told = [expected(simulated(stack, arg)) for arg in ARGS]
        # A core dump may have been asked for of the system.
        shown = [f"signal {int(a.split()[1]) & 0x7F}" if isinstance(a, str) else a for a in answers]
        assert shown == told, stack


@pytest.mark.parametrize("seed", range(3))
def test_random_stacks(seed: int) -> None:
    """F1, F2, F5, F6: the strongest wins, the newest of equals, and only its listener is asked."""
    rng = random.Random(seed)
    stacks = [random_stack(rng) for _ in range(60)]
    outcomes = [simulated(stack, arg) for stack in stacks for arg in ARGS]
    assert {outcome.action for outcome in outcomes} == set(Action)
    notified = [one for one in outcomes if one.action is Action.USER_NOTIF]
    assert {one.listener is None for one in notified} == {True, False}
    assert_agrees(stacks)


def test_notifications_and_each_other_action() -> None:
    """F2: who wins between USER_NOTIF and each other action, older and newer."""
    stacks: list[Stack] = []
    for other in Action:
        value = other | (77 if other is Action.ERRNO else 0)
        notify = filter_of(*[int(Action.USER_NOTIF)] * len(ARGS))
        rest = filter_of(*[value] * len(ARGS))
        stacks += [([notify, rest], 0), ([rest, notify], 1)]
    assert_agrees(stacks)


def test_newer_notifications_hide_an_open_listener() -> None:
    """F5: where a newer filter notifies without a listener, the older one is not asked."""
    notify, allow = int(Action.USER_NOTIF), int(Action.ALLOW)
    stack: Stack = ([filter_of(*[notify] * 4), filter_of(notify, allow)], 0)
    assert [expected(simulated(stack, arg)) for arg in ARGS] == [-errno.ENOSYS, *[-ANSWER] * 3]
    assert_agrees([stack])


def test_values_without_a_name_have_their_place() -> None:
    """A value that is no action sorts by its number, as a signed one, and kills where it wins."""
    values = [0x10000000, 0x90000000, 0x7FFE0000, 0x00010000, 0x7FC10000]
    stacks: list[Stack] = []
    for value in values:
        for action in Action:
            for pair in ((value, action), (action, value)):
                stacks.append(([filter_of(*[int(one)] * 4) for one in pair], None))
    assert_agrees(stacks)


def test_program_objects_too() -> None:
    """A chain takes programs and lists of instructions alike."""
    code = filter_of(Action.ERRNO | 5)
    call = SeccompData(GETPPID, Arch.X86_64.audit)
    assert run_chain([Program(tuple(code))], call).errno == run_chain([code], call).errno == 5
