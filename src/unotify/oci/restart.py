"""The restart protocol, without I/O: who does what in which order, and what follows from it.

Theory of operation. Each part is a *script*: a generator that yields each `Step`, and is sent what
came of it. Agents run scripts with `run`, on sockets and listeners; ``tests/unit/oci`` runs
the same ones on the model of the kernel, with deaths between any two steps, in all orders.

What holds, whoever dies whenever:

- Nobody receives while somebody else does. A successor serves when the agent before has ended, or
  has promised to receive nothing more and has hung up; that it has hung up alone says nothing.
- At each moment somebody has the listener who will serve it, or a store has it: it is put there
  before the first call is received. So targets wait, and do not get ENOSYS.
- What was received and not answered is in the journal, which goes wherever the listener goes, and
  is decided again; what was answered is not.
- An agent that was asked and is not told in time that all has arrived goes on, and its successor
  gives up.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Generic, TypeAlias, TypeVar

__all__ = [
    "HUNG_UP",
    "SILENT",
    "AskLife",
    "Begin",
    "Desk",
    "Finish",
    "Hear",
    "Hold",
    "LetGo",
    "Message",
    "Nothing",
    "Put",
    "Recover",
    "Say",
    "Script",
    "Settle",
    "Step",
    "Take",
    "Taken",
    "WriteDown",
    "ask",
    "give",
    "keep",
    "leave",
    "restore",
    "run",
]

T = TypeVar("T")
B = TypeVar("B")

Message: TypeAlias = Mapping[str, Any]


class Nothing(Enum):
    """What is heard of somebody who says nothing."""

    SILENT = "said nothing"
    HUNG_UP = "hung up"


SILENT: Final = Nothing.SILENT
HUNG_UP: Final = Nothing.HUNG_UP


# -- steps -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Say:
    """Send *message*, with the bundle of that name, or with a descriptor of this process.

    What comes of it: whether it was sent.
    """

    message: Message
    bundle: str = ""
    life: bool = False


@dataclass(frozen=True, slots=True)
class Hear:
    """Wait for the other side: a `Message`, or `Nothing`.

    With *ending* as long as it takes, so that it is a `Message` or `HUNG_UP`: who has said that he
    has all can lose patience no more, since he may be relied on by now.
    """

    ending: bool = False


@dataclass(frozen=True, slots=True)
class AskLife:
    """Whether the other side's process may still be there, which it need not say itself."""


@dataclass(frozen=True, slots=True)
class Put:
    """Have the store keep the bundle *name*; it does when this is done."""

    name: str


@dataclass(frozen=True, slots=True)
class Take:
    """Take copies of all that the store keeps: their names."""


@dataclass(frozen=True, slots=True)
class Recover:
    """Look what the bundle *name* is, and what was under way: whether it is to be served."""

    name: str


@dataclass(frozen=True, slots=True)
class Settle:
    """All that may still go wrong with this agent itself."""


@dataclass(frozen=True, slots=True)
class Begin:
    """Serve the listener *name*: what was under way before all else."""

    name: str


@dataclass(frozen=True, slots=True)
class WriteDown:
    """Give the listener *name* a journal that says whose it is."""

    name: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Take no more containers."""


@dataclass(frozen=True, slots=True)
class Finish:
    """Receive nothing more, let calls under way finish for a while, and close our listeners."""


@dataclass(frozen=True, slots=True)
class LetGo:
    """Leave the store to the next agent, as it is."""


Step: TypeAlias = (
    Say | Hear | AskLife | Put | Take | Recover | Settle | Begin | WriteDown | Hold | Finish | LetGo
)
Script: TypeAlias = Generator[Step, Any, T]


def run(script: Script[T], do: Callable[[Any], Any]) -> T:
    """Do each step of *script*; what *do* raises ends it."""
    came: Any = None
    while True:
        try:
            step = script.send(came)
        except StopIteration as end:
            found: T = end.value
            return found
        came = do(step)


# -- from agent to agent ---------------------------------------------------------


def give(names: Iterable[str]) -> Script[bool]:
    """The agent that is asked: give the bundles *names* to whoever asks.

    Returns:
        Whether that one has all of them and was promised that we leave: `leave` is next. If not
        nothing has changed.
    """
    names = list(names)
    if not (yield Say({"agent": True}, life=True)):
        return False
    for name in names:
        if not (yield Say({"name": name}, bundle=name)):
            return False
    if not (yield Say({"done": True, "count": len(names)})):
        return False
    heard = yield Hear()
    if isinstance(heard, Nothing) or heard.get("have") != len(names):
        return False
    return bool((yield Say({"leaving": True})))


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of `ask`.

    Attributes:
        serve: Whether what was given is to be served.
        why: If not, the reason; else a word about what may be missing.
    """

    serve: bool
    why: str = ""


