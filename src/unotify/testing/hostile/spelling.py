"""The calls that an effect can be had by, with their arguments; the way back of `effects`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from unotify.abi import model, tables
from unotify.abi.arch import Arch
from unotify.abi.model import Role
from unotify.calls.structs import LAYOUTS
from unotify.policy.offline import Memory, call_of, prepare
from unotify.testing.hostile.effects import MSG_FASTOPEN, Effect, Places, observe, spellings

__all__ = ["Arguments", "Put", "registers", "spell", "spelled", "typed"]

Put: TypeAlias = Callable[[Callable[[bytes], int], Arch], int]
"""Puts something into memory, in pieces, and tells the address that the call is given."""

Arguments: TypeAlias = Mapping[str, "int | str | Mapping[str, int] | Put"]
"""By the names of the manual page: numbers, what is pointed to as people write it, structs."""

_FD: Final = 3
_CREAT: Final = 0o1101
_REMOVEDIR: Final = 0x200


def registers(call: str, arch: Arch, given: Arguments, memory: Memory) -> tuple[int, ...]:
    """The registers of a call; what they point to is put into *memory*."""
    words = []
    for name, value in given.items():
        if callable(value):
            value = value(memory.put, arch)
        if isinstance(value, Mapping):
            value = " ".join(f"{key}={number}" for key, number in value.items())
        elif isinstance(value, str) and value != "NULL":
            value = f'"{value}"'  # not to be taken for a number
        words.append(f"{name}={value}")
    found, _ = prepare(call, arch, words, memory)
    return found


def typed(call: str, arch: Arch, given: Arguments) -> Any:
    """The typed call, as it would be received, with a memory of its own."""
    number = tables.number(call, arch)
    assert number is not None
    memory = Memory(arch.pointer)
    return call_of(arch, call, number, registers(call, arch, given, memory), memory)


def spell(effect: Effect, call: str, arch: Arch) -> Arguments | None:
    """Arguments by which *call* has *effect*; ``None`` if it cannot have it."""
    if tables.number(call, arch) is None:
        return None
    given = _given(effect, call, arch)
    if given is None:
        return None
    # What is written down here is not taken on trust.
    paths = dict(effect.paths)
    there = Places(
        lambda spot: spot.path.decode("utf-8", "surrogateescape"),
        lambda fd: paths.get("path", ""),
    )
    return given if observe(typed(call, arch, given), there) == effect else None


def spelled(effect: Effect, arch: Arch) -> dict[str, Arguments]:
    """All calls of *arch* that have *effect*, with the arguments by which they do."""
    found = {call: spell(effect, call, arch) for call in spellings(effect.kind)}
    return {call: given for call, given in found.items() if given is not None}


def _given(effect: Effect, call: str, arch: Arch) -> Arguments | None:
    values, paths = dict(effect.values), dict(effect.paths)
    if effect.kind == "connect" and call != "connect":
        return _connecting_send(str(values["address"]), call)
    flags = int(values.get("flags", 0))
    if effect.kind == "openat":
        if call == "creat":
            return {"path": paths["path"], "mode": values.get("mode", 0)}
        if call == "openat2":
            how = {name: int(values.get(name, 0)) for name in ("flags", "mode")}
            return {"path": paths["path"], "dirfd": -100, "how": how}
        if call == "open_by_handle_at":
            return {"mount_fd": _FD, "handle": _handle(paths["path"]), "flags": flags}
    if call == "clone3":
        return {"args": {"flags": flags}}
    if call == "setxattrat":
        return {"dirfd": -100, "path": paths["path"], "name": values["name"], "args": {"flags": 0}}
    given: dict[str, Any] = {}
    for arg in model.spec(call, arch).args:
        if arg.role is Role.DIRFD:
            given[arg.name] = -100
        elif arg.role is Role.FD:
            given[arg.name] = _FD
        elif arg.name in paths:
            given[arg.name] = paths[arg.name]
        elif arg.name in values:
            given[arg.name] = values[arg.name]
        elif arg.role is Role.IN_BUFFER:
            given[arg.name] = "x"
        elif arg.name == "times":
            given[arg.name] = "NULL"
    return given


def _handle(path: str) -> Put:
    def put(into: Callable[[bytes], int], arch: Arch) -> int:
        raw = path.encode()
        order = "little" if arch.little else "big"
        return into(len(raw).to_bytes(4, order) + (1).to_bytes(4, order) + raw)  # type: ignore[arg-type]

    return put


def _connecting_send(address: str, call: str) -> Arguments:
    if call == "sendto":
        return {"fd": _FD, "address": address, "buf": "x", "flags": MSG_FASTOPEN}

    def put(into: Callable[[bytes], int], arch: Arch) -> int:
        # The address as `prepare` lays it out.
        raw = typed("connect", arch, {"fd": _FD, "address": address})
        length = raw.register("length")
        data = raw.caller.read(raw.exchange.args[1], length)
        form = LAYOUTS["user_msghdr"].format(arch)
        header = form.pack(into(data), length, 0, 0, 0, 0, 0)
        return into(header + bytes(arch.pointer))  # and the length of a struct mmsghdr

    if call == "sendmmsg":
        return {"fd": _FD, "msgvec": put, "vlen": 1, "flags": MSG_FASTOPEN}
    return {"fd": _FD, "msg": put, "flags": MSG_FASTOPEN}
