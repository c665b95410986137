"""The supervisor: handlers in, programs under supervision out."""

from __future__ import annotations

import errno
import inspect
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from threading import Event
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from unotify.abi.arch import Arch
from unotify.abi.seccomp import FilterFlag, ListenerFlag
from unotify.bpf import Program
from unotify.calls import Call, Condition
from unotify.errors import Conflict, Unsupported
from unotify.kernel import default_kernel
from unotify.kernel.interface import Kernel, Listener, Shortcut, Spawned
from unotify.protocol import Fail, Return
from unotify.supervisor.addons import registrations_of, verbs_of
from unotify.supervisor.deadlines import Deadlines
from unotify.supervisor.engine import Engine, FixedReply
from unotify.supervisor.holds import Held
from unotify.supervisor.instruments import Instrument
from unotify.supervisor.performing import VERBS
from unotify.supervisor.policies import Policies, policies_of
from unotify.supervisor.quotas import Quota
from unotify.supervisor.readers import Readers
from unotify.supervisor.router import Router, register, require_seconds
from unotify.supervisor.sources import Source
from unotify.supervisor.statistics import Statistics

if TYPE_CHECKING:
    from unotify.supervisor.judging import Judge, Judgement

__all__ = ["Supervisor"]

H = TypeVar("H", bound=Callable[..., Any])


