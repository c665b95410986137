"""What the rooms above need from a kernel, as types.

`unotify.kernel.linux` offers it for the running Linux; a simulated kernel can
offer the same. So nothing above this room imports anything specific to an
operating system, and each ordering of events can be a unit test.
"""

from unotify.kernel.interface.files import Entering, Held, Lookable, Looking
from unotify.kernel.interface.journals import Journal, Journaled
from unotify.kernel.interface.kernel import Kernel
from unotify.kernel.interface.listening import Listener, Poller, Ready
from unotify.kernel.interface.programs import Enforcement, Process, Spawned
from unotify.kernel.interface.serving import (
    ASK,
    CONTINUE,
    MAKE,
    OUTCOMES,
    PERFORM,
    RETURN,
    Came,
    Making,
    Origin,
    Server,
    Shortcut,
    Tally,
)
from unotify.kernel.interface.threads import Done, Memory, Pinned, Thread

__all__ = [
    "ASK",
    "CONTINUE",
    "MAKE",
    "OUTCOMES",
    "PERFORM",
    "RETURN",
    "Came",
    "Done",
    "Enforcement",
    "Entering",
    "Held",
    "Journal",
    "Journaled",
    "Kernel",
    "Listener",
    "Lookable",
    "Looking",
    "Making",
    "Memory",
    "Origin",
    "Pinned",
    "Poller",
    "Process",
    "Ready",
    "Server",
    "Shortcut",
    "Spawned",
    "Tally",
    "Thread",
]
