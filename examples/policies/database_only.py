"""Connects the program's own socket to the address that `database-only.toml` has checked."""

import errno
import socket

import unotify
from unotify import Fail, Reply, Return
from unotify.calls import Connect


@unotify.on(Connect)
def connect(call: Connect) -> Reply:
    """Connect a duplicate of the socket to the copy of the address that was checked."""
    address = call.address
    with socket.socket(fileno=call.caller.steal_fd(call.fd)) as theirs:
        if not call.caller.is_waiting():
            return Fail(errno.EINTR)
        try:
            theirs.connect((str(address.ip), address.port))
        except OSError as error:
            return Fail(error.errno or errno.EIO)
    return Return(0)
