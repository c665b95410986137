"""The language of ``where``: Python's expression grammar, checked against the call model.

`reading` parses, `values` and `functions` say what names stand for, `binding` what a
condition means for each call; `names` knows the kernel's constants, `registers`
makes tests that a filter can decide, `looks` those that take a look at the target.
"""

from __future__ import annotations

from unotify.policy.where.binding import bind

__all__ = ["bind"]
