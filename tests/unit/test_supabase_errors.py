"""Every way in which a hosted project can fail has one of our errors, with the server's words and without a key."""

import json
import time
import traceback
from datetime import UTC, datetime

import httpx
import psycopg
import pytest

from elt.errors import (
    ConfigurationError,
    Denied,
    Full,
    LakehouseError,
    Missing,
    Paused,
    QuotaExceeded,
    Redirected,
    Rejected,
    Timeout,
    TooLarge,
    Unreachable,
)
from elt.postgres import translate
from elt.sqlstates import error_of
from elt.supabase import RETRY_AFTER_SECONDS, Project, refused, retry_after, role_of, unanswered
from tests.gateway.faults import html, restricted

KEY = "sb_secret_do-not-show-me"


def answer(status: int, body: object, headers: dict[str, str] | None = None) -> httpx.Response:
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return httpx.Response(status, content=content, headers=headers)


def postgrest(status: int, code: str) -> httpx.Response:
    return answer(status, {"code": code, "message": "words", "details": "more", "hint": None})


def storage(status: str, error: str, message: str = "words") -> httpx.Response:
    return answer(400, {"statusCode": status, "error": error, "message": message})


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (postgrest(500, "57014"), Timeout),  # the status says nothing: 57014 and 21000 are both HTTP 500
        (postgrest(500, "21000"), Rejected),
        (postgrest(409, "23503"), Rejected),
        (postgrest(409, "23505"), Rejected),
        (postgrest(400, "23502"), Rejected),
        (postgrest(400, "22P02"), Rejected),
        (postgrest(403, "42501"), Denied),
        (postgrest(401, "42501"), Denied),
        (postgrest(404, "42883"), Missing),
        (postgrest(400, "42703"), Missing),
        (postgrest(503, "57P01"), Unreachable),
        (postgrest(503, "53300"), Unreachable),
        (postgrest(500, "53100"), Full),
        (postgrest(405, "25006"), Full),
        (postgrest(500, "40P01"), Unreachable),
        (postgrest(400, "40001"), Unreachable),
        (postgrest(500, "XX000"), Unreachable),
        (postgrest(503, "PGRST000"), Unreachable),
        (postgrest(503, "PGRST001"), Unreachable),
        (postgrest(503, "PGRST002"), Unreachable),
        (postgrest(504, "PGRST003"), Unreachable),
        (postgrest(406, "PGRST106"), Missing),
        (postgrest(404, "PGRST202"), Missing),
        (postgrest(400, "PGRST204"), Missing),
        (postgrest(404, "PGRST205"), Missing),
        (postgrest(401, "PGRST301"), Denied),
        (postgrest(401, "PGRST303"), Denied),
        (postgrest(400, "PGRST102"), LakehouseError),
        (answer(503, "", {"Proxy-Status": "PostgREST; error=PGRST002"}), Unreachable),
        (answer(406, "", {"Proxy-Status": "PostgREST; error=PGRST106"}), Missing),
        (storage("409", "Duplicate"), Rejected),
        (storage("404", "not_found"), Missing),
        (storage("404", "Bucket not found"), Missing),
        (storage("413", "Payload too large"), TooLarge),
        (storage("403", "Unauthorized"), Denied),
        (storage("400", "InvalidKey"), Rejected),
        (storage("544", "DatabaseTimeout"), Unreachable),
        (answer(429, {"message": "API rate limit exceeded"}), Unreachable),
        (answer(401, {"message": "Invalid API key", "hint": "Double check it"}), Denied),
        (answer(402, {"message": "exceed_egress_quota"}), QuotaExceeded),
        (answer(402, {"code": "42501", "message": "overdue_payment"}), QuotaExceeded),
        (answer(402, "<html><h1>402 Payment Required</h1></html>"), QuotaExceeded),
        (storage("402", "PaymentRequired", "exceed_storage_size_quota"), QuotaExceeded),
        (answer(413, "<html><h1>413 Request Entity Too Large</h1></html>"), TooLarge),
        (answer(414, "<html><h1>414 Request-URI Too Large</h1></html>"), TooLarge),
        *((answer(status, "<html><h1>Bad</h1></html>"), Unreachable) for status in (500, 502, 503, 504, 520, 522, 525)),
        (answer(540, {"message": "Project paused"}), Paused),
        (answer(404, {"message": "no Route matched with those values"}), Missing),
        (answer(501, "not implemented"), LakehouseError),
    ],
)
def test_an_answer_becomes_the_error_of_its_code(response: httpx.Response, kind: type[LakehouseError]) -> None:
    assert type(refused(response)) is kind


