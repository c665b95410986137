"""The supervisor: handlers in, programs under supervision out."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterable, Mapping
from typing import Any

from unotify.abi.arch import Arch
from unotify.abi.seccomp import FilterFlag
from unotify.errors import Conflict
from unotify.kernel import default_kernel
from unotify.kernel.interface import Kernel, Spawned
from unotify.protocol import Fail, Return
from unotify.supervisor.answering import FixedReply
from unotify.supervisor.policies import Policies
from unotify.supervisor.running import Running
from unotify.supervisor.sources import Source

__all__ = ["Supervisor"]


class Supervisor(Running):
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
        super().__init__(
            kernel=default_kernel() if kernel is None else kernel,
            policy=policy,
            architectures=architectures,
            unhandled=unhandled,
            fault_reply=fault_reply,
            deadline=deadline,
            readers=readers,
            embedded=embedded,
            weights=weights,
            dry_run=dry_run,
        )

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
            spawned.listener,
            self.kernel,
            quiet=quiet,
            container=None,
            ours=spawned.unprivileged,
            program=spawned.program,
        )
        self._serve(source, spawned.backlog)
        process: subprocess.Popen[Any] = spawned.process
        return process
