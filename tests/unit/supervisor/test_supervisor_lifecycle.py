"""Starting, stopping, and living in somebody else's loop."""

from __future__ import annotations

import errno
import select
import subprocess
from typing import Any

import pytest

from tests.unit.supervisor.fake_kernel import FakeListener
from tests.unit.supervisor.rig import Rig
from tests.unit.supervisor.test_readers_threads import Gate
from unotify.abi.arch import Arch
from unotify.abi.seccomp import FilterFlag
from unotify.bpf import decode
from unotify.calls import Call, Getpid, Mount
from unotify.errors import Conflict
from unotify.protocol import Continue, Fail, InstallFd, Return
from unotify.supervisor import Supervisor


def test_stop_lets_handlers_finish(threaded: Rig) -> None:
    """What was received is answered by its handler, if that takes no longer than *drain*."""
    gate = Gate(Return(4))
    threaded.supervise().on(Mount)(gate)
    pending = threaded.notify("mount")
    gate.wait()
    gate.open.set()
    threaded.supervisor.stop()
    assert pending.answer() == Return(4)


def test_stop_answers_for_those_who_do_not_finish(threaded: Rig) -> None:
    """After *drain* the target gets the fault reply, and the late one is dropped."""
    gate = Gate(Return(4))
    threaded.supervise().on(Mount)(gate)
    pending = threaded.notify("mount")
    gate.wait()
    threaded.supervisor.stop(drain=0)
    assert pending.answer() == Fail(errno.EPERM)
    assert threaded.listener.closed
    gate.open.set()


def test_after_stop_targets_get_enosys(rig: Rig) -> None:
    """R4: what nobody received is answered by the kernel."""
    rig.supervise()
    rig.attach()
    pending = rig.listener.notify("getpid")
    if rig.embedded:
        rig.supervisor.stop()
        assert pending.answer() == Fail(errno.ENOSYS)
    else:
        rig.supervisor.stop()
        assert pending.answer() in (Fail(errno.ENOSYS), Fail(errno.EPERM))
    assert rig.listener.closed


def test_stop_twice_and_close(rig: Rig) -> None:
    """Stopping is done once; wait() returns."""
    with rig.supervise() as supervisor:
        rig.attach()
        supervisor.stop()
        supervisor.stop()
    supervisor.close()
    assert supervisor.wait(0)


def test_a_stopped_supervisor_takes_no_more(rig: Rig) -> None:
    """It says so, instead of leaving targets alone."""
    supervisor = rig.supervise()
    supervisor.stop()
    with pytest.raises(Conflict, match="stopped"):
        supervisor.attach(rig.listener)
    with pytest.raises(Conflict, match="stopped"):
        supervisor.popen(["true"])
    assert not rig.kernel.spawns


@pytest.mark.parametrize("drain", [0.05, 5.0])
def test_a_handler_may_stop_the_supervisor(rig: Rig, drain: float) -> None:
    """It does not wait for itself; its own call is answered as the others are."""
    supervisor = rig.supervise()
    stopped: list[int] = []

    @supervisor.on(Getpid)
    def handler(call: Call) -> Return:
        supervisor.stop(drain=drain)
        stopped.append(1)
        return Return(1)

    assert rig.ask("getpid") == Fail(errno.EPERM)
    rig.settled(lambda: stopped)
    assert rig.listener.closed


