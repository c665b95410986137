"""Container runtimes: the agent that serves them, and the protocols that they speak."""

from unotify.oci.agent import Agent
from unotify.oci.containers import Container, Containers, Served
from unotify.oci.process_state import ProcessState, ProcessStateReader

__all__ = [
    "Agent",
    "Container",
    "Containers",
    "ProcessState",
    "ProcessStateReader",
    "Served",
]
