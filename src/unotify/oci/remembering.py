"""What an agent writes down of each listener, for the agent after it.

Pure: records are JSON. The text of the policy is in it, with all that it includes: a container
keeps the version that it began with, and the directory may have another one by then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final

from unotify.oci.process_state import ProcessState

__all__ = ["Memory", "decode", "encode"]

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Memory:
    """What there is to know about a listener.

    Attributes:
        key: The same for all listeners of one container, and for no other container.
        state: What its runtime said.
        first: Whether it is the container's first.
        policy: The name of its policy.
        digest: Of that policy's version; empty if it has none of its own.
        texts: The files of the policy by their paths, its own first; empty if there was no room.
        by: Which entry of the table chose it.
        wait_killable: Whether its filter has WAIT_KILLABLE_RECV.
        since: When it came, in seconds since the epoch.
        user_namespace: The one that the container began in; empty if unknown.
    """

    key: str
    state: ProcessState
    first: bool
    policy: str
    digest: str = ""
    texts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    by: int = 0
    wait_killable: bool = False
    since: float = 0.0
    user_namespace: str = ""


def encode(memory: Memory, most: int) -> bytes:
    """As JSON, in *most* bytes: annotations are left out if need be, then the policy's text.

    Raises:
        ValueError: Without these it is still longer.
    """
    bare = replace(memory, state=replace(memory.state, annotations={}))
    for tried in (memory, bare, replace(bare, texts={})):
        text = json.dumps(_plain(tried)).encode()
        if len(text) <= most:
            return text
    raise ValueError(f"what is to be remembered of a container has more than {most} bytes")


def _plain(memory: Memory) -> dict[str, Any]:
    state = replace(memory.state, annotations={})
    plain = asdict(replace(memory, state=state, texts={}))
    plain["state"]["annotations"] = dict(memory.state.annotations)
    return plain | {"version": _VERSION, "texts": list(memory.texts.items())}


def decode(record: Mapping[str, Any]) -> Memory | None:
    """What `encode` made; ``None`` if it is something else, such as a newer agent's."""
    try:
        if record["version"] != _VERSION:
            return None
        given = {key: value for key, value in record.items() if key != "version"}
        state = given["state"]
        state["annotations"] = MappingProxyType(dict(state["annotations"]))
        given["state"] = ProcessState(**state)
        given["texts"] = MappingProxyType(dict(given["texts"]))
        return Memory(**given)
    except (KeyError, TypeError, ValueError):
        return None
