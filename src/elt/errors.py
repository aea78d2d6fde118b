"""Every error the pipeline raises on purpose.

    MedallionError
    ├── ConfigurationError        a setting is missing or does not fit; raised before the first write
    ├── SourceError               the source's data cannot be read as a table
    │   └── NoSuchTable           the source does not have the table
    ├── SnapshotError             a bronze snapshot is not what its manifest says
    ├── AccountingError           rows in and rows out do not add up
    ├── DiskError                 a disk of this machine cannot be read or written
    ├── Stopped                   the process was asked to end (SIGTERM) in the middle of a run
    └── LakehouseError            the lakehouse (or the source's server) answered with an error
        ├── Unreachable           no answer: network, stopped server            (transient: tried again)
        │   ├── Paused            the hosted project sleeps                     (not tried again)
        │   └── Redirected        the server names another address              (not tried again)
        ├── Timeout               the server gave up on a long request          (the batch is halved)
        ├── TooLarge              the server refused the request's size         (the batch is halved)
        ├── QuotaExceeded         the organisation's quota is used up, or a payment overdue  (not tried again)
        ├── Denied                key or role without the right
        ├── Missing               table, column, schema, bucket or object that is not there
        ├── LeaseError            another run holds the lakehouse
        ├── Full                  no space left
        └── Rejected              the data breaks a rule of the server          (halved down to the single row)

An error says what happened, what was kept, and what to do next; the command line prints the three. And it knows what
one does about it: its ``kind``, and whether a smaller request may succeed (``halved``).
"""

import errno
from enum import Enum
from typing import ClassVar


class Kind(Enum):
    """What one does about an error."""

    TRANSIENT = "try the same again"
    DATA = "set the data aside, and correct it where it comes from"
    FATAL = "somebody has to see to it"


class MedallionError(Exception):
    """What happened, what was kept, and what to do next.

    ``kept`` and ``next_step`` may be empty: whoever knows more (a layer, the runner) fills them in on the way up.
    """

    kind: ClassVar[Kind] = Kind.FATAL
    exit_code = 1
    run = ""
    """The run's identifier in the ledger, if it was in one."""

    def __init__(self, what: str, *, kept: str = "", next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.kept = kept
        self.next_step = next_step


class ConfigurationError(MedallionError):
    """A setting is missing or does not fit. Nothing was read or written."""

    exit_code = 2


class SourceError(MedallionError):
    """The source's data cannot be read as the table it should be."""

    kind = Kind.DATA


class NoSuchTable(SourceError):
    """The source does not have the table. A table that may be absent is empty then."""


class SnapshotError(MedallionError):
    """A bronze snapshot is not what its manifest says."""

    kind = Kind.DATA


class AccountingError(MedallionError):
    """Rows read are not the sum of rows written, unchanged, repeated and quarantined."""


class DiskError(MedallionError):
    """A disk of this machine cannot be read or written, and whoever needed it said nothing better."""

    ERRNOS: ClassVar = frozenset(
        getattr(errno, name)
        for name in ("EIO", "ENOSPC", "EDQUOT", "EFBIG", "EROFS", "ESTALE", "ENODEV", "ENXIO")
        if hasattr(errno, name)
    )
    """Which errors of the operating system tell of a disk, where others tell of a bug."""


class Stopped(MedallionError):
    """The process was asked to end in the middle of a run, and did so between two batches."""

    exit_code = 143  # as a shell shows a process that SIGTERM ended: 128 + 15


class LakehouseError(MedallionError):
    """A server or a disk answered with an error; the message holds its words.

    ``halved``: a request of half the size may succeed.
    ``repeated``: the request had been tried before without an answer, so that its first try may have landed.
    ``retry_after``: the seconds that the server asked to wait before another try.
    ``detail``: what PostgreSQL says of the row (its DETAIL), often all of it. That is data: it may go into quarantine,
    which is in the shop's own database, and into no message.
    ``code``: the server's own code for it, such as an SQLSTATE or one of PostgREST's; empty if it gave none.
    ``answered``: a server of the HTTP API, or a gateway before it, said so; it is not the want of an answer.
    """

    halved: ClassVar[bool] = False
    repeated = False
    retry_after = 0.0
    detail = ""
    code = ""
    answered = False


class Unreachable(LakehouseError):
    """No answer: network, stopped server."""

    kind = Kind.TRANSIENT


class Paused(Unreachable):
    """The hosted project was paused for want of activity; only its owner can wake it."""

    kind = Kind.FATAL


class Redirected(Unreachable):
    """The server sends requests on to another address; a key goes to the address it was given for, and nowhere else."""

    kind = Kind.FATAL


class Timeout(LakehouseError):
    """The server gave up on a request that took too long."""

    halved = True


class TooLarge(LakehouseError):
    """The server refused the size of the request."""

    halved = True


class QuotaExceeded(LakehouseError):
    """The hosted project's organisation is over a quota, or owes a payment: every request of it is refused."""


class Denied(LakehouseError):
    """The key or role has no right to do this."""


class Missing(LakehouseError):
    """A table, column, schema, bucket or object that is not there."""


class LeaseError(LakehouseError):
    """Another run holds the lakehouse, or has taken it over."""

    exit_code = 3


class Full(LakehouseError):
    """No space left where the data goes."""


class Rejected(LakehouseError):
    """The data breaks a rule of the server (type, constraint, an object that exists already)."""

    kind = Kind.DATA
    halved = True
