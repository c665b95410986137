"""The language of ``where``: Python's expression grammar, checked against the call model.

`reading` parses, `values` and `functions` say what names stand for, `binding` what a
condition means for each call; `kinds` knows which of the kernel's constants belong to
what, `numbers` what each architecture has in their place, `masks` what is no bit;
`registers` makes tests that a filter can decide, `looks` those that take a look at
the target.
"""

from __future__ import annotations

from unotify.policy.where.binding import bind

__all__ = ["bind"]
