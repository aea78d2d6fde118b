"""PostgreSQL's error codes as our errors: one table for the direct connection and the HTTP API, which passes them on.

Source: PostgreSQL's documentation, Appendix A, "PostgreSQL Error Codes". Those that begin with PMD are our own
functions'.
"""

from elt.errors import Denied, Full, LakehouseError, LeaseError, Missing, Rejected, Timeout, TooLarge, Unreachable

NOT_GRANTED = "42501"
"""The code of a right that is missing."""

TAKEN_OVER = "PMD01"
"""The code of ``controle.exigir``: the lease is another run's."""

AT_WORK = "PMD02"
"""The code of a migration while a run is at work."""


def error_of(state: str, text: str) -> LakehouseError:
    """The error for an SQLSTATE, with ``text`` as what happened.

    What is of no kind below is neither the network's nor the data's: no such thing is tried again or set aside.
    """
    if state == TAKEN_OVER:
        return LeaseError(
            text,
            kept="what was written before the other run took over; of what is told here, nothing",
            next_step="wait for the other run to end, then run again: it goes on from there",
        )
    if state == AT_WORK:
        return LeaseError(text, next_step="wait for that run to end, then run the same command again")
    if state == "57014":
        return Timeout(text, next_step="the server's statement timeout ended the request; raise it, or run again")
    if state == "53100":
        return Full(text, next_step="the database has no space left: free some, then run the same command again")
    if state == "25006":  # a hosted project turns read-only when its disk is nearly full
        return Full(text, next_step="the database is read-only, usually for want of disk space: free or buy some")
    if state == NOT_GRANTED:
        return Denied(text, next_step="grant the role that connects the right that is missing")
    if state[:2] == "28":
        return Denied(text, next_step="check the user and the password")
    if state == "3D000":
        return Missing(text, next_step="correct the database's name in the URL")
    if state in ("3F000", "42P01", "42703", "42883"):
        return Missing(text, next_step="apply the migrations: medallion init")
    if state[:2] in ("22", "23", "44", "P0") or state == "21000":
        return Rejected(text)
    if state[:2] == "XX":
        return Unreachable(text, next_step="the server's own log says more; then run the same command again")
    if state[:2] in ("08", "53", "57", "58"):
        return Unreachable(text, next_step="start the database, then run the same command again: it goes on from there")
    if state[:2] == "54":
        return TooLarge(text, next_step="the server's limit for one statement is smaller than what was sent")
    if state[:2] == "40" or state == "55P03":  # lost against another transaction: the same request works later
        return Unreachable(text, next_step="run the same command again: it goes on from there")
    return LakehouseError(text)
