"""The figures of kept releases that a later version changes on purpose, each with the decision record that names it."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Difference:
    """One figure of ``figures.json``: that of a ``subject`` at a ``moment`` in the life of a ``release``'s lakehouse.

    ``now``: what it is instead. ``decision``: the file in ``docs/decisions`` that says why, and names the release and
    the subject.
    """

    release: str
    moment: str
    subject: str
    now: Any
    decision: str


DIFFERENCES: tuple[Difference, ...] = (
    Difference("0.2.0", "waiting", "status.waiting_for_gold", 2, "0013-silver-is-judged-and-applied-as-sets.md"),
)
