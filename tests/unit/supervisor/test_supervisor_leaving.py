"""From one supervisor to the next: what was received goes along, what is unanswered stays so."""

from __future__ import annotations

import errno

from tests.unit.supervisor.rig import Rig
from tests.unit.supervisor.test_readers_threads import Gate
from unotify.calls import Call, Mount
from unotify.protocol import Fail, Return
from unotify.supervisor import Held


def test_a_backlog_comes_before_all_else(embedded: Rig) -> None:
    """What a predecessor had received is decided first, then what pends."""
    seen: list[int] = []

    @embedded.supervise().on(Mount)
    def answer(call: Call) -> Return:
        seen.append(call.exchange.args[0])
        return Return(call.exchange.args[0])

    left = [embedded.listener.notification("mount", number, tid=number) for number in (1, 2)]
    pending = embedded.listener.notify("mount", 3, tid=3)
    embedded.supervisor.attach(
        embedded.listener, backlog=(embedded.listener.accept(each) for each in left)
    )
    embedded.supervisor.process_pending()
    assert [each.answer() for each in (*left, pending)] == [Return(1), Return(2), Return(3)]
    assert seen == [1, 2, 3]


def test_leaving_lets_handlers_finish(threaded: Rig) -> None:
    """What a handler decides within *drain* is answered."""
    gate = Gate(Return(4))
    threaded.supervise().on(Mount)(gate)
    pending = threaded.notify("mount")
    gate.wait()
    gate.open.set()
    assert threaded.supervisor.leave()
    assert pending.answer() == Return(4)
    assert threaded.listener.closed


def test_leaving_answers_nothing_else(threaded: Rig) -> None:
    """A handler that does not finish: the call is left, as its last listener here is closed."""
    gate = Gate(Return(4))
    threaded.supervise().on(Mount)(gate)
    pending = threaded.notify("mount")
    gate.wait()
    assert not threaded.supervisor.leave(drain=0)
    # No fault reply: this is the kernel's, and with a copy elsewhere there would be none.
    assert pending.answer() == Fail(errno.ENOSYS)
    gate.open.set()


def test_leaving_answers_no_hold(rig: Rig) -> None:
    """Held calls are the successor's too, and their deadline is no more."""
    helds: list[Held] = []
    supervisor = rig.supervise()

    @supervisor.on(Mount)
    def hold(call: Call) -> Held:
        helds.append(supervisor.hold(call, deadline=1000))
        return helds[-1]

    pending = rig.notify("mount")
    rig.settled(lambda: supervisor.statistics().held)
    assert supervisor.leave()
    assert pending.answer() == Fail(errno.ENOSYS)
    assert supervisor.wait(0)
    assert supervisor.leave()
    supervisor.stop()
