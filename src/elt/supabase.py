"""A Supabase project over HTTP: the official client, and its servers' errors as ours.

Shared by the hosted lakehouse and the hosted source; no other module makes a client. Every answer that is not a success
becomes one of ``elt.errors`` in one place, below the official client, where the status, the body and the headers are
still together: the client's own exceptions drop the status (PostgREST) or the code (Storage).

Requests go over HTTP/1.1 (httpcore's synchronous HTTP/2 is not safe between threads: supabase-py#1064), and the only
retries are ours: the client's own leave out writes and time-outs.
"""

import base64
import binascii
import json
import re
import socket
import ssl
from collections.abc import Callable, Container, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from functools import cache
from html.parser import HTMLParser
from typing import Any, TypeVar

import httpx
import orjson
from postgrest.exceptions import APIError
from pydantic import ValidationError
from storage3.exceptions import VectorBucketException
from storage3.utils import StorageException
from supabase import Client, create_client
from supabase.lib.client_options import SyncClientOptions

from elt.addresses import check_project
from elt.errors import (
    ConfigurationError,
    Denied,
    LakehouseError,
    Missing,
    Paused,
    QuotaExceeded,
    Redirected,
    Rejected,
    TooLarge,
    Unreachable,
)
from elt.patience import patiently
from elt.sqlstates import NOT_GRANTED, error_of

T = TypeVar("T")

TRIES = 7
"""Tries of one request when the server does not answer; every one of them can be repeated without harm."""

IN_FLIGHT = 4
"""Requests at a time, unless set otherwise: gentle to the smallest hosted project."""

RETRY_AFTER_SECONDS = 60
"""The longest pause that a server may ask for."""

CONNECT_SECONDS = 10
ANSWER_SECONDS = 75
"""The hosted API ends a request itself after 60 s; longer silence is the network's. Source: Supabase, "Timeouts"."""

RESTORE = "open https://supabase.com/dashboard, choose the project and press “Restore project”, then run again"
LIFT = (
    "open https://supabase.com/dashboard, choose the organization of {url} ({host}), Usage and Billing: upgrade its "
    "plan, raise the spend cap, pay what is overdue, or, if it is traffic that was used up, wait for the next billing "
    "cycle. It may take a day until it answers again; then run the same command again: it goes on from there"
)
EXPOSE = "in the dashboard: Project Settings → Data API → Exposed schemas: add "
NOT_EXPOSED = "PGRST106"
"""The code of a schema that the API does not show, whether it exists or not."""

INIT = "run: medallion init; it says what to paste and what to click"
OPEN_ROLES = ("anon", "authenticated")
"""The roles of keys and tokens that anybody may have."""

SECRET = "in the dashboard: Project Settings → API Keys → Secret keys (or the legacy service_role key)"  # noqa: S105


