"""Whether the bucket has room for a snapshot, and the database for a load, by what a project's plan lets them hold.

When a free project's Storage is full, even deletes are refused; when its database is, nothing can be written.
"""

from dataclasses import dataclass

from rich.filesize import decimal

from elt.errors import Full

FREE_BYTES = 10**9
"""Storage of a free Supabase organization, of all its projects together. Source: Supabase, "Pricing"."""

FREE_DATABASE_BYTES = 500 * 10**6
"""Database of a free Supabase project, which is read-only above it. Source: Supabase, "Pricing", "Database size"."""

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


@dataclass(frozen=True)
class DatabaseQuota:
    """The bytes that the lakehouse's database may hold. ``enforced``: as for ``Quota``."""

    bytes: int
    enforced: bool

    def require(self, held: int, more: int) -> None:
        """Nothing, if ``more`` bytes fit beside those ``held``; else ``Full``, where that is enforced."""
        if self.enforced and held + more > self.bytes:
            raise Full(
                f"{_database(held, more)}: more than DATABASE_QUOTA, {decimal(self.bytes)}",
                kept="nothing was written",
                next_step="make room in the database, or raise DATABASE_QUOTA if it may hold more",
            )

    def warning(self, held: int, more: int) -> str:
        """What to tell whoever is about to load ``more`` bytes into a project that may be a free one; mostly empty."""
        if self.enforced or held + more <= self.bytes:
            return ""
        return (
            f"{_database(held, more)}; a free project has {decimal(self.bytes)} of database, and nothing can be "
            "written once they are full. Take a larger plan first; if yours has more, say so: DATABASE_QUOTA=8GB"
        )


def _database(held: int, more: int) -> str:
    return (
        f"the database holds {decimal(held)}, and what is new may take about {decimal(more)} "
        "(rows, indexes, analyses, and staging while they are loaded)"
    )
