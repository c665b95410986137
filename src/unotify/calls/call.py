"""The base of all typed calls, and how their classes are made from the call model."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from unotify.abi import model, tables
from unotify.abi.arch import Arch
from unotify.abi.model import ArgSpec, CallSpec
from unotify.calls.arguments import Argument, Reader, register
from unotify.calls.kinds import make_argument, make_missing
from unotify.calls.pointed import MemoryArgument
from unotify.calls.replacing import replacement
from unotify.errors import NotExpressible, TargetError, UnknownName

if TYPE_CHECKING:  # the target for type checkers and editors only: its room stands above this one
    from unotify.protocol import Exchange, Reply
    from unotify.supervisor.target import Target

__all__ = ["Call", "UnknownCall", "call_class", "class_for", "class_name"]


class Caller(Reader, Protocol):
    """Who makes a call; the supervisor's :class:`unotify.Target`."""

    @property
    def observer(self) -> Reader:
        """A reader that does not mark the call."""


class Call:
    """One call that a target makes, typed.

    Subclasses have an attribute for each argument, named as in the manual
    page. On the class it is a question for ``where=``; on an instance it is the
    value. Arguments that are pointers are read from the target when first asked
    for, and once.

    Attributes:
        call_name: The kernel's name of the call.
        spec: Its row in the call model.
        exchange: The notification.
        arch: The ABI it was made by; per call, not per process (B2).
        copies: What has been read from memory so far, by argument.
        opened: The `caller`, once somebody has asked for it.
    """

    __slots__ = ("_open", "arch", "copies", "exchange", "opened")

    call_name: ClassVar[str]
    spec: ClassVar[CallSpec]

    def __init__(self, exchange: Exchange, arch: Arch, caller: Callable[[Exchange], Any]) -> None:
        self.exchange = exchange
        self.arch = arch
        self.copies: dict[str, Any] = {}
        self._open = caller
        self.opened: Target | None = None

    @property
    def caller(self) -> Target:
        """The target thread that makes the call: a :class:`unotify.Target`."""
        # Made when first needed: most calls are decided without it.
        opened = self.opened
        if opened is None:
            opened = self.opened = self._open(self.exchange)
        return opened

    def register(self, name: str) -> int:
        """The argument *name* as a number: cut to its width, signed if it is."""
        return register(self, getattr(type(self), name).spec)

    def perform(self, *, as_supervisor: bool = False, **replaced: Any) -> Reply:
        """Do the call in the target's place, with copies of all that it points to.

        Each object is read once; what was decided about is what is acted on, whatever the
        target rewrites, renames or closes meanwhile. It is done with the target's ids, groups,
        capabilities, umask, root and directory. May take as long as the call itself: FIFOs,
        terminals and connections wait.

        Args:
            as_supervisor: Use the supervisor's own rights instead. The root and the directory
                that paths begin at are still the target's.
            **replaced: Other values for path and address arguments, by their name: ``path=``
                takes text, bytes or a path, as the target would give it; ``address=`` a
                :data:`SocketAddress`, ``(ip, port)``, the path of a unix socket, or bytes.

        Returns:
            A reply, to be returned by the handler: the value, the errno or the descriptor.

        Raises:
            NotExpressible: It cannot be done for somebody else: execve, fork, chdir ...
            TargetError: It cannot be read, or leads nowhere; propagates as the errno that the
                kernel would give.
            Unsupported: Its answer belongs in the target's memory, and writing there is not
                defensible (M8).
            KernelError: The supervisor has not the rights to act as the target.
        """
        made = {name: replacement(self, name, value) for name, value in replaced.items()}
        return self.caller.perform(self, as_supervisor=as_supervisor, replaced=made)

    def describe(self) -> dict[str, Any]:
        """All arguments decoded, for logs and people; decides nothing, so marks nothing.

        What cannot be read is there as the :exc:`TargetError` that reading it
        raised. The kernel may see other memory than this (C2).
        """
        found: dict[str, Any] = {}
        for spec in self.spec.args:
            argument = getattr(type(self), spec.name)
            try:
                if isinstance(argument, MemoryArgument):
                    found[spec.name] = argument.fetch(self, self.caller.observer)
                else:
                    found[spec.name] = argument.value(self)
            except TargetError as error:
                found[spec.name] = error
        return found

    def __repr__(self) -> str:
        # Registers only: a repr in a traceback must not read anybody's memory.
        shown = (
            f"{spec.name}={self.copies[spec.name]!r}"
            if spec.name in self.copies
            else f"{spec.name}={self.register(spec.name):#x}"
            for spec in self.spec.args
        )
        return f"{type(self).__name__}({', '.join(shown)})"