class Project:
    """One project: the official client (``client``), and ``ask``, through which every request to it goes.

    ``url_setting`` and ``key_setting`` are the variables to name when something is wrong with them. The key is in the
    client's headers and nowhere else, and goes to ``url`` and nowhere else; by plain ``http://`` to this machine and
    its own network only, unless ``allow_http``.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        url_setting: str = "LAKEHOUSE_URL",
        key_setting: str = "LAKEHOUSE_KEY",
        in_flight: int = IN_FLIGHT,
        wait_seconds: float = 1.0,
        allow_http: bool = False,
    ) -> None:
        check_address(url, key, url_setting, key_setting, allow_http=allow_http)
        self.url = url.rstrip("/")
        self.role = role_of(key)
        self.url_setting = url_setting
        self.key_setting = key_setting
        self.in_flight = in_flight
        self._wait_seconds = wait_seconds
        self.http = _Http(
            self.url,
            http2=False,
            verify=_certificates(),
            # What goes unencrypted goes there directly: a proxy would read the key.
            trust_env=allow_http or self.url.lower().startswith("https"),
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS, pool=None),
            limits=httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight),
        )
        options = SyncClientOptions(
            httpx_client=self.http, postgrest_client_retry=False, auto_refresh_token=False, persist_session=False
        )
        self.client: Client = create_client(self.url, key, options)
        self.postgrest, self.storage = self.client.postgrest, self.client.storage  # made here, before any thread
        # A secret key is no JWT: a request of our own sends it in `apikey` only. Source: Supabase, "API keys".
        self.headers = {"apikey": key} | ({"Authorization": f"Bearer {key}"} if is_jwt(key) else {})

    @property
    def host(self) -> str:
        """The host's name, for people."""
        return host_of(self.url)

    @property
    def sql_editor(self) -> str:
        """Where SQL is pasted."""
        reference, _, domain = self.host.partition(".")
        if domain == "supabase.co":
            return f"https://supabase.com/dashboard/project/{reference}/sql/new"
        return f"the SQL Editor of {self.host}"

    def ask(self, doing: str, request: Callable[[], T], *, tries: int = TRIES) -> T:
        """The request's result; what is transient is tried again.

        Errors say what we were ``doing`` and name the setting to look at.
        """

        def named() -> T:
            try:
                return request()
            except LakehouseError as error:
                raise self._named(error, doing) from error.__cause__
            except FOREIGN as error:
                raise self._named(unanswered(error), doing) from error

        return patiently(named, tries=tries, wait_seconds=self._wait_seconds)

    def patiently(self, request: Callable[[], T]) -> T:
        """The result of a request whose tries differ; what is transient is tried again."""
        return patiently(request, tries=TRIES, wait_seconds=self._wait_seconds)

    def call(self, function: str, arguments: dict[str, object], *, tries: int = TRIES) -> Any:  # noqa: ANN401 - JSON
        """The result of an SQL function (``schema.name``), called in one transaction.

        The official client makes the request; the body is written by orjson, because the client's own encoder refuses
        NaN, ``Decimal`` and numpy's numbers, which become null, exact text and numbers here.
        """
        schema, name = function.split(".")
        request = self.postgrest.schema(schema).rpc(name, {}).request
        body = orjson.dumps(arguments, default=_exact, option=orjson.OPT_SERIALIZE_NUMPY)
        headers = {**request.headers, "Content-Type": "application/json"}

        def answered() -> Any:  # noqa: ANN401 - JSON
            answer = self.http.post(str(request.path), content=body, headers=headers)
            return orjson.loads(answer.content) if answer.content else None

        return self.ask(f"calling {function}", answered, tries=tries)

    def rows(self, doing: str, query: Any, most_bytes: int | None = None) -> list[dict[str, Any]]:  # noqa: ANN401
        """The rows of a read that the official client has built, parsed by orjson.

        An answer of more than ``most_bytes`` is not read to its end: ``TooLarge``, as if the server had said so.
        """
        request = query.request

        def answered() -> list[dict[str, Any]]:
            path, asked = str(request.path), {"params": request.params, "headers": request.headers}
            content = bytearray()
            with self.http.stream(request.http_method, path, **asked) as answer:
                for chunk in answer.iter_bytes():
                    content += chunk
                    if most_bytes is not None and len(content) > most_bytes:
                        raise TooLarge(f"the answer has more than {most_bytes:,} bytes")
            found: list[dict[str, Any]] = orjson.loads(content)
            return found

        return self.ask(doing, answered)

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    def __enter__(self) -> "Project":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _named(self, error: LakehouseError, doing: str) -> LakehouseError:
        """The same error with what we were doing, and the project's settings in what to do next."""
        named = type(error)(f"{doing}: {error.what}", kept=error.kept, next_step=self._next_step(error))
        named.retry_after, named.detail, named.code = error.retry_after, error.detail, error.code
        named.answered = error.answered
        return named

    def _next_step(self, error: LakehouseError) -> str:
        """What helps depends on whose project it is, and on the role of the key."""
        if error.code == NOT_GRANTED and self.role in OPEN_ROLES:
            return f"use a secret key in {self.key_setting}: {SECRET}"
        if error.code in (NOT_GRANTED, NOT_EXPOSED) and self.url_setting == "LAKEHOUSE_URL":
            return INIT
        if error.code == NOT_EXPOSED:
            return f"{EXPOSE}public"
        return error.next_step.format(url=self.url_setting, key=self.key_setting, host=self.host)


class _Http(httpx.Client):
    """An httpx client that raises ``LakehouseError`` for every answer that is not a success, and for none at all.

    Every request carries the key, so none goes to another place than ``home``, whoever asks for it or redirects to it.
    """

    def __init__(self, home: str, **options: Any) -> None:  # noqa: ANN401
        super().__init__(**options)
        self._home = _origin(httpx.URL(home))

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:  # noqa: ANN401
        if _origin(request.url) != self._home:
            raise _elsewhere(request.url)
        try:
            response = super().send(request, **{**options, "follow_redirects": False})
        except httpx.TransportError as error:
            raise unanswered(error) from error
        if response.is_success:
            return response
        response.read()
        if response.next_request is not None:
            raise _elsewhere(response.next_request.url, response.status_code)
        refusal = refused(response)
        refusal.answered = True
        refusal.retry_after = retry_after(response.headers.get("retry-after", ""), datetime.now(UTC))
        raise refusal


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _elsewhere(url: httpx.URL, status: int | None = None) -> Redirected:
    """The error for a request that the server would have elsewhere. Of the address only scheme and host are shown."""
    how = f" (status {status})" if status else ""
    return Redirected(
        f"the server redirects to {url.scheme}://{url.netloc.decode()}{how}; the key was not sent there",
        next_step="set {url} to the address that answers itself, if this is your project's (https:// instead of "
        "http://, another name); if it is not, look what on the way answers for {host}: a log-in page, a proxy",
    )