def ask() -> Script[Taken]:
    """The successor: ask an agent for all that it has, and wait until it has left."""
    yield Say({"do": "hand-over"})  # if it has hung up, that is heard
    count = 0
    while True:
        heard = yield Hear()
        if isinstance(heard, Nothing):
            return (yield from _left_alone(heard, "while it handed over"))
        if "error" in heard:
            return Taken(False, str(heard["error"]))
        if "done" in heard:
            break
        count += "name" in heard
    if heard.get("count") != count:
        return Taken(False, f"the agent sent {heard.get('count')} bundles, {count} came")
    yield Say({"have": count})
    heard = yield Hear(ending=True)
    if isinstance(heard, Nothing):
        return (yield from _left_alone(heard, "before it said that it leaves"))
    if "leaving" not in heard:
        return Taken(False, f"the agent says {dict(heard)!r}, and not that it leaves")
    while (yield Hear(ending=True)) is not HUNG_UP:
        pass  # it has nothing more to say
    return Taken(True)


def _left_alone(nothing: Nothing, when: str) -> Script[Taken]:
    # It may have been killed, and then what it gave is ours; or it has lost patience with us, and
    # goes on.
    if nothing is HUNG_UP and not (yield AskLife()):
        return Taken(True, f"the agent was killed {when}")
    return Taken(False, f"the agent {nothing.value} {when}, and goes on")


def leave() -> Script[None]:
    """An agent that ends: what it does not finish is its successor's."""
    yield Hold()
    yield Finish()
    yield LetGo()


# -- with a store ----------------------------------------------------------------


def keep(name: str) -> Script[None]:
    """Serve a listener that has come."""
    yield WriteDown(name)
    yield Put(name)
    yield Begin(name)


def restore(handed: Iterable[str]) -> Script[list[str]]:
    """Serve what the agent before left.

    Args:
        handed: What it gave us itself; the rest is in the store.

    Returns:
        The listeners that are served.
    """
    names = list(dict.fromkeys(handed))
    for name in names:
        yield Put(name)
    names += [name for name in (yield Take()) if name not in names]
    found = []
    for name in names:
        if (yield Recover(name)):
            found.append(name)
    yield Settle()
    for name in found:
        yield Begin(name)
    return found


class Desk(Generic[B]):
    """What a keeper does: it holds bundles, for one agent after the other.

    Attributes:
        bundles: What it holds.
        busy: Whether an agent is here.
    """

    def __init__(self) -> None:
        self.bundles: dict[str, B] = {}
        self.busy = False

    def come(self) -> bool:
        """Somebody has come: whether he is served. Two would receive each other's calls."""
        if self.busy:
            return False
        self.busy = True
        return True

    def go(self) -> None:
        """The agent has gone. What it left is for the next one."""
        self.busy = False

    def store(self, name: str, bundle: B) -> B | None:
        """Hold *bundle*; returns what it takes the place of, which is to be closed."""
        old = self.bundles.get(name)
        self.bundles[name] = bundle
        return old

    def forget(self, name: str) -> B | None:
        """Hold *name* no more; returns what is to be closed."""
        return self.bundles.pop(name, None)
