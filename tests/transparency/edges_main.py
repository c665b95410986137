"""Many odd calls, and what came of each: python edges_main.py GROUP OUTPUT EVERY.

Results go to the file OUTPUT as they come, one line for each.
"""

from __future__ import annotations

import itertools
import os
import re
import sys

from edges_attributes import attributes
from edges_base import tree
from edges_changing import changes, moves, names
from edges_looking import sights
from edges_opening import opens

GROUPS = {
    "opens": opens,
    "names": names,
    "moves": moves,
    "changes": changes,
    "sights": sights,
    "attributes": attributes,
}


def user_namespace() -> str:
    """Ours, whose number is another in each run that makes one."""
    try:
        return os.readlink("/proc/self/ns/user")
    except OSError:
        return "there is no /proc"


def main(group: str, output: str, every: int) -> None:
    """Make all calls of *group*, or only some: one of *every*."""
    os.umask(0o22)
    tree.attribute = group == "attributes"
    namespace = user_namespace()
    with open(output, "w") as file:
        edges = GROUPS[group](every == 1)
        for label, act, changing in itertools.islice(edges, None, None, every):
            tree.make()
            before = tree.seen() if changing else []
            result = act()
            if changing:
                after = tree.seen()
                if before != after:
                    tree.fresh = False
                    new = [row for row in after if row not in before]
                    result = result, new, [row[0] for row in before if row not in after]
            line = f"{label} = {result}".replace(tree.top, "TOP")
            line = line.replace(f"b'{os.getpid()}'", "b'PID'")
            line = line.replace(f"b'{namespace}'", "b'ITS OWN'")
            # A file without a name is called by its number.
            file.write(re.sub(r"#[0-9]+ \(deleted\)", "#NUMBER (deleted)", line) + "\n")
    tree.open_up()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