def retry_after(asked: str, now: datetime) -> float:
    """The seconds from ``now`` for which a server asks to be left alone, by seconds or a date; 0 if by neither.

    Source: RFC 9110, "Retry-After".
    """
    try:
        seconds = int(asked) if asked.isdecimal() else (parsedate_to_datetime(asked) - now).total_seconds()
    except (TypeError, ValueError):
        return 0.0
    return float(min(max(seconds, 0), RETRY_AFTER_SECONDS))


@cache
def _certificates() -> ssl.SSLContext:
    """The certificates to trust: 50 ms of reading, done once for both projects."""
    return httpx.create_ssl_context()


FOREIGN = (
    *(httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict),
    *(APIError, StorageException, VectorBucketException, ValidationError, json.JSONDecodeError),
)
"""What httpx and the official client raise for an answer that is none: no connection, no JSON, not the expected JSON.

A success that is no JSON is a page of something on the way: a log-in page, a proxy's "upstream connect error".
"""


def unanswered(error: Exception) -> LakehouseError:
    """The error for a request without an answer that could be read."""
    words = str(error) or type(error).__name__
    if not isinstance(error, httpx.TransportError):
        return Unreachable(
            f"the answer is not one of a Supabase project: {_short(words)}",
            next_step="look what answers for {host} on the way (a log-in page, a proxy), then run the same command",
        )
    if _is_resolution(error):
        return Unreachable(
            f"the host name cannot be resolved: {words}. A hosted project that was paused loses its host name",
            next_step=f"check {{url}} ({{host}}) and this machine's network; if the project is paused: {RESTORE}",
        )
    if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        return LakehouseError(f"the request could not be sent: {words}", next_step="check {url} and {key}")
    return Unreachable(
        f"no answer from the server: {words}",
        next_step="check {url} ({host}) and the network, then run the same command again: it goes on from there",
    )


def _is_resolution(error: BaseException | None) -> bool:
    """Whether a failed name resolution is among the causes."""
    while error is not None:
        if isinstance(error, socket.gaierror):
            return True
        error = error.__cause__ or error.__context__
    return False


def refused(response: httpx.Response) -> LakehouseError:
    """The error for an answer that is not a success: by the code in it, and only without one by its status.

    PostgREST answers ``{code, message, details, hint}``, Storage ``{statusCode, error, message}`` mostly with
    HTTP 400, a gateway in front of them HTML or ``{message}``.
    """
    document = _document(response)
    error = _error_of(document, response)
    error.code = _code(document, response)
    if not _is_postgrests(document):
        error.detail = _short(str(document.get("details") or ""))
    return error


def _error_of(document: dict[str, Any], response: httpx.Response) -> LakehouseError:
    """The same without its ``detail`` and ``code``."""
    # PostgREST's own details say what it looked for; PostgreSQL's are its DETAIL, often a whole row.
    names = ("message", "msg", *(["details"] if _is_postgrests(document) else []), "hint")
    words = " ".join(str(document[name]) for name in names if document.get(name) not in (None, ""))
    words = _short(words or ("" if "details" in document else response.text)) or response.reason_phrase
    status = _status(document, response)
    if status == 402:
        return _restricted(words)
    code = _code(document, response)
    if re.fullmatch(r"(?!PGRST)[0-9A-Z]{5}", code):
        return error_of(code, words)
    if code.startswith("PGRST"):
        return _of_postgrest(code, words)
    if status == 540:
        return Paused("the project is paused", next_step=RESTORE)
    return _of_status(status, str(document.get("error", "")), words)


def _is_postgrests(document: dict[str, Any]) -> bool:
    """Whether it is an error of PostgREST's own, not one of the database that it passes on."""
    return str(document.get("code", "")).startswith("PGRST")


def _restricted(words: str) -> QuotaExceeded:
    """The error of a project whose services are restricted. Source: Supabase, "HTTP status codes", "402"."""
    return QuotaExceeded(
        f"the project's organization has used up a quota, or owes a payment: {words} (status 402)",
        kept="what was written so far; until that is lifted, every request to every project of the organization is "
        "answered so, deletes in Storage too: nothing can be removed from here to make room",
        next_step=LIFT,
    )


def _of_postgrest(code: str, words: str) -> LakehouseError:
    """PostgREST's own codes. Source: its documentation, "Errors"."""
    if code in ("PGRST000", "PGRST001", "PGRST002", "PGRST003"):
        return Unreachable(
            f"the API does not reach its database: {words} ({code})",
            next_step=f"look at the project's health in the dashboard; if it is paused: {RESTORE}",
        )
    if code == NOT_EXPOSED:
        return Missing(f"the schema is not exposed by the API: {words} ({code})")
    if code in ("PGRST202", "PGRST204", "PGRST205", "PGRST200"):
        return Missing(
            f"{words} ({code})",
            next_step="the API may not know new SQL yet; paste into the SQL Editor: notify pgrst, 'reload schema'; "
            "and if it stays, run: medallion init",
        )
    if code.startswith("PGRST30"):
        return Denied(f"the key is not accepted: {words} ({code})", next_step=f"check {{key}}: {SECRET}")
    return LakehouseError(f"{words} ({code})")


