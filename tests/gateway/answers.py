"""What the stand-in answers: a response, and the errors that become one, in the words of the imitated server."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

JSON_TYPE = "application/json; charset=utf-8"


@dataclass(frozen=True)
class Answer:
    """One HTTP response."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class Refusal(Exception):
    """An error that knows the response it becomes."""

    def answer(self) -> Answer:
        """The response."""
        raise NotImplementedError


class Unimplemented(Refusal):
    """A feature of the real server that the stand-in does not have: 501 and the feature's name, never a guess."""

    def __init__(self, feature: str) -> None:
        super().__init__(feature)
        self.feature = feature

    def answer(self) -> Answer:
        message = f"the stand-in does not implement: {self.feature}"
        return as_json(501, {"code": "501", "message": message, "details": self.feature, "hint": None})


class GatewayError(Refusal):
    """The refusals of the HTTP gateway in front of a project: ``{message, hint}``, no code.

    Source: https://github.com/supabase/supabase/blob/master/docker/volumes/api/kong.yml (key-auth on every service).
    """

    def __init__(self, status: int, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.hint = status, message, hint

    def answer(self) -> Answer:
        return as_json(self.status, {"message": self.message} | ({"hint": self.hint} if self.hint else {}))


class PostgrestError(Refusal):
    """An error of PostgREST: ``{code, message, details, hint}`` and the header ``Proxy-Status``.

    Source: https://docs.postgrest.org/en/v14/references/errors.html
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        details: str | None = None,
        hint: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.details, self.hint = status, code, message, details, hint
        self.headers = headers or {}

    def answer(self) -> Answer:
        body = {"code": self.code, "message": self.message, "details": self.details, "hint": self.hint}
        return as_json(self.status, body, {"Proxy-Status": f"PostgREST; error={self.code}", **self.headers})


class StorageError(Refusal):
    """An error of Storage: HTTP 400 (500 only for 500) with the real status as text in the body.

    Source: https://github.com/supabase/storage/blob/master/src/internal/errors/storage-error.ts (``userStatusCode``),
    ``codes.ts`` beside it for the words, and ``src/http/error-handler.ts``.
    """

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.status, self.error, self.message = status, error, message

    def answer(self) -> Answer:
        body = {"statusCode": str(self.status), "error": self.error, "message": self.message}
        return as_json(500 if self.status == 500 else 400, body)


def as_json(status: int, document: object, headers: Mapping[str, str] | None = None) -> Answer:
    """A JSON response."""
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return Answer(status, {"Content-Type": JSON_TYPE, **(headers or {})}, body)
