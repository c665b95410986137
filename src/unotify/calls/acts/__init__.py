"""A call as the supervisor would make it: copies, and where its paths begin.

Theory of operation. The kernel has many spellings of few acts: ``open``, ``creat`` and
``openat`` are ``openat``, ``lchown`` is ``fchownat`` with a flag, ``utime`` is ``utimensat`` in
seconds. `spellings` says which call is which act; all the rest follows from the call model, by the
names of arguments: registers are passed on, what pointers lead to is read once and passed as a
copy, paths become a `Spot` each, descriptors stay numbers of the target until somebody takes them.

Pure: an `Act` is a value. `unotify.kernel.acting` carries one out.
"""

from unotify.calls.acts.act import CREATING, Act, Out, Replacement
from unotify.calls.acts.planning import plan
from unotify.calls.acts.spellings import act_of, performable, writes

__all__ = ["CREATING", "Act", "Out", "Replacement", "act_of", "performable", "plan", "writes"]