def _of_status(status: int, name: str, words: str) -> LakehouseError:
    """Storage's and the gateway's errors. Source: Supabase, "Storage: Error codes" and "HTTP status codes"."""
    text = f"{words} (status {status})"
    if status == 409 or name in ("Duplicate", "KeyAlreadyExists", "ResourceAlreadyExists"):
        return Rejected(text)
    if status in (413, 414):
        return TooLarge(text, next_step="the server's limit for one request or object is smaller than what was sent")
    if status in (404, 410):
        return Missing(text, next_step="run: medallion init --check")
    if status in (401, 403) or name in ("Unauthorized", "InvalidJWT"):
        return Denied(text, next_step=f"check {{key}}: {SECRET}")
    if status in (408, 423, 425, 429) or (status >= 500 and status != 501):
        return Unreachable(
            text, next_step="wait a little, then run the same command again: it goes on from where it stopped"
        )
    return Rejected(text) if status < 500 else LakehouseError(text)


def _status(document: dict[str, Any], response: httpx.Response) -> int:
    """Storage puts the real status, as text, in the body of an HTTP 400."""
    inner = str(document.get("statusCode", ""))
    return int(inner) if inner.isdigit() else response.status_code


def _document(response: httpx.Response) -> dict[str, Any]:
    try:
        document = json.loads(response.content)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _code(document: dict[str, Any], response: httpx.Response) -> str:
    return str(document.get("code") or _proxy_code(response) or "")


def _proxy_code(response: httpx.Response) -> str | None:
    """PostgREST's code from ``Proxy-Status: PostgREST; error=CODE``, for answers whose body does not have it."""
    found = re.search(r"error=\"?(\w+)", response.headers.get("proxy-status", ""))
    return found[1] if found else None


def _short(words: str) -> str:
    """One line of at most 300 characters: of a page what is to be read, without its tags, styles and scripts."""
    if re.search(r"^\s*<|<(html|head|body)\b", words, re.IGNORECASE):
        page = _Page()
        page.feed(words)
        page.close()
        words = " ".join(page.read)
    line = " ".join(words.split())
    return line if len(line) <= 300 else f"{line[:299]}…"


class _Page(HTMLParser):
    """What there is to read on an HTML page, piece by piece (``read``)."""

    _HIDDEN = ("script", "style", "svg", "template")

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []
        self._hidden = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if not self._hidden and tag in self._HIDDEN:
            self._hidden = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._hidden:
            self._hidden = ""

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.read.append(data)


def _exact(value: object) -> object:
    """What JSON has no notation for: decimals as their exact text, pandas' missing values as null."""
    if isinstance(value, Decimal):
        return str(value)
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    raise TypeError(f"{type(value).__name__} has no place in a request")


def host_of(url: str) -> str:
    """The host in a URL, for people; never a user or a password."""
    return httpx.URL(url).netloc.decode()


def is_jwt(key: str) -> bool:
    """Whether the key is of the older kind, a JSON Web Token."""
    return key.count(".") == 2


def role_of(key: str) -> str:
    """The role that a key says it has: ``service_role``, ``anon``, ``authenticated``…; empty if it does not say."""
    if key.startswith("sb_secret_"):
        return "service_role"
    if key.startswith("sb_publishable_"):
        return "anon"
    try:
        payload = key.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(claims["role"])
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return ""


def check_address(url: str, key: str, url_setting: str, key_setting: str, *, allow_http: bool = False) -> None:
    """Nothing, if the two could be a project's; a ``ConfigurationError`` that names the setting if not."""
    check_project(url, url_setting, allow_http=allow_http)
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigurationError(
            f"{key_setting} holds characters that no key has (a space, a line end, an accent?)",
            kept="nothing was read or written",
            next_step=f"copy {key_setting} again from the dashboard: Project Settings → API Keys",
        )


def quoted(column: str) -> str:
    """A column's name as PostgREST's query parameters take it."""
    if re.fullmatch(r"\w+", column, re.ASCII):
        return column
    escaped = column.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def as_text(columns: Sequence[str], *, but: Container[str] = ()) -> str:
    """A ``select`` that asks for the columns as PostgreSQL prints them, so that no number passes through a float.

    ``but``: those that are to come as JSON has them.
    """
    return ",".join(quoted(column) if column in but else f"{quoted(column)}::text" for column in columns)