class Supervisor:
    """Supervises programs: asks handlers for each call that they want to hear of.

    Register handlers with :meth:`on`, then start programs with :meth:`popen` or
    :meth:`run`. The filter notifies exactly the calls that some handler wants;
    all others run at full speed. The first handler that returns a reply decides;
    ``None`` means "not mine"; if nobody decides, the target gets *unhandled*.

    A handler that raises, times out or returns nonsense is answered with
    *fault_reply*; :exc:`unotify.TargetError` and its kin carry an errno of their
    own. Nothing is ever continued by accident.

    Handlers run in threads of the supervisor, several at a time when one is
    slow, calls of one target thread in order. Use it as a context manager, or
    call :meth:`close`.

    Args:
        unhandled: The reply when no handler took a call that was notified.
        fault_reply: The reply when a handler fails.
        deadline: Seconds that any handler may take, unless it says otherwise;
            ``None`` for no limit.
        architectures: ABIs whose calls are understood; others kill the
            process. All that this machine can run by default.
        readers: The most threads that handle calls at the same time.
        embedded: Start no threads: the caller waits for :meth:`fileno` and
            calls :meth:`process_pending`. Deadlines then run only in there.
        kernel: The kernel to use; the running Linux by default.
        policy: Rules that come before all handlers: a `Policy`, the path of a policy
            file, or several of them. A stack is as strict as each of its policies.
        weights: How often each call is made, by number; the filter finds hot calls sooner.
        dry_run: Tell instruments what *policy* would do, and let every call go on;
            handlers are not asked. It protects nothing.
    """

    def __init__(
        self,
        *,
        policy: Policies = (),
        unhandled: FixedReply = Fail(errno.EPERM),  # noqa: B008 - frozen
        fault_reply: FixedReply = Fail(errno.EPERM),  # noqa: B008 - frozen
        deadline: float | None = None,
        architectures: Iterable[Arch] | None = None,
        readers: int = 32,
        embedded: bool = False,
        kernel: Kernel | None = None,
        weights: Mapping[Arch, Mapping[int, float]] | None = None,
        dry_run: bool = False,
    ) -> None:
        for name, reply in (("unhandled", unhandled), ("fault_reply", fault_reply)):
            if not isinstance(reply, FixedReply):
                raise Conflict(f"{name}= is a Fail or a Return, not {reply!r}")
            if isinstance(reply, Return) and reply.value & 0xFFFFFFFF > 0xFFFFF000:
                raise Conflict(f"{name}={reply} would arrive as an errno in a 32-bit call")
        require_seconds(deadline)
        if readers < 2:
            raise Conflict("readers= is at least 2: one leads and one stands by")
        self.kernel = default_kernel() if kernel is None else kernel
        policies = policies_of(policy, self.kernel.arch)
        if dry_run and not policies:
            raise Conflict("dry_run= is about a policy, and there is none")
        if policies and architectures is not None:
            raise Conflict("architectures= are those of the policy")
        self._judge: Judge | None = None
        self._spare_verbs = set(VERBS)
        if policies:
            # Only now: those who have handlers alone do not wait for it to be imported.
            from unotify.supervisor.judging import Judge

            self._judge = Judge(policies, self._judged, unhandled=unhandled, dry_run=dry_run)
            self._judge.verbs.update(VERBS)
            architectures = self._judge.architectures
        self._router = Router(tuple(architectures or self.kernel.architectures))
        if self._judge is not None:
            self._router.before = self._judge.step
        self._engine = Engine(
            self._router, unhandled=unhandled, fault_reply=fault_reply, deadline=deadline
        )
        self._weights = weights
        self._program: Program | None = None
        self._checked = False
        self._embedded = embedded
        self._readers = Readers(self.kernel, self._engine, most=readers)
        self._engine.on_spare = self._spare
        self._deadlines = Deadlines(self._engine, threaded=not embedded)
        self._idle = Event()
        self._idle.set()
        self._readers.on_drained = self._idle.set
        self._readers.quick.shortcuts = self._shortcuts
        self._closed = False

    # -- handlers ------------------------------------------------------------

    def on(
        self,
        *calls: type[Call] | str,
        where: Condition | None = None,
        deadline: float | None = None,
    ) -> Callable[[H], H]:
        """Register the decorated function as a handler of *calls*.

        Handlers are asked in the order of their registration. One that is
        registered when a program already runs is asked only for calls that the
        program's filter notifies: a filter cannot be changed (R9).

        Args:
            *calls: Classes of :mod:`unotify.calls`, or the kernel's names.
            where: A condition on argument registers, decided in the filter:
                other calls are not even notified.
            deadline: Seconds the handler may take, then the target gets the
                fault reply; what the handler returns later is dropped.

        Raises:
            PolicyError: An unknown call, or a condition that is none.
        """

        def decorate(handler: H) -> H:
            self._add(handler, calls, where, deadline)
            return handler

        return decorate

    def add(self, *addons: object, spare: bool = False) -> None:
        """Register all handlers of modules or objects: what :func:`unotify.on` has marked.

        And what :func:`unotify.verb` has.

        Args:
            *addons: Modules or objects, such as those of `unotify.handlers.ADDONS`.
            spare: Verbs of others may take the place of these.
        """
        for addon in addons:
            for handler, mark in registrations_of(addon):
                self._add(handler, mark.calls, mark.where, mark.deadline)
            for name, function in verbs_of(addon):
                self.add_verb(name, function, spare=spare)

    def add_verb(
        self,
        name: str,
        function: Callable[[Any, Mapping[str, Any]], Any],
        *,
        spare: bool = False,
    ) -> None:
        """Say what a policy's verb *name* does, such as ``perform``.

        Args:
            name: As it stands after ``do``.
            function: Takes the call and the verb's parameters, and returns as a handler
                does: ``None`` is "not mine".
            spare: Only if the verb has no other function; another may take its place later.

        Raises:
            Conflict: There is no policy, or the verb has a function already.
        """
        if self._judge is None:
            raise Conflict(f"the verb {name} is a policy's, and this supervisor has none")
        if not callable(function):
            raise Conflict(f"a verb is a function of a call and parameters, not {function!r}")
        if name in self._judge.verbs and name not in self._spare_verbs:
            if spare:
                return
            raise Conflict(f"there are two handlers for the verb {name}")
        (self._spare_verbs.add if spare else self._spare_verbs.discard)(name)
        self._judge.verbs[name] = self._adapt_verb(function)
        self._checked = False
        self._readers.quick.retire()

    def _adapt_verb(self, function: Callable[..., Any]) -> Callable[..., Any]:
        # As of handlers: what unotify.aio needs to know is whether it is a coroutine.
        if not inspect.iscoroutinefunction(function):
            return function

        def act(call: Call, parameters: Mapping[str, Any]) -> Any:
            async def handler(call: Call) -> Any:
                return await function(call, parameters)

            return self._adapt(handler)(call)

        self._adapt(function)
        return act

    def _add(
        self,
        handler: Callable[..., Any],
        calls: Sequence[type[Call] | str],
        where: Condition | None,
        deadline: float | None,
    ) -> None:
        self._program = None
        self._checked = False
        self._router.add(
            register(calls, self._adapt(handler), where=where, deadline=deadline, named=handler)
        )
        self._readers.quick.retire()

    def _adapt(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        # unotify.aio overrides this.
        if inspect.iscoroutinefunction(handler):
            raise Conflict(
                f"{handler.__qualname__} is async def",
                hint="use unotify.aio.Supervisor, which runs handlers in the event loop",
            )
        return handler

    def program(self) -> Program:
        """The filter as compiled from the policies, and from the handlers so far."""
        if self._judge is None:
            return self._router.program()
        if self._program is None:
            self._program = self._judge.compile(self._router.wanted, self._weights)
        return self._program

    def _judged(self, call: Call, judgement: Judgement) -> None:
        instruments = self._engine.instruments
        if instruments.judged:
            instruments.tell(instruments.judged, call, judgement)

    def _shortcuts(self) -> tuple[Shortcut, ...]:
        """What is answered without Python: nothing that anybody but the policy has a say in."""
        judge, engine = self._judge, self._engine
        if judge is None or judge.dry_run or engine.deadline or engine.instruments.present:
            return ()
        if len(judge.policies) > 1 or judge.verbs["perform"] is not VERBS["perform"]:
            return ()
        from unotify.supervisor.shortcuts import shortcuts

        handled = frozenset(registration.call for registration in self._router.registrations)
        return shortcuts(judge.policies[0], self.kernel.arch, handled)

    def _check_policies(self) -> FilterFlag:
        return FilterFlag(0) if self._judge is None else self._judge.check()

    # -- programs ------------------------------------------------------------

    def popen(
        self,
        args: Any,
        *,
        no_new_privs: bool = True,
        wait_killable: bool = True,
        **options: Any,
    ) -> subprocess.Popen[Any]:
        """Start a program under supervision, as :class:`subprocess.Popen` would.

        The process object is one: pipes, ``communicate``, ``wait``, signals and
        the rest are the standard library's. Its children are supervised too,
        for as long as they live (R1).

        Args:
            args: The program and its arguments, as for ``Popen``.
            no_new_privs: Set the bit that lets an ordinary user install a
                filter, and makes set-user-ID programs run without it. False
                needs CAP_SYS_ADMIN (S5, S6).
            wait_killable: Let only fatal signals end a call once it was
                received (I5-I8), where the kernel can.
            **options: As for ``Popen``, but for ``preexec_fn`` and
                ``close_fds=False``, which cannot be done safely.

        Raises:
            FileNotFoundError, PermissionError: As ``Popen``: no such program.
            AlreadySupervised: A filter of an ancestor has a listener (F4).
            KernelError: The kernel refused the filter.
            PolicyError: The policy says what cannot be done, such as a verb without a
                handler.
        """
        return self._adopt(
            self._spawn(args, no_new_privs=no_new_privs, wait_killable=wait_killable, **options)
        )

    def _spawn(
        self,
        args: Any,
        *,
        no_new_privs: bool = True,
        wait_killable: bool = True,
        **options: Any,
    ) -> Spawned:
        self._require_open()
        flags = self._check_policies()
        return self.kernel.spawn(
            self.program().encode(),
            args,
            flags=flags,
            preferred=FilterFlag.WAIT_KILLABLE_RECV if wait_killable else FilterFlag(0),
            no_new_privs=no_new_privs,
            popen_options=options,
        )

    def _adopt(self, spawned: Spawned) -> subprocess.Popen[Any]:
        quiet = FilterFlag.WAIT_KILLABLE_RECV in spawned.enforcement.flags
        source = Source(
            spawned.listener, self.kernel, quiet=quiet, container=None, ours=spawned.unprivileged
        )
        self._serve(source, spawned.backlog)
        process: subprocess.Popen[Any] = spawned.process
        return process

    def run(
        self,
        args: Any,
        *,
        input: Any = None,
        capture_output: bool = False,
        timeout: float | None = None,
        check: bool = False,
        **options: Any,
    ) -> subprocess.CompletedProcess[Any]:
        """Run a program under supervision, as :func:`subprocess.run` would.

        Background processes that it leaves behind stay supervised until
        :meth:`close`.
        """
        if input is not None:
            if options.get("stdin") is not None:
                raise ValueError("stdin and input arguments may not both be used")
            options["stdin"] = subprocess.PIPE
        if capture_output:
            if options.get("stdout") is not None or options.get("stderr") is not None:
                raise ValueError("stdout and stderr may not be used with capture_output")
            options["stdout"] = options["stderr"] = subprocess.PIPE
        with self.popen(args, **options) as process:
            try:
                stdout, stderr = process.communicate(input, timeout=timeout)
            except subprocess.TimeoutExpired as expired:
                process.kill()
                # As subprocess.run: what was written until then goes into the exception.
                expired.stdout, expired.stderr = process.communicate()
                raise
            except BaseException:
                process.kill()
                raise
            code = process.returncode
        if check and code:
            raise subprocess.CalledProcessError(code, process.args, stdout, stderr)
        return subprocess.CompletedProcess(process.args, code, stdout, stderr)

    def check(self) -> None:
        """See to it that all that the policy says can be done, and prove its filter.

        Raises:
            PolicyError: It says what cannot be done, such as a verb without a handler.
        """
        if not self._checked:
            if self._judge is not None:
                self.program()
            self._check_policies()
            self._checked = True

    def attach(
        self,
        listener: Listener,
        *,
        wait_killable: bool = False,
        container: str = "",
        on_close: Callable[[Listener], None] | None = None,
        quota: Quota | None = None,
        backlog: Iterable[bytes] = (),
    ) -> None:
        """Supervise whoever is behind *listener*; it belongs to the supervisor from now on.

        For listeners from a container runtime or another process. What this
        supervisor has no handler for gets *unhandled*.

        Args:
            listener: The listener.
            wait_killable: Its filter was installed with WAIT_KILLABLE_RECV, which cannot be
                asked of it: then answers may be written to the target's memory (M8).
            container: The user namespace that its programs begin in, as
                ``unotify.kernel.surroundings.user_namespace_of(pid)`` tells: a capability counts
                for handlers if it is one in there. If nobody tells it is the owner of the
                outermost pid namespace below the supervisor's own, if the supervisor's user made
                it; so tell it of containers that share the host's pid namespace.
            on_close: Called when the supervisor has closed it: its last target has gone, or the
                supervisor stops. In a thread of the supervisor, which waits for it.
            quota: How many of its calls may be in flight; listeners may share one.
            backlog: Notifications that somebody else has received and not answered; they are
                served before any other.

        Raises:
            Conflict: It belongs to a filter of this very process, which would
                have to wait for itself.
            PolicyError: As of :meth:`check`.
        """
        self._require_open()
        if getattr(listener, "own_filter", False):
            raise Conflict(
                "this listener's filter is on this process: a supervisor cannot be its own target",
                hint="start the target as another process, or supervise from one started before",
            )
        self.check()
        source = Source(
            listener,
            self.kernel,
            quiet=wait_killable,
            container=container,
            on_close=on_close,
            quota=quota,
        )
        self._serve(source, list(backlog))

    def release(self, listener: Listener, then: Callable[[Listener], None]) -> None:
        """Let go of *listener*, for another supervisor to attach it.

        Nothing is received from it any more; targets wait for whoever attaches it next. It is let
        go when none of its calls is in flight: those are still answered here.

        Args:
            listener: It; not closed.
            then: Called with it when it was let go, in a thread of this supervisor, which waits for
                it. Not if the supervisor stops before, which closes it.

        Raises:
            Conflict: It is not attached here.
        """
        source = self._readers.sources.get(listener)
        if source is None:
            raise Conflict(f"{listener!r} is not attached to this supervisor")
        self._readers.admission.release(source, then)

    def _serve(self, source: Source, backlog: list[bytes]) -> None:
        with suppress(Unsupported):  # only a scheduling hint (W3)
            source.listener.set_flags(ListenerFlag.SYNC_WAKE_UP)
        self._idle.clear()
        pending = [self._engine.admit(source, notification) for notification in backlog]
        self._readers.add(
            source, [exchange for exchange in pending if exchange], threads=not self._embedded
        )

    def _spare(self, source: Source, exchange: Any) -> None:
        if self._embedded:
            self._engine.serve(source, exchange)
        else:
            self._readers.spare(source, exchange)

    # -- running -------------------------------------------------------------

    def hold(self, call: Call, *, deadline: float | None = None) -> Held:
        """Make what a handler returns to answer *call* later, from anywhere.

        Args:
            call: The call that the handler was asked about.
            deadline: Seconds until it gets the fault reply anyway; without it
                the handler's own deadline holds.

        Raises:
            Conflict: *deadline* is no time span.
            TargetGone: The call is answered already.
        """
        return self._engine.hold(call, deadline)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until no supervised task is left, background ones included, or :meth:`stop`.

        Returns:
            False if *timeout* seconds passed before.
        """
        return self._idle.wait(timeout)

    def fileno(self) -> int:
        """A descriptor that is readable while :meth:`process_pending` has work."""
        return self._readers.fileno()

    def process_pending(self) -> int:
        """Receive and serve what pends, in this thread, without waiting for more.

        Returns:
            How many notifications were received.
        """
        if not self._embedded:
            raise Conflict("process_pending() is for Supervisor(embedded=True)")
        served = self._readers.process_pending()
        self._deadlines.expire()
        return served

    def add_instrument(self, instrument: Instrument) -> None:
        """Show *instrument* what happens from now on."""
        self._engine.instruments.add(instrument)
        self._readers.quick.retire()

    def remove_instrument(self, instrument: Instrument) -> None:
        """Show it no more."""
        self._engine.instruments.remove(instrument)
        self._readers.quick.retire()

    def statistics(self) -> Statistics:
        """What has been done so far."""
        readers = self._readers
        return self._engine.statistics(
            readers.quick.counters(),
            listeners=len(readers.sources),
            readers=readers.count,
            in_flight=readers.in_flight,
        )

    def stop(self, *, drain: float = 5.0) -> None:
        """Receive no more, answer what was received, and close all listeners.

        Handlers have *drain* seconds to finish; what is unanswered then, and
        what is held, gets the fault reply. Targets that live on get ENOSYS for
        each notified call from then on (R4).
        """
        if self._closed:
            return
        self._closed = True
        self._readers.stop()
        self._engine.abandon_held()
        self._readers.join(drain)
        for source in list(self._readers.sources.values()):
            self._engine.abandon(source)
        self._end()

    def leave(self, *, drain: float = 5.0) -> bool:
        """Receive no more, and leave what is unanswered to whoever has copies of the listeners.

        Handlers have *drain* seconds to finish. What they do not finish stays unanswered, as does
        what is held; targets go on waiting for the other copies' holder (R3). This process is to
        end soon after: a handler that still runs would act beside its successor.

        Returns:
            Whether all handlers have finished.
        """
        if self._closed:
            return True
        self._closed = True
        self._readers.stop()
        finished = self._readers.join(drain)
        self._end()
        return finished

    def _end(self) -> None:
        self._deadlines.stop()
        for source in list(self._readers.sources.values()):
            with self._engine.lock:
                vanished = source.protocol.close()
            self._engine.vanished(vanished)
            self._readers.remove(source)
        self._readers.close()
        self._idle.set()

    def close(self) -> None:
        """:meth:`stop`, for ``with`` and :func:`contextlib.closing`."""
        self.stop()

    def _require_open(self) -> None:
        if self._closed:
            raise Conflict("this supervisor is stopped; make another one")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
