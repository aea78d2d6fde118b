"""Another try for a request without an answer: what is worth one, and after which pause."""

from collections.abc import Callable
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_combine,
    wait_random_exponential,
)

from elt.errors import Kind, LakehouseError, MedallionError

T = TypeVar("T")

LONGEST_SECONDS = 20
"""The longest random pause."""


def patiently(request: Callable[[], T], *, tries: int, wait_seconds: float) -> T:
    """The request's result; what is transient is tried again, after the pause the server asks for and a random one.

    The random ones grow from ``wait_seconds``. An error says whether the request had been tried before.
    """
    for attempt in Retrying(
        retry=retry_if_exception(_is_transient),
        stop=stop_after_attempt(tries),
        wait=wait_combine(_asked_pause, wait_random_exponential(multiplier=wait_seconds, max=LONGEST_SECONDS)),
        reraise=True,
    ):
        with attempt:
            try:
                return request()
            except LakehouseError as error:
                error.repeated = attempt.retry_state.attempt_number > 1
                raise
    raise AssertionError("unreachable")  # pragma: no cover - reraise=True leaves the loop by return or raise


def is_busy(error: BaseException) -> bool:
    """Whether a server, or a gateway before it, answered that it cannot answer now."""
    return isinstance(error, LakehouseError) and error.answered and _is_transient(error)


def _is_transient(error: BaseException) -> bool:
    return isinstance(error, MedallionError) and error.kind is Kind.TRANSIENT


def _asked_pause(state: RetryCallState) -> float:
    """The pause that the server asked for with the error that ended this try."""
    error = state.outcome.exception() if state.outcome else None
    return error.retry_after if isinstance(error, LakehouseError) else 0.0
