"""No error of a library below reaches a person as itself: each is one of ours, and knows what one does about it."""

import inspect
from collections.abc import Iterator
from types import ModuleType

import httpx
import postgrest.exceptions
import psycopg
import psycopg.errors
import pytest
import storage3.exceptions

from elt import errors
from elt.errors import Denied, Kind, LakehouseError, MedallionError, Missing, Rejected, Timeout, Unreachable
from elt.postgres import translate
from elt.sqlstates import error_of
from elt.supabase import FOREIGN, unanswered

SQLSTATES = sorted(state for state in psycopg.errors._sqlcodes if len(state) == 5)


def exceptions_of(module: ModuleType) -> Iterator[type[Exception]]:
    """The exceptions that a library's module shows."""
    for _, found in inspect.getmembers(module, inspect.isclass):
        if issubclass(found, Exception) and found.__module__.split(".")[0] == module.__name__.split(".")[0]:
            yield found


LOWER = [error for module in (httpx, storage3.exceptions, postgrest.exceptions) for error in exceptions_of(module)]


@pytest.mark.parametrize("lower", LOWER, ids=lambda lower: f"{lower.__module__}.{lower.__name__}")
def test_an_error_of_the_http_libraries_is_caught(lower: type[Exception]) -> None:
    assert issubclass(lower, FOREIGN)


def test_there_are_such_errors() -> None:
    assert {httpx.ReadTimeout, httpx.DecodingError, httpx.InvalidURL} <= set(LOWER)
    assert {postgrest.exceptions.APIError, storage3.exceptions.StorageApiError} <= set(LOWER)


@pytest.mark.parametrize("lower", [httpx.ReadTimeout, httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError])
def test_no_answer_is_transient(lower: type[httpx.TransportError]) -> None:
    assert unanswered(lower("x")).kind is Kind.TRANSIENT


@pytest.mark.parametrize("state", SQLSTATES)
def test_an_sqlstate_is_one_of_our_errors_on_either_way(state: str) -> None:
    lower = psycopg.errors.lookup(state)("x")
    assert type(translate(lower, "doing")) is type(error_of(state, "x"))


def test_an_error_of_psycopg_without_an_sqlstate_is_ours_too() -> None:
    for lower in exceptions_of(psycopg):
        if issubclass(lower, psycopg.Error):
            assert isinstance(translate(lower("x"), "doing"), LakehouseError)


@pytest.mark.parametrize(
    ("state", "kind", "error"),
    [
        ("08006", Kind.TRANSIENT, Unreachable),
        ("40P01", Kind.TRANSIENT, Unreachable),
        ("55P03", Kind.TRANSIENT, Unreachable),
        ("57014", Kind.FATAL, Timeout),
        ("23505", Kind.DATA, Rejected),
        ("22003", Kind.DATA, Rejected),
        ("28P01", Kind.FATAL, Denied),
        ("3D000", Kind.FATAL, Missing),
        ("42P10", Kind.FATAL, LakehouseError),  # a slip of ours: never a bad row
        ("XX000", Kind.TRANSIENT, Unreachable),  # the server's own slip
    ],
)
def test_an_error_knows_what_one_does_about_it(state: str, kind: Kind, error: type[LakehouseError]) -> None:
    found = error_of(state, "x")
    assert (type(found), found.kind) == (error, kind)


def test_every_error_of_ours_is_in_the_tree_that_the_module_draws() -> None:
    drawn = errors.__doc__ or ""
    for _, error in inspect.getmembers(errors, inspect.isclass):
        if issubclass(error, MedallionError):
            assert f" {error.__name__} " in drawn or f"{error.__name__}\n" in drawn
            assert isinstance(error.kind, Kind)
