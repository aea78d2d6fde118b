"""Passwords and keys for a Supabase of your own, and its compose file switched on, both in ``.env``: ``make keys``.

What .env has already is kept, so running it again changes nothing. A .env that an earlier version filled is brought up
to date with the passwords and keys it has: the database was made with them. The file can be read by its owner only.
"""

import os
import secrets
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import jwt  # comes with the supabase client
from dotenv import dotenv_values, set_key, unset_key

YEARS = 10
MAIN = "docker-compose.yml"
SUPABASE = "docker-compose.supabase.yml"
EARLIER_ADDRESS = "LAKEHOUSE_URL_IN_COMPOSE"
"""With COMPOSE_PROFILES=supabase, what an earlier version wrote instead of COMPOSE_FILE."""


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


def missing(has: Mapping[str, str], overrides: Sequence[str], now: int) -> dict[str, str]:
    """What to write into .env so that ``docker compose up`` starts the Supabase and the pipeline uses it.

    ``has``: what .env says, without what is empty there. ``overrides``: the project's own compose files that Compose
    reads by itself as long as COMPOSE_FILE is not set. The names come in the order to write them: were only the first
    ones written, the rest would still be missing, and nothing else.

    Raises ``ValueError`` if a key there is not of the secret there, or the pipeline has another lakehouse there.
    """
    if others := another_lakehouse(has):
        raise ValueError(
            f"{', '.join(others)} in .env: the pipeline has another lakehouse, and nothing was changed. "
            "To use a Supabase of your own, take these lines out, then run make keys again"
        )
    secret = has.get("JWT_SECRET") or secrets.token_hex(32)
    for name in ("ANON_KEY", "SERVICE_ROLE_KEY"):
        if name in has and not is_signed_by(has[name], secret):
            raise ValueError(f"{name} was not made with JWT_SECRET: remove {name} from .env, then run make keys again")
    made = {
        "POSTGRES_PASSWORD": secrets.token_hex(24),  # no letter that a URL would have to escape
        "JWT_SECRET": secret,
        "ANON_KEY": signed("anon", secret, now),
        "SERVICE_ROLE_KEY": has.get("SERVICE_ROLE_KEY") or signed("service_role", secret, now),
        "LAKEHOUSE_URL": f"http://localhost:{has.get('LAKEHOUSE_PORT', '8000')}",
    }
    made["LAKEHOUSE_KEY"] = made["SERVICE_ROLE_KEY"]
    files = with_supabase(has, overrides)
    return {
        **({} if has.get("COMPOSE_FILE") == files else {"COMPOSE_FILE": files}),
        **{name: value for name, value in made.items() if name not in has},
    }


def another_lakehouse(has: Mapping[str, str]) -> list[str]:
    """The settings that name a lakehouse which is not this Supabase."""
    is_this = (
        SUPABASE in has.get("COMPOSE_FILE", "")
        or EARLIER_ADDRESS in has
        or ("LAKEHOUSE_KEY" in has and has["LAKEHOUSE_KEY"] == has.get("SERVICE_ROLE_KEY"))
    )
    return [name for name in ("LAKEHOUSE_URL", "LAKEHOUSE_KEY", "LAKEHOUSE_DB_URL") if name in has and not is_this]


def with_supabase(has: Mapping[str, str], overrides: Sequence[str]) -> str:
    """COMPOSE_FILE with the Supabase's file in it; files that are there stay."""
    separator = has.get("COMPOSE_PATH_SEPARATOR", os.pathsep)
    if "COMPOSE_FILE" not in has:
        return separator.join([MAIN, SUPABASE, *overrides])
    files = has["COMPOSE_FILE"].split(separator)
    return separator.join(files if SUPABASE in map(os.path.basename, files) else [*files, SUPABASE])


def remove_earlier(env: Path, has: Mapping[str, str]) -> list[str]:
    """Take out of .env what only an earlier version read; answers the names."""
    removed = []
    profiles = [name.strip() for name in has.get("COMPOSE_PROFILES", "").split(",")]
    if "supabase" in profiles:
        removed.append("COMPOSE_PROFILES")
        if others := [name for name in profiles if name and name != "supabase"]:
            set_key(env, "COMPOSE_PROFILES", ",".join(others), quote_mode="never")
        else:
            unset_key(env, "COMPOSE_PROFILES")
    if EARLIER_ADDRESS in has:
        removed.append(EARLIER_ADDRESS)
        unset_key(env, EARLIER_ADDRESS)
    return removed


def main(folder: Path) -> None:
    """Fill ``folder``/.env, made from .env.example if there is none; say what was changed, never its value."""
    env = (folder / ".env").resolve()
    if not env.exists():
        env.touch(mode=0o600)
        shutil.copyfile(folder / ".env.example", env)
    env.chmod(0o600)
    has = {name: value for name, value in dotenv_values(env, interpolate=False).items() if value}
    overrides = sorted(path.name for path in folder.glob("*compose.override.y*ml"))
    try:
        added = missing(has, overrides, int(time.time()))
    except ValueError as error:
        sys.exit(f"error: {error}")
    for name, value in added.items():
        set_key(env, name, value, quote_mode="never")
    removed = remove_earlier(env, has)
    if added:
        click.echo(f"written to .env: {', '.join(added)}")
    if removed:
        click.echo(f"removed from .env, where an earlier version had written it: {', '.join(removed)}")
        click.echo("next: docker compose -p medallion down (never with -v, which deletes the data), then")
        click.echo("      docker compose build && docker compose up -d")
        return
    click.echo("next: docker compose up -d" if added else ".env has every key already; nothing was changed")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd())
