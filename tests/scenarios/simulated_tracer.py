"""What a tracer does to processes of the simulated kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.scenarios.simulated_words import name_of
from unotify.abi.arch import Arch
from unotify.abi.tables import number
from unotify.testing.facility import entering, tracing
from unotify.testing.facility.state import CallData

if TYPE_CHECKING:
    from tests.scenarios.simulated import SimulatedStage
    from tests.scenarios.simulated_worker import SimulatedWorker

__all__ = ["SimulatedTracer"]


class SimulatedTracer:
    """What the supervisor does by ptrace(2)."""

    def __init__(self, stage: SimulatedStage, worker: SimulatedWorker, *traces: str) -> None:
        self.stage, self.world, self.worker = stage, stage.world, worker
        assert tracing.attach(self.world, stage.supervisor, worker.task(), *traces) == 0

    def wait(self, call: str = "") -> int:
        """It has stopped at once."""
        task = self.worker.task()
        assert task.doing[0] == "traced", task.doing
        if call:
            assert task.call is not None
            assert (task.doing[1], task.call.nr) == ("entry", self.stage.nr(call))
            return 0
        assert task.doing[1] == "filter"
        return int(task.doing[2])

    def interrupt(self) -> None:
        """PTRACE_INTERRUPT."""
        tracing.interrupt(self.worker.task())
        self.stage.settle()
        assert self.worker.task().doing[:2] == ("traced", "interrupt")

    def quiet(self) -> bool:
        """Whether there is no stop."""
        self.stage.settle()
        return self.worker.task().doing[:1] != ("traced",)

    def go_on(self, call: str = "", *args: int, value: int | None = None) -> None:
        """Let it go on."""
        changed: CallData | None = None
        if value is not None:
            changed = CallData(-1, self.stage.audit())
        elif call:
            found = number(call, Arch.X86_64)
            assert found is not None
            changed = CallData(found, self.stage.audit(), (*args, *(0,) * (6 - len(args))))
        self.worker.task().traces -= {tracing.ENTRIES}
        entering.resume(self.world, self.worker.task(), changed, value=value or 0)
        self.stage.settle()

    def metadata(self, offset: int) -> int | str:
        """The flags of a filter."""
        found = tracing.metadata(self.world, self.stage.supervisor, self.worker.task(), offset)
        return name_of(found) or found

    def detach(self) -> None:
        """PTRACE_DETACH."""
        if self.quiet():
            self.interrupt()
        tracing.detach(self.worker.task())
        entering.resume(self.world, self.worker.task())
        self.stage.settle()
