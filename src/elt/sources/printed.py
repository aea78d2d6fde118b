"""Dates and times of PostgreSQL's JSON as PostgreSQL prints them in its ISO style, instants in UTC: pure functions.

JSON has them in one form, whatever the date style of the server, the database or the role; a cast to text has not.
Source: PostgreSQL's ``JsonEncodeDateTime`` and ``EncodeDateTime`` (``USE_XSD_DATES`` and ``USE_ISO_DATES``).
"""

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

DATE, TIMESTAMP, INSTANT = "date", "timestamp without time zone", "timestamp with time zone"
KINDS = {DATE: DATE, TIMESTAMP: TIMESTAMP, "timestamp": TIMESTAMP, INSTANT: INSTANT, "timestamptz": INSTANT}
"""The kinds that are read from JSON, by the names that a server may have for them."""

_IN_UTC = r"(\+00:00( BC)?|infinity)$"


def printed(values: pa.ChunkedArray, kind: str) -> pa.ChunkedArray:
    """Texts of JSON as PostgreSQL would print the values; NULL stays. ``kind``: a value of ``KINDS``."""
    if kind == DATE:
        return values
    spaced = pc.replace_substring(values, "T", " ", max_replacements=1)
    if kind == TIMESTAMP:
        return spaced
    if pc.all(pc.match_substring_regex(spaced, _IN_UTC)).as_py() is False:
        spaced = pa.chunked_array([pa.array([text and _in_utc(text) for text in spaced.to_pylist()], pa.string())])
    return pc.replace_substring_regex(spaced, r"\+00:00( BC)?$", r"+00\1")


def _in_utc(text: str) -> str:
    """An instant with whatever offset, in UTC; before the year 1 and after 9999, as it is."""
    try:
        moment = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return text
    fraction = f".{moment.microsecond:06}".rstrip("0.")
    return f"{moment.replace(microsecond=0, tzinfo=None).isoformat(' ')}{fraction}+00:00"
