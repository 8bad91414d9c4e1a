"""The wait-for graph: cycles, and who must give way.

An edge W → H says that the blocked transaction W cannot go on before H gives something up. The
graph is not stored: `blockers_of` computes an owner's edges from the lock tables when asked, so it
cannot go stale.

Invariants
1. The search runs each time a transaction blocks, under the lock manager's mutex. A cycle is
   therefore found by the edge that closes it, and there is at most one new cycle through that edge
   per blocker.
2. Every member of a cycle is blocked, so none of its locks can change during the search.
3. An owner that is not blocked has no edges.

It decides nothing about locks: it reads edges and names a victim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

VICTIM_POLICIES = ("requester", "youngest", "least_work")


class Blockable(Protocol):
    """What the search needs to know of a lock owner."""

    @property
    def txn_id(self) -> int: ...

    @property
    def work(self) -> int: ...


def find_cycle(
    start: Blockable, blockers_of: Callable[[Blockable], Iterable[Blockable]]
) -> list[Blockable]:
    """A path start → … → start as the list of its members, or [] when there is none.

    Depth-first with an explicit stack; visits each owner once.
    """
    path: list[Blockable] = [start]
    trail = [iter(blockers_of(start))]
    seen = {id(start)}
    while trail:
        following = next(trail[-1], None)
        if following is None:
            trail.pop()
            path.pop()
        elif following is start:
            return path
        elif id(following) not in seen:
            seen.add(id(following))
            path.append(following)
            trail.append(iter(blockers_of(following)))
    return []


def choose_victim(cycle: list[Blockable], policy: str) -> Blockable:
    """The member to abort. cycle[0] is the requester, whose request closed the cycle.

    youngest: the highest txn_id. least_work: the fewest rows written, then the youngest.
    """
    if policy == "youngest":
        return max(cycle, key=lambda owner: owner.txn_id)
    if policy == "least_work":
        return min(cycle, key=lambda owner: (owner.work, -owner.txn_id))
    return cycle[0]
