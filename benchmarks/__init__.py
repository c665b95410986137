"""How quick unotify is: run ``python -m benchmarks``, or ``make bench``.

One module for each benchmark. Each has a ``measure`` that returns a
:class:`benchmarks.report.Report`: a table for the reader, and
``benchmarks/out/NAME.json`` for programs.
"""
