"""Which shop a source is, as text that can be kept and compared: what it is, not how it is reached, and no secret.

    supabase:<ref>/<schema>                        a hosted project, by its API, its database or its pooler
    supabase:<host>/<schema>                       a project under a host of its own
    postgresql:<host>:<port>/<database>/<schema>   any other PostgreSQL
    folder:<absolute path>                         files; in a container the path on the host
    sample                                         the made-up shop

Keys that two shops have in common prove nothing: every shop has a customer 1.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from elt.errors import ConfigurationError

SAMPLE = "sample"

MOUNT = "/source"
"""Where Compose mounts a shop's folder: inside a container every folder has this path, so that it names none."""

_HERE = frozenset(("localhost", "127.0.0.1", "::1", "host.docker.internal"))
"""Names that one machine has for itself, from inside a container too."""


def of_project(host: str, schema: str = "public") -> str:
    """A Supabase project, by the host of its API."""
    return f"supabase:{_project_of(host) or _host(host)}/{schema}"


def of_database(host: str, port: str, database: str, user: str, schema: str) -> str:
    """A PostgreSQL; that of a hosted project is the project, as its API is.

    Behind a pooler's host stand many projects: there the user says which (``postgres.<ref>``). Source: Supabase,
    "Connect to your database".
    """
    if database == "postgres" and (project := _project_of(host, user)):
        return f"supabase:{project}/{schema}"
    return f"postgresql:{_host(host)}:{port}/{database}/{schema}"


def of_folder(path: str) -> str:
    """A folder of files, by its absolute path."""
    return f"folder:{path}"


def named_by(description: str) -> str:
    """The identity that a manifest's description of its source names in full; empty if it does not.

    For manifests written before they had an identity: those of a PostgreSQL did not say where it is, and a folder may
    have been relative, or mounted.
    """
    if found := re.fullmatch(r"Supabase \(SUPABASE_URL, (.+)\), schema (.+)", description):
        return of_project(found[1], found[2])
    if description.startswith("the sample shop"):
        return SAMPLE
    folder = description.removeprefix("files in ")
    return of_folder(folder) if folder != description and folder.startswith("/") and folder != MOUNT else ""


@dataclass(frozen=True)
class Shop:
    """A lakehouse's shop: the identities that are one and the same, and what there is to say about it."""

    identities: tuple[str, ...]
    said: str = ""


def judge(
    identity: str,
    description: str,
    *,
    accepted: Collection[str],
    newest: Sequence[str] | None,
    newest_description: str,
    filled: bool,
    new_source: bool = False,
) -> Shop:
    """The lakehouse's shop once this source is read into it; a ``ConfigurationError`` if the source is another shop.

    ``accepted``: the identities that the lakehouse knows for its own. ``newest``: those of its newest snapshot, which
    may be of a program that named none; None if there is no snapshot. ``filled``: silver holds rows of a snapshot.
    ``new_source``: the owner says that it is the same shop.
    """
    if newest is None and not filled:
        return Shop((identity,), f"this is a new lakehouse, from now on that of the shop {identity}")
    known = list(dict.fromkeys((*accepted, *(() if accepted else newest or ()))))
    strangers = [name for name in newest or () if accepted and name not in accepted]
    if identity in known and not strangers:
        return Shop(tuple(known))
    if new_source:
        same = tuple(dict.fromkeys((*known, *strangers, identity)))
        return Shop(same, f"{identity} is the same shop as before under a new address, as --new-source says")
    if not known and (newest is None or _kind(description) == _kind(newest_description)):
        return Shop((identity,), f"what is here does not say which shop it is of; from now on it is that of {identity}")
    held = " and ".join(strangers or known) or newest_description or "a shop that is not named"
    raise ConfigurationError(
        f"this lakehouse is that of another shop ({held}), and the source now is {identity}",
        kept="nothing was read or written: rows of two shops would be added up",
        next_step="set DATA_DIR (or LAKEHOUSE_…) to another lakehouse for this shop; or, if it is the same shop under "
        "a new address: medallion run --new-source; or, to give up the figures of the other: medallion reset",
    )


def _kind(description: str) -> str:
    """How a source is reached: the first word that describes it."""
    return description.partition(" ")[0]


def _host(host: str) -> str:
    name = host.lower().rstrip(".")
    bare, colon, port = name.rpartition(":") if name.count(":") == 1 else (name, "", "")
    return f"localhost{colon}{port}" if (bare or name).strip("[]") in _HERE else name


def _project_of(host: str, user: str = "") -> str:
    """The hosted project's reference, if the host (or a pooler's user) tells."""
    name = _host(host)
    if found := re.fullmatch(r"(?:db\.)?([a-z0-9]+)\.supabase\.(?:co|in|red)", name):
        return found[1]
    if name.endswith((".pooler.supabase.com", ".pooler.supabase.co")):
        return user.partition(".")[2]
    return ""
