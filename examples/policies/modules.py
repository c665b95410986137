"""Answers for the modules that `modules.toml` knows: this host has them built in."""

import unotify
from unotify import Reply, Return
from unotify.calls import FinitModule


@unotify.on(FinitModule)
def loaded(call: FinitModule) -> Reply:
    """Say that it is loaded. A host that has it as a module would load its own file here."""
    return Return(0)