class UnknownCall(Call):
    """A call that no table knows: a newer kernel's, -1, or nonsense (B1).

    Its name is empty and it has no arguments but the raw registers in
    ``exchange.args``.
    """

    __slots__ = ()
    call_name = ""
    spec = CallSpec(name="", args=(), returns="int")

    def __repr__(self) -> str:
        return f"UnknownCall(nr={self.exchange.nr}, arch={self.exchange.audit:#x})"


# Calls whose name ends in "at", as in OpenAt; not stat, lstat or shmat.
_AT: Final = re.compile(
    r"^(open|mkdir|mknod|fchown|futimes|newfstat|fstat|unlink|rename|link|symlink|readlink|fchmod"
    r"|faccess|utimens|execve|setxattr|getxattr|listxattr|removexattr)at(2|64|_time64)?$"
)


def class_name(call: str) -> str:
    """The class of a call: ``finit_module`` is ``FinitModule``, ``openat2`` is ``OpenAt2``.

    Example:
        >>> class_name("renameat2"), class_name("stat"), class_name("_llseek")
        ('RenameAt2', 'Stat', 'Llseek_')
    """
    # The kernel has both _llseek and llseek.
    if call.startswith("_"):
        return class_name(call.lstrip("_")) + "_"
    call = _AT.sub(lambda match: f"{match[1]}_at{match[2] or ''}", call)
    return "".join(part[:1].upper() + part[1:] for part in call.split("_"))


@cache
def class_names() -> MappingProxyType[str, str]:
    """The kernel's name of each call, by class name."""
    return MappingProxyType({class_name(name): name for name in model.names()})


def _finder(call: str, argument: str) -> Callable[[Arch], ArgSpec]:
    def on(arch: Arch) -> ArgSpec:
        for spec in model.spec(call, arch).args:
            if spec.name == argument:
                return spec
        raise NotExpressible(f"{call} has no single register {argument!r} on {arch.label}")

    return on


def _members(call: str, spec: CallSpec) -> dict[str, Any]:
    members: dict[str, Any] = {
        argument.name: make_argument(call, argument, _finder(call, argument.name))
        for argument in spec.args
    }
    members |= {
        "__slots__": (),
        "__module__": "unotify.calls",
        "__doc__": f"``{spec.prototype}``",
        "call_name": call,
        "spec": spec,
    }
    return members


@cache
def call_class(name: str) -> type[Call]:
    """The class of the call that the kernel calls *name*.

    Raises:
        UnknownName: No table has such a call.
    """
    return type(class_name(name), (Call,), _members(name, model.spec(name)))


@cache
def class_for(name: str, arch: Arch) -> type[Call]:
    """The class to decode *name* with on *arch*: a subclass where arguments differ there."""
    base = call_class(name)
    spec = model.spec(name, arch)
    if spec.args == base.spec.args:
        return base
    members = _members(name, spec)
    for argument in base.spec.args:
        if argument.name not in members:
            # Inherited, it would read whatever is in that register here.
            on = _finder(name, argument.name)
            members[argument.name] = make_missing(name, argument, on, spec.args)
    return type(base.__name__, (base,), members)


def decode(exchange: Exchange, caller: Callable[[Exchange], Any]) -> Call:
    """The typed call of *exchange*; `UnknownCall` where no table knows it."""
    identity = tables.identify(exchange.audit, exchange.nr)
    if identity.arch is None or identity.name is None:
        return UnknownCall(exchange, identity.arch or Arch.X86_64, caller)
    return class_for(identity.name, identity.arch)(exchange, identity.arch, caller)


def argument_of(call: str, name: str) -> Argument[Any]:
    """The argument *name* of *call*; raises `UnknownName` with the names there are."""
    argument = getattr(call_class(call), name, None)
    if not isinstance(argument, Argument):
        names = ", ".join(spec.name for spec in model.spec(call).args) or "none"
        raise UnknownName(f"{call} has no argument {name!r}; it has {names}")
    return argument