def test_an_error_holds_the_servers_words_without_the_page_around_them() -> None:
    page = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body><center>cloudflare</center></body></html>"
    assert refused(answer(502, page)).what == "502 Bad Gateway cloudflare (status 502)"
    assert refused(postgrest(404, "PGRST205")).what == "words more (PGRST205)"


def test_what_postgresql_says_of_the_row_is_no_part_of_the_message() -> None:
    for status, code in ((409, "23503"), (400, "23514"), (500, "XX000"), (400, "ABCDE")):
        error = refused(postgrest(status, code))
        assert (error.what.partition(" (")[0], error.detail) == ("words", "more")


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (
            "cloudflare",
            "project.supabase.co | 522: Connection timed out Connection timed out Error code 522 Visit cloudflare.com "
            "for more information. What happened? The web server reported an error — try again later. (status 522)",
        ),
        (
            "kong",
            "Error Error An invalid response was received from the upstream server. "
            "request_id: 0123456789abcdef0123456789abcdef (status 522)",
        ),
    ],
)
def test_a_page_with_styles_and_scripts_is_one_readable_line(page: str, words: str) -> None:
    body = html(522, page=page).body.decode()
    assert refused(answer(522, body)).what == words
    assert refused(answer(502, {"message": body})).what == words.replace("status 522", "status 502")


def test_a_page_that_is_cut_off_within_its_style_shows_nothing_of_it() -> None:
    page = html(502, page="cloudflare").body.decode()
    assert (
        refused(answer(502, page[: page.index("</style")])).what
        == "project.supabase.co | 502: Bad Gateway (status 502)"
    )


def test_a_servers_words_keep_what_only_looks_like_a_page() -> None:
    said = 'invalid input syntax for type numeric: "<b>", 1 < 2 > 0'
    assert refused(answer(400, {"message": said})).what == f"{said} (status 400)"


def test_long_words_are_cut() -> None:
    assert refused(answer(502, "x" * 1_000)).what == f"{'x' * 299}… (status 502)"


def test_a_restricted_organization_is_told_what_that_means_and_what_helps() -> None:
    error = refused(answer(402, restricted("exceed_storage_size_quota").body.decode()))
    assert "exceed_storage_size_quota" in error.what
    assert "every project of the organization" in error.kept
    assert "deletes in Storage too" in error.kept
    for help_ in ("dashboard", "Usage and Billing", "upgrade", "spend cap", "next billing cycle"):
        assert help_ in error.next_step


def transport_errors() -> list[type[httpx.TransportError]]:
    found: list[type[httpx.TransportError]] = []
    waiting = [httpx.TransportError]
    while waiting:
        kind = waiting.pop()
        found.append(kind)
        waiting.extend(kind.__subclasses__())
    return found


@pytest.mark.parametrize("kind", transport_errors())
def test_every_error_of_the_network_is_one_of_ours(kind: type[httpx.TransportError]) -> None:
    ours = unanswered(kind("words"))
    permanent = issubclass(kind, httpx.UnsupportedProtocol | httpx.LocalProtocolError)
    assert type(ours) is (LakehouseError if permanent else Unreachable)
    assert "words" in ours.what


def sqlstates() -> list[type[psycopg.Error]]:
    kinds = [kind for kind in vars(psycopg.errors).values() if isinstance(kind, type)]
    return [kind for kind in kinds if issubclass(kind, psycopg.Error) and kind.sqlstate]


def test_every_error_of_postgresql_is_the_same_by_both_ways() -> None:
    for kind in sqlstates():
        direct = translate(kind("words"), "doing")
        over_http = refused(postgrest(400, str(kind.sqlstate)))
        known = error_of(str(kind.sqlstate), "words")
        assert isinstance(direct, LakehouseError)
        assert known is None or type(direct) is type(over_http) is type(known)