def test_an_instrument_may_stop_the_supervisor(threaded: Rig) -> None:
    """Also from the thread that keeps the deadlines."""
    from unotify.errors import HandlerFault
    from unotify.supervisor import Instrument

    supervisor = threaded.supervise()
    gate = Gate()

    class Stop(Instrument):
        def fault(self, fault: HandlerFault) -> None:
            supervisor.stop(drain=0)

    supervisor.add_instrument(Stop())
    supervisor.on(Mount, deadline=0.005)(gate)
    pending = threaded.notify("mount")
    # It stops before the answer is sent, and closes the listener.
    assert pending.answer() == Fail(errno.ENOSYS)
    gate.open.set()
    assert supervisor.wait(20)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"unhandled": Continue()}, "unhandled"),
        ({"fault_reply": Continue.racy(because="x")}, "fault_reply"),
        ({"fault_reply": InstallFd(1)}, "fault_reply"),
        ({"unhandled": 1}, "unhandled"),
        ({"readers": 1}, "readers"),
        ({"deadline": 0}, "deadline"),
        ({"deadline": -1.0}, "deadline"),
        ({"deadline": float("nan")}, "deadline"),
    ],
)
def test_options_are_checked(options: dict[str, Any], word: str, embedded: Rig) -> None:
    """Continue is never a default, and numbers make sense."""
    with pytest.raises(Conflict, match=word):
        Supervisor(kernel=embedded.kernel, **options)
    assert not embedded.kernel.pollers


@pytest.mark.parametrize("deadline", [0, -1, float("nan")])
def test_deadlines_of_holds_are_checked(embedded: Rig, deadline: float) -> None:
    """A hold that would expire at once is a mistake."""
    supervisor = embedded.supervise()
    errors: list[Exception] = []

    @supervisor.on(Getpid)
    def handler(call: Call) -> Any:
        try:
            return supervisor.hold(call, deadline=deadline)
        except Conflict as error:
            errors.append(error)
            raise

    assert embedded.ask("getpid") == Fail(errno.EPERM)
    assert len(errors) == 1


def test_a_listener_of_our_own_filter_is_refused(rig: Rig) -> None:
    """A supervisor that has to wait for itself waits for ever."""
    rig.supervise()
    rig.listener.own_filter = True
    with pytest.raises(Conflict, match="own target") as caught:
        rig.supervisor.attach(rig.listener)
    assert caught.value.hint
    assert not rig.supervisor.statistics().listeners


def test_popen_hands_over_program_and_options(embedded: Rig) -> None:
    """The kernel gets the compiled filter; the process is what it made."""
    supervisor = embedded.supervise()
    supervisor.on(Getpid)(lambda call: Return(1))
    process = supervisor.popen(["prog", "x"], cwd="/tmp", wait_killable=False)
    (spawn,) = embedded.kernel.spawns
    assert process.args == ["prog", "x"]
    assert decode(spawn["program"]) == supervisor.program().instructions
    assert spawn["options"] == {"cwd": "/tmp"}
    assert (spawn["preferred"], spawn["flags"]) == (FilterFlag(0), FilterFlag(0))
    assert spawn["no_new_privs"] is True
    supervisor.popen(["prog"], no_new_privs=False)
    assert embedded.kernel.spawns[1]["preferred"] is FilterFlag.WAIT_KILLABLE_RECV
    assert embedded.kernel.spawns[1]["no_new_privs"] is False
    assert supervisor.statistics().listeners == 2


def test_the_backlog_is_served_first(rig: Rig) -> None:
    """Calls that were received during the hand-over are answered, in order for each thread."""
    supervisor = rig.supervise()
    order: list[int] = []

    def handler(call: Any) -> Return:
        order.append(call.pid)
        return Return(call.pid)

    supervisor.on("kill")(handler)
    pendings = []

    def backlog(listener: FakeListener) -> list[bytes]:
        pendings.extend(listener.notification("kill", n, tid=7) for n in (1, 2, 3))
        return [listener.accept(pending) for pending in pendings]

    rig.kernel.backlog = backlog
    supervisor.popen(["prog"])
    assert [pending.answer() for pending in pendings] == [Return(n) for n in (1, 2, 3)]
    assert order == [1, 2, 3]
    supervisor.stop()


def test_run_is_like_subprocess_run(rig: Rig) -> None:
    """Input and capture become pipes; a failing status raises on demand."""
    supervisor = rig.supervise()
    done = supervisor.run(["prog"], input="in", capture_output=True, text=True)
    assert (done.args, done.returncode, done.stdout) == (["prog"], 0, "in")
    assert rig.kernel.spawns[0]["options"] == {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }
    for wrong in ({"input": b"", "stdin": 1}, {"capture_output": True, "stdout": 1}):
        with pytest.raises(ValueError, match="may not"):
            supervisor.run(["prog"], **wrong)
    assert len(rig.kernel.spawns) == 1
    supervisor.stop()


