"""The one filter that every message passes on its way out: errors, log lines, the ledger, alerts, tracebacks.

It knows the configured secrets, whole and by part, and finds them raw, percent-encoded, in base64, and escaped as in
JSON, Python and HTML. Nothing of ours puts a secret into a message: this is for the words of libraries and servers.
Data (what ``show``, ``trace``, ``quarantine`` and the exports print, and what is in the lakehouse) never passes it.
"""

import base64
import html
import json
import logging
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TextIO
from urllib.parse import parse_qsl, unquote

from elt.errors import MedallionError

HIDDEN = "***"

ANYWHERE = 8
"""A part of so many characters is hidden wherever it stands, a shorter one only as a whole word."""

SHORTEST = 4
"""A part with fewer characters is hidden only where it stands as a password (``user:abc@host``, ``password=abc``).

To hide every ``a`` would make messages unreadable, and show what the password is.
"""

ORDINARY = frozenset(
    (
        *(
            "medallion",
            "password",
            "postgres",
            "postgresql",
            "supabase",
            "source",
            "lakehouse",
            "bronze",
            "silver",
            "gold",
        ),
        *(
            "init",
            "check",
            "status",
            "health",
            "schedule",
            "show",
            "trace",
            "quarantine",
            "list",
            "export",
            "snapshots",
        ),
        *("replay", "prune", "backup", "restore", "reset", "demo"),
    )
)
"""Words of our own messages, and of the commands in them. To hide them would make advice useless, and show where the
secret is: they are treated as too short."""

_BASE64 = 6
"""A part with fewer characters is not looked for in base64: what is left of it there could be anything."""

_CUTS = re.compile(r"[@:/?#\[\]]+")
"""Where a reader of URLs may cut a password that it misunderstands."""


@dataclass(frozen=True)
class Parts:
    """What of one setting is secret, and what of it may be shown: users, hosts, databases."""

    passwords: frozenset[str] = frozenset()
    tokens: frozenset[str] = frozenset()
    shown: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Hidden:
    """How secrets are found, in this order: those with signs in them, those without, and short ones."""

    long: "re.Pattern[str] | None"
    texts: Sequence[str]
    short: "re.Pattern[str] | None"


_known = Hidden(None, (), None)


def know(secrets: Iterable[str], shown: Iterable[str] = ()) -> None:
    """From now on hide these settings and their parts, and no others.

    ``shown``: the values of settings that are no secret. A part of a secret that is the same as one of them, or as its
    own user, host or database, is not hidden by itself.
    """
    global _known
    _known = _hidden(frozenset(secrets), frozenset(shown))


def redacted(text: str) -> str:
    """The text without any of the secrets."""
    known = _known
    if known.long:
        text = known.long.sub(HIDDEN, text)
    for secret in known.texts:
        text = text.replace(secret, HIDDEN)
    return known.short.sub(HIDDEN, text) if known.short else text


def words_of(error: BaseException) -> str:
    """What an error says, filtered; of PostgreSQL's, the message alone: its DETAIL and CONTEXT hold whole rows."""
    if isinstance(error, MedallionError):
        return redacted(error.what)
    return redacted(f"{type(error).__name__}: {_message_of(error)}")


def traceback_of(error: BaseException) -> str:
    """The traceback of an error that is a bug, with those of its causes, filtered. It takes the rows out of them."""
    for one in _chain(error):
        one.args = (_message_of(one),) if _primary(one) else one.args
    return redacted("".join(traceback.format_exception(error)))


def _message_of(error: BaseException) -> str:
    return _primary(error) or str(error)


