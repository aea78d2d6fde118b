"""Faults on demand: what a test, or a person with ``curl``, can make the stand-in do wrong, and what caps it applies.

``POST /_faults`` with the JSON of a ``Faults`` sets them all at once; ``{}`` is the default state: no fault, the caps
of a new hosted project. Nothing here is random without a seed.
"""

import random
import threading
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from tests.gateway.answers import JSON_TYPE, Answer, PostgrestError, as_json

MIB = 2**20


class Rule(BaseModel):
    """One thing that goes wrong for some requests: those of ``methods`` whose path begins with ``path``.

    Of these, the ``on``-th ones (counted from 1 since the rule was set), or a random ``share``, or all; at most
    ``times``. ``status`` answers with it (``code``: as PostgREST's error; ``location``: sending the client on to that
    address, followed by the path asked for); ``expired`` takes the key for a token whose time is over; ``drop_before``
    and ``drop_after`` close the connection before or after the work is done; ``truncate_answer`` closes it in the
    middle of the answer; ``truncate_upload`` in the middle of the request;
    ``slow`` waits ``seconds``.
    ``page``: whose HTML a ``status`` is answered with.
    """

    model_config = ConfigDict(extra="forbid")

    kind: Literal["status", "expired", "drop_before", "drop_after", "truncate_answer", "truncate_upload", "slow"]
    methods: tuple[str, ...] = ()
    path: str = "/"
    on: frozenset[int] = frozenset()
    share: float | None = None
    times: int | None = None
    seed: int = 0
    status: int = 503
    code: str | None = None
    page: Literal["nginx", "cloudflare", "kong"] = "nginx"
    location: str | None = None
    retry_after: int | None = None
    seconds: float = 0.0

    _seen: int = PrivateAttr(0)
    _struck: int = PrivateAttr(0)
    _random: random.Random = PrivateAttr(default_factory=random.Random)

    def model_post_init(self, _context: object) -> None:
        """Start the rule's own random numbers."""
        self._random = random.Random(self.seed)

    def strikes(self, method: str, path: str) -> bool:
        """Whether this request is one of those; counts it."""
        if (self.methods and method not in self.methods) or not path.startswith(self.path):
            return False
        self._seen += 1
        if self.times is not None and self._struck >= self.times:
            return False
        if self.on:
            struck = self._seen in self.on
        elif self.share is not None:
            struck = self._random.random() < self.share
        else:
            struck = True
        self._struck += struck
        return struck


class Faults(BaseModel):
    """Every switch. Sizes in bytes, times in seconds; None: no such limit.

    ``max_rows``: PostgREST's db-max-rows; ``list_rows``: no list of objects is longer, whatever limit was asked for;
    ``timeout_above_rows``: a body of more rows ends with 57014 and writes nothing; ``statement_timeout``: for every
    role, instead of the roles' own; ``max_body``: a larger request is refused with 413 by the gateway; ``max_url``: a
    longer path and query is refused with 414; ``max_object``: Storage's file size limit; ``paused``: the project is
    paused; ``restricted``: the organization's violations, for which every request is refused with 402;
    """

    model_config = ConfigDict(extra="forbid")

    max_rows: int | None = 1000
    list_rows: int | None = None
    timeout_above_rows: int | None = None
    statement_timeout: float | None = None
    max_body: int | None = None
    max_url: int | None = 8 * 1024
    max_object: int | None = 50 * MIB
    paused: bool = False
    restricted: str | None = None
    rules: list[Rule] = Field(default_factory=list)

    _lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    def striking(self, method: str, path: str) -> list[Rule]:
        """The rules that strike this request."""
        with self._lock:
            return [rule for rule in self.rules if rule.strikes(method, path)]


def failure(rule: Rule, path: str = "/") -> Answer:
    """The response of a rule of the kind ``status`` to ``path``: HTML, as the proxies in front of a project send it.

    With ``code`` it is PostgREST's JSON instead; 429 is the gateway's JSON.
    """
    headers = {"Retry-After": str(rule.retry_after)} if rule.retry_after is not None else {}
    if rule.location is not None:
        headers["Location"] = f"{rule.location}{path}"
    if rule.code is not None:
        return PostgrestError(
            rule.status, rule.code, _WORDS.get(rule.code, "a fault on demand"), headers=headers
        ).answer()
    if rule.status == 429:
        return as_json(429, {"message": "API rate limit exceeded"}, headers)
    return html(rule.status, headers, rule.page)


