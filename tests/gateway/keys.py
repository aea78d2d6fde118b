"""A project's keys, and which role a request has by them.

Both generations work: the legacy JWT keys (``anon``, ``service_role``; HS256) and the opaque ``sb_publishable_…`` and
``sb_secret_…`` keys. Source: https://supabase.com/docs/guides/api/api-keys
"""

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import jwt

from tests.gateway.answers import GatewayError, PostgrestError

YEARS_10 = 10 * 365 * 24 * 3600
SKEW_SECONDS = 30
"""Source: https://docs.postgrest.org/en/v14/references/auth.html#jwt-time-validation"""


@dataclass(frozen=True)
class Caller:
    """Who asks: the PostgreSQL role, and the token's claims as they reach ``request.jwt.claims``."""

    role: str
    claims: Mapping[str, object]


@dataclass(frozen=True, repr=False)
class Keys:
    """The keys of one project; made anew for each instance."""

    jwt_secret: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    publishable_key: str = field(default_factory=lambda: f"sb_publishable_{secrets.token_urlsafe(16)}_{_check()}")
    secret_key: str = field(default_factory=lambda: f"sb_secret_{secrets.token_urlsafe(16)}_{_check()}")

    def token(self, role: str, *, seconds: int = YEARS_10, **claims: object) -> str:
        """A JWT of this project for ``role``, valid for ``seconds`` (negative: expired)."""
        now = int(time.time())
        payload = {"iss": "supabase", "ref": "standin", "role": role, "iat": now, "exp": now + seconds, **claims}
        return jwt.encode(payload, self.jwt_secret, algorithm="HS256")

    def opaque_role(self, key: str) -> str | None:
        """The role of an opaque key, or None if it is not one of this project's."""
        return {self.publishable_key: "anon", self.secret_key: "service_role"}.get(key)


def _check() -> str:
    return secrets.token_hex(4)


def bearer(keys: Keys, legacy: Mapping[str, str], headers: Mapping[str, str]) -> str | None:
    """The token that the gateway hands on, after its own check of ``apikey``; None for an opaque key's role.

    The gateway knows exactly the project's four keys: any other ``apikey`` is refused, even a token that the project
    signed. An ``Authorization`` header that is not an opaque key goes through as it is; otherwise ``apikey`` stands.
    Source: https://github.com/supabase/supabase/blob/master/docker/volumes/api/kong.yml
    """
    key = headers.get("apikey", "")
    if not key:
        raise GatewayError(401, "No API key found in request", "No `apikey` request header or url param was found.")
    if keys.opaque_role(key) is None and key not in legacy.values():
        raise GatewayError(401, "Invalid API key", "Double check your Supabase `anon` or `service_role` API key.")
    authorization = headers.get("authorization", "")
    if authorization and not authorization.startswith("Bearer sb_"):
        return authorization.removeprefix("Bearer ").removeprefix("bearer ")
    if keys.opaque_role(key) is not None:
        return None
    return key


def caller(keys: Keys, legacy: Mapping[str, str], headers: Mapping[str, str]) -> Caller:
    """Who asks, by PostgREST's rules for tokens.

    Source: https://docs.postgrest.org/en/v14/references/auth.html and the group 3 of its error codes.
    """
    token = bearer(keys, legacy, headers)
    if token is None:
        role = keys.opaque_role(headers["apikey"]) or "anon"
        return Caller(role, {"role": role})
    claims = decode(keys, token)
    role = str(claims.get("role", "anon"))
    return Caller(role, {**claims, "role": role})


def decode(keys: Keys, token: str) -> dict[str, object]:
    """The claims of a token, verified."""
    parts = len(token.split("."))
    if not token:
        raise _invalid("PGRST301", "Empty JWT is sent in Authorization header")
    if parts != 3:
        raise _invalid("PGRST301", f"Expected 3 parts in JWT; got {parts}")
    try:
        decoded: dict[str, object] = jwt.decode(
            token,
            keys.jwt_secret,
            algorithms=["HS256"],
            leeway=SKEW_SECONDS,
            options={"verify_aud": False, "verify_iss": False},
        )
    except jwt.ExpiredSignatureError:
        raise _invalid("PGRST303", "JWT expired") from None
    except (jwt.ImmatureSignatureError, jwt.InvalidIssuedAtError) as error:
        issued = "iat" in str(error)
        raise _invalid("PGRST303", "JWT issued at future" if issued else "JWT not yet valid") from None
    except jwt.InvalidAlgorithmError:
        raise _invalid("PGRST301", "Wrong or unsupported encoding algorithm") from None
    except jwt.InvalidSignatureError:
        raise _invalid(
            "PGRST301", "No suitable key or wrong key type", "None of the keys was able to decode the JWT"
        ) from None
    except jwt.InvalidTokenError:
        raise _invalid("PGRST301", "JWT cryptographic operation failed") from None
    return decoded


def _invalid(code: str, message: str, details: str | None = None) -> PostgrestError:
    challenge = f'Bearer error="invalid_token", error_description="{message}"'
    return PostgrestError(401, code, message, details, headers={"WWW-Authenticate": challenge})
