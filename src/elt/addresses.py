"""The settings' addresses, read by us before any library speaks about them: what could be read in two ways is refused.

In ``postgresql://u:a@SEKRET@host/x`` a library takes the end of the password for the host, and says so to everybody.
Every refusal is a ``ConfigurationError`` that names the setting and the sign that is wrong, and shows nothing of the
value.
"""

import ipaddress
import re

from elt.errors import ConfigurationError

ENCODED = {"@": "%40", "/": "%2F", "?": "%3F", "#": "%23", "[": "%5B", "]": "%5D", "%": "%25", " ": "%20"}
"""Signs that end a part of a URL, as they are written inside a user's name or a password. Source: RFC 3986, 2.2."""

_PROJECT = re.compile(r"(?i:(https?)://)(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::(\d{1,5}))?/*")
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[\w.%~-]*)(:\d{0,5})?")
_LOCAL_NAME = re.compile(r"[a-z0-9_-]*[a-z_-][a-z0-9_-]*")
_HEXADECIMAL = re.compile(r"0x[0-9a-f]*")
_OWN_NETWORKS = tuple(
    map(
        ipaddress.ip_network,
        (
            *("0.0.0.0/32", "127.0.0.0/8", "::/128", "::1/128"),  # this machine
            *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),  # RFC 1918, RFC 4193: private
            *("169.254.0.0/16", "fe80::/10"),  # RFC 3927, RFC 4291: the next machine on the same wire
        ),
    )
)


def check_database(url: str, setting: str) -> None:
    """Nothing, if it can be read as a PostgreSQL's address in one way only: a URL, or libpq's ``host=… password=…``.

    Source: PostgreSQL's documentation, "Connection Strings".
    """
    if not re.match(r"\s*\w+\s*=", url):
        scheme, separator, rest = url.partition("://")
        if scheme not in ("postgresql", "postgres") or not separator:
            raise _refused(
                f"{setting} is not a PostgreSQL URL: it does not begin with postgresql://",
                f"write {setting} as postgresql://user:password@host:5432/database, without quotes in the value",
            )
        _check_signs(rest, setting)
    import psycopg  # slow to load: the scheduler, which lives for years, and its health open no database
    from psycopg.conninfo import conninfo_to_dict

    try:
        conninfo_to_dict(url)
    except psycopg.Error:  # its words would show the value
        raise _refused(
            f"{setting} is not a PostgreSQL URL: PostgreSQL's client does not know what is in it",
            f"write {setting} as postgresql://user:password@host:5432/database, and after a ? only PostgreSQL's own "
            "parameters, such as sslmode=require (pgbouncer=true, for example, is another program's)",
        ) from None


def _check_signs(rest: str, setting: str) -> None:
    """Refuse what different readers of URLs cut in different places. ``rest``: what follows ``://``."""
    before, at, after = rest.partition("@")
    if "@" in after:
        raise _ambiguous("@", setting)
    for sign in "/?#[]":
        if at and sign in before:
            raise _ambiguous(sign, setting)
    if re.search(r"[\s\x00-\x1f\x7f]", rest):
        raise _ambiguous(" ", setting)
    if re.search(r"%(?![0-9A-Fa-f]{2})", rest):
        raise _ambiguous("%", setting)
    if "#" in rest:
        raise _ambiguous("#", setting)
    hosts = re.split("[/?]", after if at else before, maxsplit=1)[0]
    if not all(_HOST_AND_PORT.fullmatch(host) for host in hosts.split(",")):
        raise _refused(
            f"{setting} is not a PostgreSQL URL: between user and database it has no host and port",
            f"write {setting} as postgresql://user:password@host:5432/database; {_how_to_write()}",
        )


def _ambiguous(sign: str, setting: str) -> ConfigurationError:
    named = {" ": "a space or a line end"}.get(sign, f"{'an' if sign == '@' else 'a'} {sign}")
    return _refused(
        f"{setting} can be read in more than one way: its user or password holds {named} that is not percent-encoded",
        f"in {setting} write it as {ENCODED[sign]}; {_how_to_write()}",
    )


def _how_to_write() -> str:
    named = {" ": "a space"}
    signs = ", ".join(f"{named.get(sign, sign)} is {code}" for sign, code in ENCODED.items())
    return f"inside a user or a password {signs}"


def hosts_of_database(url: str) -> list[str]:
    """The hosts that the address of a PostgreSQL names: mostly one, none for a socket of this machine."""
    from psycopg.conninfo import conninfo_to_dict

    return [host for host in str(conninfo_to_dict(url).get("host") or "").split(",") if host]


def check_project(url: str, setting: str, *, allow_http: bool = False) -> None:
    """Nothing, if it is a Supabase project's address to which a key may be sent: scheme, host, port, and nothing else.

    By plain ``http://`` only to this machine and one's own network, unless ``allow_http``.
    """
    found = _PROJECT.fullmatch(url)
    if not found or int(found[3] or 0) > 65_535:
        raise _refused(
            f"{setting} {_why_no_project(url)}",
            f"copy {setting} again from the dashboard: Project Settings → Data API → Project URL",
        )
    scheme, host, _ = found.groups()
    if scheme.lower() == "http" and not allow_http and not is_own_network(host):
        key = setting.replace("URL", "KEY")
        raise _refused(
            f"{setting} is plain http:// to {host}: {key} would cross networks unencrypted, for everybody on the way",
            f"write https:// in {setting}; if every network up to there is your own: ALLOW_HTTP=true",
        )


def _why_no_project(url: str) -> str:
    """What is wrong, in words that hold nothing of the value."""
    if not re.match("(?i)https?://", url):
        return "is not an http(s) URL: it does not begin with https://"
    if "@" in url:
        return "holds an @: a project's URL has no user, password or key in it"
    if re.match(r"\w+:/*[^/?#]+/+[^/?#]", url):
        return "has a path (such as /rest/v1); the project's URL has none"
    if "?" in url or "#" in url:
        return "has something after a ? or #; the project's URL has nothing there"
    return "is not an http(s) URL: what follows https:// is no host"


def is_own_network(host: str) -> bool:
    """Whether a URL's host is this machine or in its own network, so that what is sent there crosses no other.

    Loopback and private addresses, ``host.docker.internal``, and names without a dot, such as Compose's services. A
    number in another notation than an address's own (``2130706433``, ``127.1``) is nobody's name: not one of them.
    """
    name = host.lower().strip("[]")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        absolute = name.removesuffix(".")
        if absolute in ("localhost", "host.docker.internal") or absolute.endswith(".localhost"):  # RFC 6761
            return True
        return bool(_LOCAL_NAME.fullmatch(name)) and not _HEXADECIMAL.fullmatch(name)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network for network in _OWN_NETWORKS)


def check_address(url: str, setting: str) -> None:
    """Nothing, if it is an address to post to or to get; all of it is a secret but its host."""
    if not re.match("(?i)https?://", url):
        raise _refused(f"{setting}: it has to begin with https:// or http://", f"correct {setting}")
    authority = re.split("[/?#]", url.partition("://")[2], maxsplit=1)[0]
    before, _, host = authority.rpartition("@")
    if "@" in before or not host or not _HOST_AND_PORT.fullmatch(host) or re.search(r"[\s\x00-\x1f\x7f]", url):
        raise _refused(
            f"{setting}: it has no host, or a user or password with a sign that is not percent-encoded",
            f"copy {setting} again from the service that gave it to you; {_how_to_write()}",
        )


def _refused(what: str, next_step: str) -> ConfigurationError:
    return ConfigurationError(what, kept="nothing was read or written", next_step=next_step)
