"""The numeric status keys that one layer passes to the next."""

from enum import IntEnum


class StatusKey(IntEnum):
    """What a layer found and did. A key is a result, never a failure: failures are exceptions.

    Source of the numbers and their meanings: the pipeline's specification.
    """

    BRONZE_NOTHING_NEW = 135
    BRONZE_WRITTEN = 246
    SILVER_NOTHING_NEW = 357
    SILVER_WRITTEN = 468
    GOLD_NOTHING_NEW = 579
    GOLD_WRITTEN = 680

    @property
    def meaning(self) -> str:
        """The key in words."""
        return _MEANINGS[self]

    @property
    def goes_on(self) -> bool:
        """Whether the next layer has something to do."""
        return self in (StatusKey.BRONZE_WRITTEN, StatusKey.SILVER_WRITTEN)


_MEANINGS = {
    StatusKey.BRONZE_NOTHING_NEW: "no new data in the source: nothing written",
    StatusKey.BRONZE_WRITTEN: "a snapshot waits for silver: go on",
    StatusKey.SILVER_NOTHING_NEW: "no new data to clean: nothing written",
    StatusKey.SILVER_WRITTEN: "new or changed rows wait for gold: go on",
    StatusKey.GOLD_NOTHING_NEW: "no new data: nothing written",
    StatusKey.GOLD_WRITTEN: "analysis tables updated",
}
