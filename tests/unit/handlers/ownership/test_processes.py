"""Who each process is: over forks, execs and deaths that nobody tells of."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from unotify.handlers.ownership.identities import ROOT, Identity, Ids
from unotify.handlers.ownership.processes import Processes
from unotify.kernel.lives import Life


def user(number: int) -> Identity:
    """Somebody who is not root."""
    return ROOT.with_uids(Ids(number, number, number, number))


@dataclass
class World:
    """Processes as ``/proc`` would show them."""

    lives: dict[int, Life] = field(default_factory=dict)
    clock: int = 0

    def start(self, pid: int, parent: int | None = None, *, group: int = 50) -> Target:
        """A process; by fork if it has a *parent*."""
        self.clock += 1
        image = (1, 2) if parent is None else self.lives[parent].image
        above = os.getpid() if parent is None else parent
        self.lives[pid] = Life(pid, above, group, group, self.clock, image)
        return Target(self, pid)

    def exec(self, pid: int) -> None:
        """It runs another program."""
        self.clock += 1
        self.lives[pid] = self.lives[pid]._replace(image=(self.clock, self.clock))

    def end(self, pid: int) -> None:
        """It ends; its children get another parent."""
        del self.lives[pid]
        for other, life in self.lives.items():
            if life.parent == pid:
                self.lives[other] = life._replace(parent=1)


@dataclass
class Target:
    """One of them, calling."""

    world: World
    pid: int

    def life(self) -> Life:
        """Itself."""
        return self.world.lives[self.pid]

    def life_of(self, pid: int) -> Life | None:
        """Another."""
        return self.world.lives.get(pid)

    def children_of(self, pid: int) -> list[int]:
        """Its children."""
        return [life.pid for life in self.world.lives.values() if life.parent == pid]


def test_all_begin_as_root() -> None:
    """Nobody is looked up as long as nobody changes."""
    processes = Processes()
    assert processes.identity(None) == ROOT
    target = World().start(100)
    processes.become(target, ROOT)
    assert processes.identity(None) == ROOT


def test_a_child_is_who_its_parent_is() -> None:
    """Also a grandchild whose parent never asked; a stranger is root."""
    world, processes = World(), Processes()
    parent = world.start(100)
    processes.become(parent, user(5))
    world.start(101, 100)
    assert processes.identity(world.start(102, 101)) == user(5)
    assert processes.identity(world.start(200)) == ROOT


def test_born_before_the_change() -> None:
    """A child that has not asked yet stays what its parent was when it was born."""
    world, processes = World(), Processes()
    parent, child = world.start(100), world.start(101, 100)
    grandchild = world.start(102, 101)
    processes.become(parent, user(5))
    assert processes.identity(child) == ROOT
    assert processes.identity(grandchild) == ROOT
    assert processes.identity(world.start(103, 100)) == user(5)


def test_exec() -> None:
    """It does to the ids what the kernel does, once, also if a parent of long ago had it done."""
    world, processes = World(), Processes()
    parent = world.start(100)
    half = ROOT.with_uids(Ids(0, 5, 0, 5))
    processes.become(parent, half)
    child = world.start(101, 100)
    world.exec(101)
    grandchild = world.start(102, 101)
    assert processes.identity(grandchild) == half.after_exec()
    assert processes.identity(child) == half.after_exec()
    assert processes.identity(parent) == half
    world.exec(100)
    assert processes.identity(parent) == half.after_exec()


def test_orphans() -> None:
    """Whose parent ended before it asked is known by its group or session."""
    world, processes = World(), Processes()
    leader = world.start(100, group=100)
    processes.become(leader, user(5))
    orphan = world.start(101, 100, group=100)
    world.end(100)
    assert processes.identity(orphan) == user(5)


def test_numbers_are_given_again() -> None:
    """A later process of a number that is known is another one."""
    world, processes = World(), Processes()
    first = world.start(100)
    processes.become(first, user(5))
    world.end(100)
    assert processes.identity(world.start(100)) == ROOT
    assert processes.of(first, 999) is None


def test_the_dead_are_forgotten() -> None:
    """What is known stays bounded."""
    world, processes = World(), Processes()
    processes.become(world.start(100), user(5))
    for pid in range(1000, 6000):
        target = world.start(pid)
        processes.become(target, user(6))
        world.end(pid)
    assert len(processes._known) <= 4097
    assert processes.identity(Target(world, 100)) == user(5)
