"""Passwords and keys in ``.env`` for the compose profile ``supabase``: ``make keys``.

What .env has already is kept, so running it again changes nothing. The file can be read by its owner only.
"""

import secrets
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import click
import jwt  # comes with the supabase client
from dotenv import dotenv_values, set_key

YEARS = 10
GATEWAY = "http://gateway:8000"


def signed(role: str, secret: str, now: int) -> str:
    """An API key as Supabase makes them: a JSON Web Token (RFC 7519) for ``role``, HS256, valid for ten years."""
    claims = {"role": role, "iss": "supabase", "iat": now, "exp": now + YEARS * 365 * 24 * 3600}
    return jwt.encode(claims, secret, algorithm="HS256")


def is_signed_by(token: str, secret: str) -> bool:
    """Whether the token is one that is signed with ``secret``, expired or not."""
    try:
        jwt.decode(token, secret, algorithms=["HS256"], options={"verify_exp": False})
    except jwt.InvalidTokenError:
        return False
    return True


def missing(settings: Mapping[str, str | None], now: int) -> dict[str, str]:
    """What to add to ``settings`` so that the profile works, and the pipeline uses it unless it has another lakehouse.

    Raises ``ValueError`` if a key there is not of the secret there.
    """
    has = {name: value for name, value in settings.items() if value}
    secret = has.get("JWT_SECRET") or secrets.token_hex(32)
    wanted = {
        "POSTGRES_PASSWORD": secrets.token_hex(24),  # no letter that a URL would have to escape
        "JWT_SECRET": secret,
        "ANON_KEY": signed("anon", secret, now),
        "SERVICE_ROLE_KEY": signed("service_role", secret, now),
    }
    for name in ("ANON_KEY", "SERVICE_ROLE_KEY"):
        if name in has and not is_signed_by(has[name], secret):
            raise ValueError(f"{name} was not made with JWT_SECRET: remove {name} from .env, then run make keys again")
    service_key = has.get("SERVICE_ROLE_KEY") or wanted["SERVICE_ROLE_KEY"]
    if not uses_another_lakehouse(has):
        wanted |= {
            "COMPOSE_PROFILES": "supabase",
            "LAKEHOUSE_URL_IN_COMPOSE": GATEWAY,
            "LAKEHOUSE_URL": f"http://localhost:{has.get('LAKEHOUSE_PORT', '8000')}",
            "LAKEHOUSE_KEY": service_key,
        }
    return {name: value for name, value in wanted.items() if name not in has}


def uses_another_lakehouse(settings: Mapping[str, str | None]) -> bool:
    """Whether a lakehouse is configured that is not the local one."""
    names = ("LAKEHOUSE_URL", "LAKEHOUSE_KEY", "LAKEHOUSE_DB_URL")
    return not settings.get("LAKEHOUSE_URL_IN_COMPOSE") and any(settings.get(name) for name in names)


def main(folder: Path) -> None:
    """Fill ``folder``/.env, made from .env.example if there is none; say what was added, never its value."""
    env = folder / ".env"
    if not env.exists():
        env.touch(mode=0o600)
        shutil.copyfile(folder / ".env.example", env)
    env.chmod(0o600)
    settings = dotenv_values(env, interpolate=False)
    try:
        added = missing(settings, int(time.time()))
    except ValueError as error:
        sys.exit(f"error: {error}")
    for name, value in added.items():
        set_key(env, name, value, quote_mode="never")
    click.echo(f"added to .env: {', '.join(added)}" if added else ".env has every key already; nothing was changed")
    if uses_another_lakehouse(settings):
        click.echo("The pipeline keeps the lakehouse that .env names; empty its LAKEHOUSE_ lines to use the local one.")
    else:
        click.echo("next: docker compose up -d")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd())