@pytest.mark.parametrize(
    ("url", "key", "words"),
    [
        ("abc.supabase.co", KEY, "LAKEHOUSE_URL is not an http"),
        ("postgresql://u:p@h/db", KEY, "LAKEHOUSE_URL is not an http"),
        ("https://abc.supabase.co/rest/v1", KEY, "LAKEHOUSE_URL has a path"),
        ("https://", KEY, "LAKEHOUSE_URL is not an http"),
        ("https://[x", KEY, "LAKEHOUSE_URL is not an http"),
        ("https://u:do-not-show-me@abc.supabase.co", KEY, "LAKEHOUSE_URL holds an @"),
        ("https://u:do-not-show-me", KEY, "LAKEHOUSE_URL is not an http"),
        ("https://u:do-not/show-me@abc.supabase.co", KEY, "LAKEHOUSE_URL holds an @"),
        ("https://abc.supabase.co/?apikey=do-not-show-me", KEY, "LAKEHOUSE_URL has something after a"),
        ("https://abc.supabase.co", f"{KEY}\n", "LAKEHOUSE_KEY holds characters"),
        ("https://abc.supabase.co", f"“{KEY}”", "LAKEHOUSE_KEY holds characters"),
    ],
)
def test_what_cannot_be_a_project_is_refused_before_any_request(url: str, key: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        Project(url, key)
    assert "do-not-show-me" not in "".join(traceback.format_exception(caught.value))


def test_a_project_does_not_show_its_key() -> None:
    with Project("https://abc.supabase.co", KEY) as project:
        shown = [repr(project), str(project), repr(project.client), repr(project.storage), repr(project.http)]
        shown.append(repr(project.postgrest.headers.get("x-client-info")))
    assert not any("do-not-show-me" in text for text in shown)


def test_every_client_that_the_official_package_makes_sends_by_ours() -> None:
    with Project("https://abc.supabase.co", KEY) as project:
        client = project.client
        inner = [client.postgrest.session, client.storage.session, client.auth._http_client, client.functions._client]
        assert all(one is project.http for one in inner)
        assert not project.http.follow_redirects


@pytest.mark.parametrize(
    "location", ["https://u:do-not-show-me@other.example/x?y=do-not-show-me", "//other.example:443"]
)
def test_of_where_a_server_redirects_to_only_the_host_is_shown(location: str) -> None:
    asked: list[httpx.Request] = []

    def moved(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(301, headers={"Location": location})

    with Project("https://abc.supabase.co", KEY) as project:
        project.http._transport = httpx.MockTransport(moved)
        with pytest.raises(Redirected) as caught:
            project.ask("looking", lambda: project.http.get(f"{project.url}/x", headers=project.headers))
    assert caught.value.what == (
        "looking: the server redirects to https://other.example (status 301); the key was not sent there"
    )
    assert "do-not-show-me" not in caught.value.next_step
    assert len(asked) == 1


def test_an_answer_that_is_neither_success_nor_error_is_no_success() -> None:
    with Project("https://abc.supabase.co", KEY) as project:
        project.http._transport = httpx.MockTransport(lambda _: answer(304, ""))
        with pytest.raises(LakehouseError, match="Not Modified"):
            project.ask("looking", lambda: project.http.get(project.url))


def test_a_key_says_its_role() -> None:
    # The middle part is base64url of {"role":"service_role"} and {"role":"anon"}.
    assert role_of("x.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.y") == "service_role"
    assert role_of("x.eyJyb2xlIjoiYW5vbiJ9.y") == "anon"
    assert role_of("sb_secret_x") == "service_role"
    assert role_of("sb_publishable_x") == "anon"
    assert role_of("something else") == ""
    assert role_of("a.b.c") == ""


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ("7", 7),
        ("0", 0),
        ("Fri, 02 Jan 2026 12:00:30 GMT", 30),
        ("Fri, 02 Jan 2026 11:59:00 GMT", 0),
        ("3600", RETRY_AFTER_SECONDS),
        ("Sat, 03 Jan 2026 12:00:00 GMT", RETRY_AFTER_SECONDS),
        ("", 0),
        ("-1", 0),
        ("soon", 0),
        ("Fri, 02 Jan 2026 12:00:30 -0000", 0),  # a date without a zone, which no server should send
    ],
)
def test_a_server_asks_for_a_pause_by_seconds_or_by_a_date(asked: str, seconds: float) -> None:
    assert retry_after(asked, datetime(2026, 1, 2, 12, tzinfo=UTC)) == seconds


@pytest.mark.parametrize("status", [429, 503])
def test_the_next_try_comes_after_the_pause_that_the_server_asked_for(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    answers = iter([answer(status, "", {"Retry-After": "7"}), answer(status, ""), answer(200, "done")])
    with Project("https://abc.supabase.co", KEY, wait_seconds=0.5) as project:
        project.http._transport = httpx.MockTransport(lambda _: next(answers))
        assert project.ask("asking", lambda: project.http.get(project.url)).text == "done"
    asked, not_asked = pauses
    assert 7 <= asked <= 7.5
    assert not_asked <= 1
