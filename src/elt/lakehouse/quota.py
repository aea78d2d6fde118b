"""Whether the bucket has room for a snapshot: when a free project's Storage is full, even deletes are refused."""

from dataclasses import dataclass

from rich.filesize import decimal

from elt.errors import Full

FREE_BYTES = 10**9
"""Storage of a free Supabase organization, of all its projects together. Source: Supabase, "Pricing"."""

NEARLY_FULL = 80
"""Per cent from which on to warn."""


@dataclass(frozen=True)
class Quota:
    """The bytes that the bucket may hold.

    ``enforced``: they were set, and a snapshot that would pass them is refused. Otherwise they are what a free project
    has, and somebody who has more must not be stopped.
    """

    bytes: int
    enforced: bool

    def require(self, held: int, more: int) -> None:
        """Nothing, if ``more`` bytes may be stored beside those ``held``; else ``Full``, where that is enforced."""
        if self.enforced and held + more > self.bytes:
            raise Full(
                f"bronze holds {decimal(held)} and has {decimal(more)} to store: more than STORAGE_QUOTA, "
                f"{decimal(self.bytes)}",
                kept="nothing was written",
                next_step="make room (medallion backup FOLDER, then medallion prune --keep N), or raise STORAGE_QUOTA "
                "if the project has more",
            )

    def warning(self, held: int) -> str:
        """What to tell whoever looks after a bucket that holds so much; empty if nothing."""
        if held * 100 < self.bytes * NEARLY_FULL:
            return ""
        share = f"bronze holds {decimal(held)} of the {decimal(self.bytes)}"
        room = "KEEP_SNAPSHOTS=6 keeps only the newest snapshots (make a backup first: medallion backup FOLDER)"
        if self.enforced:
            return f"{share} of STORAGE_QUOTA, and what would pass it is refused; {room}"
        return (
            f"{share} of Storage that a free Supabase organization has for all its projects; once they are full, every "
            f"request is refused, deletes too; {room}. If yours has more, say so: STORAGE_QUOTA=100GB"
        )
