"""The ASGI application: the gateway's key check, the two servers behind it, faults, and a record of every request."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pydantic import ValidationError

from tests.gateway import postgrest
from tests.gateway.answers import Answer, GatewayError, PostgrestError, Refusal, StorageError, Unimplemented, as_json
from tests.gateway.database import Database
from tests.gateway.faults import STATEMENT_TIMEOUT, Faults, Rule, failure, html, paused, restricted, too_long
from tests.gateway.keys import Keys, caller
from tests.gateway.postgrest import Limits, Postgrest, RestRequest
from tests.gateway.storage import Storage, StorageRequest, takes_any_token

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

SECRET_HEADERS = frozenset(("apikey", "authorization", "x-signature", "cookie"))
EXPOSED = ("public", "silver", "gold", "controle")


@dataclass(frozen=True)
class Recorded:
    """One request as it came and what it got.

    ``rows``: rows in its JSON body; ``fault``: the rules that struck it; ``beside``: others under way when it came.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body_bytes: int
    rows: int | None
    status: int | None
    answered_rows: int | None
    fault: tuple[str, ...]
    beside: int


@dataclass
class App:
    """One project behind its gateway."""

    database: Database
    folder: Path
    schemas: Sequence[str] = EXPOSED
    keys: Keys = field(default_factory=Keys)
    faults: Faults = field(default_factory=Faults)
    recorded: list[Recorded] = field(default_factory=list)
    _under_way: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.legacy = {role: self.keys.token(role) for role in ("anon", "service_role")}
        self.rest = Postgrest(self.database, self.schemas)
        self.storage = Storage(self.database, self.folder)
        self.storage.install()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """One HTTP request."""
        method, path = str(scope["method"]), scope["raw_path"].decode()
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
        body = await _body(receive)
        if path.startswith("/_"):
            await _send(send, self.control(method, path, body))
            return
        query = scope["query_string"].decode()
        with self._counted() as beside:
            rules = self.faults.striking(method, path)
            for rule in rules:
                if rule.kind == "slow":
                    await asyncio.sleep(rule.seconds)
            kinds = {rule.kind for rule in rules}
            answer: Answer | None = None
            if not {"drop_before", "truncate_upload"} & kinds:
                answer = await asyncio.to_thread(self.respond, method, path, query, headers, body, rules)
            self._record(method, path, query, headers, body, answer, rules, beside)
            if answer is None or {"drop_after", "truncate_upload"} & kinds:
                await _drop(send, receive)
            elif "truncate_answer" in kinds:
                await _send(send, answer, of=len(answer.body) // 2)
                await _drop(send, receive, flush=True)
            else:
                await _send(send, answer)

    @contextmanager
    def _counted(self) -> Iterator[int]:
        """One request more under way; gives how many there were before."""
        self._under_way += 1
        try:
            yield self._under_way - 1
        finally:
            self._under_way -= 1

    def respond(
        self, method: str, path: str, query: str, headers: dict[str, str], body: bytes, rules: Sequence[Rule]
    ) -> Answer:
        """The response to one request, whatever happens on the way."""
        if self.faults.paused:
            return paused()
        if self.faults.restricted is not None:
            return restricted(self.faults.restricted)
        for rule in rules:
            if rule.kind == "status":
                return failure(rule, path)
        if self.faults.max_url is not None and len(path) + len(query) > self.faults.max_url:
            return too_long()
        if self.faults.max_body is not None and len(body) > self.faults.max_body:
            return html(413)
        if any(rule.kind == "expired" for rule in rules):
            token = self.keys.token("service_role", seconds=-3600)
            headers = {**headers, "apikey": self.legacy["anon"], "authorization": f"Bearer {token}"}
        try:
            return self._project(method, path, query, headers, body)
        except Refusal as refusal:
            return refusal.answer()

    def _project(self, method: str, path: str, query: str, headers: dict[str, str], body: bytes) -> Answer:
        if path.startswith("/rest/v1"):
            above = self.faults.timeout_above_rows
            who = caller(self.keys, self.legacy, headers)
            postgrest.refuse_more_rows_than_one_request_carries(body)
            if above is not None and (postgrest.rows_of(body) or 0) > above:
                raise STATEMENT_TIMEOUT
            limits = Limits(self.faults.max_rows)
            if self.faults.statement_timeout is not None:
                limits = Limits(
                    self.faults.max_rows, dict.fromkeys(limits.statement_timeout, self.faults.statement_timeout)
                )
            request = RestRequest(method, unquote(path.removeprefix("/rest/v1")), query, headers, body, who)
            return self.rest.answer(request, limits)
        if path.startswith("/storage/v1/"):
            try:
                who = caller(self.keys, self.legacy, headers)
            except (GatewayError, PostgrestError) as error:
                if takes_any_token(method, path.removeprefix("/storage/v1")):
                    raise StorageError(404, "Bucket not found", "Bucket not found") from error
                if isinstance(error, GatewayError):
                    raise
                # Source: https://github.com/supabase/storage/blob/master/src/http/plugins/jwt.ts (AccessDenied)
                words = {"JWT expired": '"exp" claim timestamp check failed'}.get(error.message, "Invalid Compact JWS")
                raise StorageError(403, "Unauthorized", words) from error
            url = f"http://{headers.get('host', 'localhost')}/storage/v1"
            request_ = StorageRequest(method, path.removeprefix("/storage/v1"), headers, body, who, url)
            return self.storage.answer(request_, self.faults)
        for prefix, feature in _OTHER_SERVICES.items():
            if path.startswith(prefix):
                raise Unimplemented(feature)
        raise GatewayError(404, "no Route matched with those values")

    def control(self, method: str, path: str, body: bytes) -> Answer:
        """The stand-in's own pages: ``POST /_faults``, ``GET /_faults``, ``GET /_requests``, ``DELETE /_requests``."""
        if path == "/_faults" and method == "POST":
            try:
                self.faults = Faults.model_validate_json(body or b"{}")
            except ValidationError as error:
                return as_json(422, {"message": str(error)})
        elif path == "/_requests" and method == "GET":
            return as_json(200, [asdict(each) for each in self.recorded])
        elif path == "/_requests" and method == "DELETE":
            self.recorded.clear()
        elif path != "/_faults":
            return as_json(404, {"message": "POST or GET /_faults, GET or DELETE /_requests"})
        return Answer(200, {"Content-Type": "application/json"}, self.faults.model_dump_json().encode())

    def _record(
        self,
        method: str,
        path: str,
        query: str,
        headers: dict[str, str],
        body: bytes,
        answer: Answer | None,
        rules: Sequence[Rule],
        beside: int,
    ) -> None:
        shown = {name: value for name, value in headers.items() if name not in SECRET_HEADERS}
        rows = postgrest.rows_of(body) if path.startswith("/rest/v1") and body else None
        recorded = Recorded(
            method,
            path,
            query,
            shown,
            len(body),
            rows,
            answer.status if answer else None,
            _answered(answer) if answer else None,
            tuple(rule.kind for rule in rules),
            beside,
        )
        with self._lock:
            self.recorded.append(recorded)


_OTHER_SERVICES = {
    "/auth/v1": "Auth",
    "/realtime/v1": "Realtime",
    "/functions/v1": "Edge Functions",
    "/graphql/v1": "GraphQL",
    "/pg": "postgres-meta",
}


def _answered(answer: Answer) -> int | None:
    """How many rows a page of PostgREST holds, by its Content-Range."""
    first, dash, rest = answer.headers.get("Content-Range", "").partition("-")
    if not dash or not first.isdigit():
        return 0 if first.startswith("*") else None
    return int(rest.partition("/")[0]) - int(first) + 1


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _send(send: Send, answer: Answer, of: int | None = None) -> None:
    """The whole response, or its headers and the first ``of`` bytes."""
    headers = dict(answer.headers)
    if answer.status not in (204, 304):
        headers.setdefault("Content-Length", str(len(answer.body)))
    encoded = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
    await send({"type": "http.response.body", "body": answer.body[:of], "more_body": of is not None})


async def _drop(send: Send, receive: Receive, *, flush: bool = False) -> None:
    """Close the connection without a word, through uvicorn's transport (ASGI has no message for it)."""
    transport = send.__self__.transport  # type: ignore[attr-defined]
    if flush:
        transport.close()
    else:
        transport.abort()
    await receive()  # until uvicorn has noticed