def html(status: int, headers: dict[str, str] | None = None, page: str = "nginx") -> Answer:
    """An error page of a proxy: neither JSON nor from the project's servers."""
    body = _PAGES[page].format(status=status, title=_TITLES.get(status, "Error")).replace("\n", "\r\n")
    return Answer(status, {"Content-Type": "text/html; charset=UTF-8", **(headers or {})}, body.encode())


def too_long() -> Answer:
    """A URL that the proxies do not take, as a list of some hundred keys in a filter makes it.

    Source: https://github.com/supabase/postgrest-py/issues/365 (status and words). The limit is not documented: 8 KiB
    is the size of nginx's ``large_client_header_buffers``; https://github.com/supabase/supabase-js/issues/678 met it.
    """
    return Answer(414, {"Content-Type": "text/plain"}, b"URI too long\n")


def paused() -> Answer:
    """A paused project. Source: https://supabase.com/docs/guides/platform/http-status-codes (540 project paused).

    The page gives the status and no body: this one is made up. The host's name may also stop resolving; a test can use
    a name under ``.invalid`` for that.
    """
    return Answer(540, {"Content-Type": JSON_TYPE}, b'{"message":"Project paused"}')


def restricted(violations: str) -> Answer:
    """A project of an organization that is over a quota or owes a payment, whatever is asked of it.

    Source: https://supabase.com/docs/guides/platform/http-status-codes (402 service restriction) for the codes, such as
    ``exceed_storage_size_quota`` and ``overdue_payment``; the words are those that people report.
    """
    words = f"Service for this project is restricted due to the following violations: {violations}. "
    words += "The project owner must upgrade their plan or remove spend caps to restore service."
    return as_json(402, {"message": words})


STATEMENT_TIMEOUT = PostgrestError(500, "57014", "canceling statement due to statement timeout")

_TITLES = {
    413: "Request Entity Too Large",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Temporarily Unavailable",
    504: "Gateway Time-out",
    520: "Web server is returning an unknown error",
    522: "Connection timed out",
}
_PAGES = {
    "nginx": """\
<html>
<head><title>{status} {title}</title></head>
<body>
<center><h1>{status} {title}</h1></center>
<hr><center>cloudflare</center>
</body>
</html>
""",
    # The elements that Cloudflare's own pages are made of; see https://github.com/supabase/supabase/issues/25820
    "cloudflare": """\
<!DOCTYPE html>
<!--[if lt IE 7]> <html class="no-js ie6 oldie" lang="en-US"> <![endif]-->
<!--[if gt IE 8]><!--> <html class="no-js" lang="en-US"> <!--<![endif]-->
<head>
<title>project.supabase.co | {status}: {title}</title>
<meta charset="UTF-8" />
<link rel="stylesheet" id="cf_styles-css" href="/cdn-cgi/styles/main.css" />
<style>body{{margin:0;padding:0}} @media (max-width: 720px) {{ .cf-col > p {{ display: none }} }}</style>
<!--[if gte IE 10]><!-->
<script>
  if (!navigator.cookieEnabled && 1 < 2) {{
    document.getElementById('cookie-alert').innerHTML = '<b>cookies</b>';
  }}
</script>
<!--<![endif]-->
</head>
<body>
<div id="cf-wrapper"><div id="cf-error-details" class="p-0">
  <h1><span>{title}</span> <span class="code-label">Error code {status}</span></h1>
  <div>Visit <a href="https://www.cloudflare.com/5xx-error-landing?utm_source=errorcode_{status}">cloudflare.com</a>
  for more information.</div>
  <svg><title>Browser</title></svg><p>What happened? The web server reported an error &mdash; try again later.</p>
</div></div>
<script>window._cf_translation = {{}};</script>
</body>
</html>
""",
    # Source: https://github.com/Kong/kong/blob/master/kong/templates (the error template for text/html)
    "kong": """\
<!doctype html>
<html>
  <head>
    <meta charset="utf-8">
    <title>Error</title>
  </head>
  <body>
    <h1>Error</h1>
    <p>An invalid response was received from the upstream server.</p>
    <p>request_id: 0123456789abcdef0123456789abcdef</p>
  </body>
</html>
""",
}
_WORDS = {
    "57014": "canceling statement due to statement timeout",
    "PGRST000": "Database connection error. Retrying the connection.",
    "PGRST001": "Database client error. Retrying the connection.",
    "PGRST002": "Could not query the database for the schema cache. Retrying.",
    "PGRST003": "Timed out acquiring connection from connection pool.",
}