def _primary(error: BaseException) -> str | None:
    """A PostgreSQL error's own message; None for other errors. By its look, so that nothing here needs psycopg."""
    return getattr(getattr(error, "diag", None), "message_primary", None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, what caused it, and what it is a group of; each once."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]


@contextmanager
def interpreter_filtered() -> Iterator[None]:
    """Inside, what Python prints by itself is filtered: a thread's traceback, a warning, a library's log line."""
    before = threading.excepthook, warnings.showwarning
    threading.excepthook, warnings.showwarning = _show_thread, _show_warning
    if logging.lastResort:
        logging.lastResort.setFormatter(_Formatter())
    try:
        yield
    finally:
        threading.excepthook, warnings.showwarning = before
        if logging.lastResort:
            logging.lastResort.setFormatter(None)


def _show_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None and not isinstance(arguments.exc_value, SystemExit):
        sys.stderr.write(traceback_of(arguments.exc_value))


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    (file or sys.stderr).write(redacted(warnings.formatwarning(message, category, filename, lineno, line)))


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


def parts_of(secret: str) -> Parts:
    """The parts of a setting: of an address, of libpq's ``host=… password=…``, or of a key."""
    if re.match(r"\w+://", secret):
        return _parts_of_url(secret)
    if re.match(r"\s*\w+\s*=", secret):
        return _parts_of_conninfo(secret)
    segments = secret.split(".") if secret.count(".") == 2 else secret.split("_", 2)[2:]  # a JWT; sb_secret_…
    return Parts(tokens=frozenset(segments))


def _parts_of_url(url: str) -> Parts:
    scheme, _, rest = url.partition("://")
    authority, path, query, fragment = re.fullmatch("([^/?#]*)([^?#]*)([^#]*)(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]
    userinfo, _, host = authority.rpartition("@")
    user, _, password = userinfo.partition(":")
    parameters = parse_qsl(query.lstrip("?"))
    passwords = {password, unquote(password)}
    shown = {user, unquote(user), host, *(name.partition(":")[0] for name in host.split(","))}
    if not scheme.lower().startswith("http"):
        passwords |= {value for name, value in parameters if name.endswith("password")}
        return _with_pieces(passwords, shown | {path.strip("/"), unquote(path.strip("/"))})
    *folders, last = path.strip("/").split("/")
    values = [*folders, *(value for _, value in parameters)]
    tokens = {last, fragment.lstrip("#"), *(value for value in values if not _is_plain_word(value))}
    tokens |= {f"{path}{query}".strip("/"), *query.lstrip("?").split("&")}
    found = _with_pieces(passwords, shown)
    return Parts(found.passwords, found.tokens | tokens | {unquote(token) for token in tokens}, found.shown)


def _parts_of_conninfo(text: str) -> Parts:
    """Source: PostgreSQL's documentation, "Keyword/Value Connection Strings": quotes, and backslashes before signs."""
    found = re.findall(r"(\w+)\s*=\s*(?:'((?:\\.|[^'\\])*)'|((?:\\.|[^\s'\\])*))", text, re.DOTALL)
    values = [(name, re.sub(r"\\(.)", r"\1", quoted or plain, flags=re.DOTALL)) for name, quoted, plain in found]
    passwords = {value for name, value in values if name.endswith("password")}
    return _with_pieces(passwords, {value for name, value in values if not name.endswith("password")})


def _with_pieces(passwords: set[str], shown: set[str]) -> Parts:
    """The passwords with what is left of them when somebody cuts them as a URL."""
    pieces = {piece for password in passwords for piece in _CUTS.split(password) if not piece.isdigit()}
    return Parts(frozenset(passwords), frozenset(pieces - passwords), frozenset(shown))


def _is_plain_word(value: str) -> bool:
    """Whether it is a word of an address, such as ``services`` or ``complete``, and no token."""
    return value.isalpha() and value.islower()


@lru_cache(maxsize=1)
def _hidden(secrets: frozenset[str], shown: frozenset[str]) -> Hidden:
    """How to find every secret."""
    texts, long, short = set[str](), dict[str, str](), dict[str, str]()
    cuts = [parts_of(secret) for secret in secrets]
    words = ORDINARY.union(shown, *(parts.shown for parts in cuts))
    passwords = frozenset[str]().union(*(parts.passwords for parts in cuts)) - {""}
    for secret in secrets.union(passwords, *(parts.tokens for parts in cuts)):
        if len(secret) < SHORTEST or secret in words:
            continue
        written = _written(secret)
        if len(secret) < ANYWHERE:
            short[secret] = rf"(?<!\w){written}(?!\w)"
        elif written == re.escape(secret):
            texts.add(secret)
        else:
            long[secret] = written
        if len(secret) >= _BASE64:
            texts |= _in_base64(secret)
    for password in passwords - texts - long.keys() - short.keys():
        written = _written(password)
        short[password] = rf"(?<=:){written}(?=@)|(?<=password=)'?{written}(?!\w)"
    return Hidden(_any_of(long), sorted(texts, key=len, reverse=True), _any_of(short))


def _any_of(patterns: dict[str, str]) -> "re.Pattern[str] | None":
    """One pattern of those of several secrets, the longest first."""
    found = "|".join(f"(?:{patterns[secret]})" for secret in sorted(patterns, key=len, reverse=True))
    return re.compile(found) if found else None


def _written(secret: str) -> str:
    """A pattern of the secret, in which each sign may stand raw or in any of the usual encodings."""
    return "".join(map(_sign, secret))


@cache
def _sign(sign: str) -> str:
    if sign.isascii() and (sign.isalnum() or sign in "-_.~"):  # nobody encodes these
        return re.escape(sign)
    if sign == "\\":
        return r"(?:\\+|(?i:%(?:25)*5c))"
    percent = "".join(f"%(?:25)*{byte:02x}" for byte in sign.encode(errors="surrogatepass"))  # %2540: encoded twice
    escapes = {json.dumps(sign)[1:-1], repr(sign)[1:-1], ascii(sign)[1:-1]} - {sign}
    escaped = [re.escape(text).replace(r"\\", r"\\+") for text in sorted(escapes)]
    others = [re.escape(text) for text in (html.escape(sign), "+" if sign == " " else sign) if text != sign]
    return "(?:" + "|".join([rf"(?i:{percent})", *escaped, *others, rf"\\*{re.escape(sign)}"]) + ")"


def _in_base64(secret: str) -> set[str]:
    """What the secret looks like in the base64 of any text around it: at each of three offsets, what it alone decides.

    Source: RFC 4648; both alphabets.
    """
    content = secret.encode(errors="surrogatepass")
    found = set()
    for offset, mixed in ((0, 0), (1, 2), (2, 3)):
        text = base64.b64encode(bytes(offset) + content).decode()
        text = text[mixed : (offset + len(content)) * 8 // 6]
        found |= {text, text.replace("+", "-").replace("/", "_")}
    return found