def test_run_checks_the_status(embedded: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with subprocess: CalledProcessError with the status."""
    from tests.unit.supervisor import fake_kernel

    monkeypatch.setattr(fake_kernel.FakeProcess, "returncode", 3)
    supervisor = embedded.supervise()
    with pytest.raises(subprocess.CalledProcessError) as caught:
        supervisor.run(["prog"], check=True)
    assert caught.value.returncode == 3
    assert supervisor.run(["prog"]).returncode == 3


def test_embedded_starts_no_thread(embedded: Rig) -> None:
    """Nothing happens until process_pending, and all of it happens in there."""
    supervisor = embedded.supervise(deadline=1000)
    supervisor.on(Getpid)(lambda call: Return(1))
    embedded.attach()
    assert supervisor.statistics().readers == 0
    poll = select.poll()
    poll.register(supervisor.fileno(), select.POLLIN)
    assert not poll.poll(0)
    pendings = [embedded.listener.notify("getpid", tid=n) for n in range(1, 4)]
    assert poll.poll(0)
    assert not any(pending.done.is_set() for pending in pendings)
    assert supervisor.process_pending() == 3
    assert all(pending.reply == Return(1) for pending in pendings)
    assert not poll.poll(0)
    assert supervisor.process_pending() == 0


def test_embedded_expires_in_process_pending(embedded: Rig) -> None:
    """Deadlines are looked at in there too."""
    supervisor = embedded.supervise()
    supervisor.on(Getpid)(lambda call: supervisor.hold(call, deadline=1e-9))
    embedded.attach()
    pending = embedded.listener.notify("getpid")
    supervisor.process_pending()
    assert pending.answer() == Fail(errno.EPERM)


def test_process_pending_comes_back(embedded: Rig) -> None:
    """A target that calls again at once cannot keep the caller in there for ever."""
    supervisor = embedded.supervise()
    supervisor.on(Getpid)(lambda call: Return(1))
    embedded.attach()
    listener, left = embedded.listener, [5000]

    def again() -> None:
        if left[0]:
            left[0] -= 1
            listener.notify("getpid")

    listener.on_send = again
    again()
    served = supervisor.process_pending()
    assert 0 < served < 5000
    assert listener.queue
    poll = select.poll()
    poll.register(supervisor.fileno(), select.POLLIN)
    assert poll.poll(0)
    while supervisor.process_pending():
        pass
    assert not left[0]


def test_process_pending_is_for_the_embedded(threaded: Rig) -> None:
    """With threads it would be one more reader."""
    with pytest.raises(Conflict, match="embedded"):
        threaded.supervise().process_pending()


def test_an_interrupt_in_a_handler_reaches_the_caller(embedded: Rig) -> None:
    """Ctrl-C in a handler answers its target and goes on upwards; the next call is served."""
    supervisor = embedded.supervise()
    raising = [True]

    @supervisor.on(Getpid)
    def handler(call: Call) -> Return:
        if raising:
            raising.clear()
            raise KeyboardInterrupt
        return Return(1)

    embedded.attach()
    pending = embedded.listener.notify("getpid")
    with pytest.raises(KeyboardInterrupt):
        supervisor.process_pending()
    assert pending.answer() == Fail(errno.EPERM)
    assert embedded.ask("getpid") == Return(1)
    assert supervisor.statistics().in_flight == 0


def test_architectures_can_be_chosen(embedded: Rig) -> None:
    """The filter knows those only."""
    supervisor = embedded.supervise(architectures=[Arch.AARCH64])
    supervisor.on(Getpid)(lambda call: Return(1))
    constants = {instruction.k for instruction in supervisor.program().instructions}
    assert Arch.AARCH64.audit in constants
    assert Arch.X86_64.audit not in constants
