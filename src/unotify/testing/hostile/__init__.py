"""What a hostile target can get in spite of a policy: a bounded search on the simulated kernel.

`effects` says what calls do, so that two spellings of one act are the same; `bans` what a policy
forbids of that; `witnesses` finds arguments for it. `stage` is the simulated kernel with a
supervisor and a target, `attempts` and `preparing` have what the target can do, and `searching`
makes all of it happen, in all orders, up to a bound.
"""

__all__: list[str] = []
