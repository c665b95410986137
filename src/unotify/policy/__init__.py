"""The policy language: rules in, a filter and a supervisor's decisions out. Pure.

`model` is a checked policy and `conditions` what its ``where`` means; `loader`
and `expression` make them of a file, `oci` and `foreign` of other people's.
`compiling` makes the filter half, `deciding` is the supervisor's, `races` tells
where a target could cheat.
"""

from __future__ import annotations

__all__: list[str] = []
