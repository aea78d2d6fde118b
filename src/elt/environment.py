"""Where settings come from: which ``.env`` is read, what in it is refused, and what its relative paths are relative to.

A mistyped name or a file that cannot be read must never look like a setting that was left out: the program would load
the made-up shop instead of one's own. So every line of ``.env`` is accounted for, and python-dotenv alone says what is
a name and what a value. Nothing here shows a value: most are secrets, and so may be what stands where a name should.
"""

import io
import os
import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dotenv import find_dotenv
from dotenv.parser import Binding, parse_stream

from elt.errors import ConfigurationError

HOME = "MEDALLION_HOME"
"""The variable that names the folder whose ``.env`` is read: one folder for each shop, or for each test."""

ELSEWHERE = frozenset(
    {
        # docker-compose.yml, and a Supabase of one's own (docker/keys.py)
        *("LAKEHOUSE_URL_IN_COMPOSE", "LAKEHOUSE_PORT", "VOLUME_PREFIX"),
        *("POSTGRES_PASSWORD", "JWT_SECRET", "ANON_KEY", "SERVICE_ROLE_KEY"),
        *("SUPABASE_TEST_URL", "SUPABASE_TEST_KEY"),  # make test-supabase
        *("SOURCE_DATE_EPOCH", "TMPDIR"),  # reproducible-builds.org; Python's tempfile
    }
)
"""Names that are no settings of the program and yet nobody's typing error."""

ELSEWHERE_PREFIXES = ("COMPOSE_", "DOCKER_", "OTEL_")
"""How other such names begin: those of Docker and its Compose, and of OpenTelemetry."""

OF_COMPOSE = "SOURCE_FILES_MOUNT"
"""A variable that ``docker-compose.yml`` always hands over."""

OURS_BY_PREFIX = ("SOURCE_", "LAKEHOUSE_", "BUCKET_")
"""Nobody else's name in a ``.env`` of this program begins so."""

FEWEST_LETTERS, MOST_ERRORS = 6, 2
"""A name of so many letters may be recognised with so many wrong; a shorter one is too much like others."""


@dataclass(frozen=True)
class Place:
    """``file``: the ``.env`` that counts, if there is one. ``folder``: its folder, or what stands for it.

    ``words``: the two for a person, for the first line of a run.
    """

    file: Path | None
    folder: Path
    words: str


@dataclass(frozen=True)
class Found:
    """What a ``.env`` sets (name in upper case and value, paths whole), and the lines of warning about it."""

    place: Place
    values: Mapping[str, str]
    warnings: Sequence[str]


def checkout_of(module: Path) -> Path | None:
    """The checkout whose ``src/elt`` the module lies in; None where the package is installed without one."""
    folder = module.parents[2]
    return folder if (folder / "docker-compose.yml").is_file() else None


CHECKOUT = checkout_of(Path(__file__).resolve())


def place(environment: Mapping[str, str], checkout: Path | None) -> Place:
    """The ``.env`` of ``MEDALLION_HOME``; else of the checkout; else the first from the working directory upwards.

    Without one, the folder is the checkout, or outside one the working directory. ``ConfigurationError`` for a folder
    that is not there, and where something else than a file has the name.
    """
    try:
        here = Path.cwd()
    except OSError as error:
        raise _refused(f"the working directory is gone: {error.strerror}", "go to one that is there (cd)") from None
    if home := environment.get(HOME):
        folder = here / Path(home).expanduser()
        if not folder.is_dir():
            raise _refused(f"{HOME}: there is no folder {folder}", "correct it, or unset it")
        return _in(folder) or Place(None, folder, f"there is no .env in {folder} ({HOME})")
    looked_in = [folder for folder in (checkout, here) if folder]
    for folder in looked_in:
        if found := _in(folder):
            return found
    if above := find_dotenv(usecwd=True):
        return _of(Path(above))
    nowhere = " or ".join(dict.fromkeys(map(str, looked_in)))
    return Place(None, checkout or here, f"there is no .env in {nowhere}, nor above")


def _in(folder: Path) -> Place | None:
    file = folder / ".env"
    if not os.path.lexists(file):
        return None
    if file.is_dir():
        raise _refused(f"{file} is a directory, not a file", "write the settings to a file of that name (.env.example)")
    return _of(file)


def _of(file: Path) -> Place:
    return Place(file, file.parent, f"read from {file}")


def left_behind(where: Place, here: Path, data: str | None) -> Iterator[str]:
    """What the working directory has and a checkout's folder goes before: a ``.env``, and a lakehouse.

    ``data``: the default of ``DATA_DIR``; None where that is set.
    """
    if where.folder == here:
        return
    use = f"is not used: {where.folder} goes before it, unless you set {HOME}={shlex.quote(str(here))}"
    if (here / ".env").is_file():
        yield f"{here / '.env'} {use}"
    if data and (here / data / "bucket").is_dir():
        yield f"the lakehouse in {here / data} {use}"


def read(where: Place, environment: Mapping[str, str], settings: Collection[str], paths: Collection[str]) -> Found:
    """What the place's ``.env`` sets of ``settings`` (names in upper case), those of ``paths`` as whole paths.

    One ``ConfigurationError`` names every line that is refused, and every variable of the environment.
    """
    refused = list(strangers(environment, settings))
    if where.file is None:
        bindings: list[Binding] = []
    else:
        bindings = list(parse_stream(io.StringIO(_text(where.file))))
        refused = [f"{where.file}: {words}" for words in refusals(bindings, settings)] + refused
    if refused:
        raise _refused("; ".join(refused), "correct that (.env.example has every name), then run again")
    last = {_name(one): one.value for one in bindings}
    values = {name: value for name, value in last.items() if value and name in settings}
    for name in values.keys() & set(paths):
        if not values[name].startswith("~"):
            values[name] = str(where.folder / values[name])
    return Found(where, values, [f"{where.file}: {words}" for words in warnings(bindings, settings)])


def _text(file: Path) -> str:
    """The file's text. ``ConfigurationError`` if it cannot be read, or is not UTF-8."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise _refused(f"{file} cannot be read: {error.strerror}", "make it readable for whoever runs this") from None
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content:
        what, who = "UTF-16", "as PowerShell's > and Notepad's Unicode write it"
        line = 1
    else:
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            what, who = "not UTF-8", "but Latin-1 or Windows-1252, perhaps"
            line = content.count(b"\n", 0, error.start) + 1
    raise _refused(f"{file}: line {line}: it is {what}, {who}", "save the file as UTF-8 in your editor, then run again")


def refusals(bindings: Sequence[Binding], settings: Collection[str]) -> Iterator[str]:
    """What is wrong with a ``.env``, each with its line: what is not ``NAME=value``, and names that are like ours."""
    for binding in bindings:
        if reason := _wrong(binding, settings):
            yield f"line {_line(binding)}: {reason}"


def _wrong(binding: Binding, settings: Collection[str]) -> str | None:
    if binding.error:
        return _broken(binding.original.string.strip())
    if binding.key is None:  # a comment, or nothing
        return None
    name, value = _name(binding), binding.value
    if value is None:
        colon = re.match(r"\w+:", binding.key)
        return "it has a colon where = belongs" if colon else "there is no = in it: it sets nothing"
    if name in settings:
        if "\n" in value or "\r" in value:
            return f"the value of {name} goes on to another line: is its quote closed?"
        if "${" in value:
            return f"the value of {name} holds ${{, which is a reference to another name: in a URL write %24%7B instead"
        return None
    if _is_known_elsewhere(name):
        return None
    if name.startswith(OURS_BY_PREFIX) or _like(name, settings):
        return f"{name} is not a setting; the nearest name is {nearest(name, {*settings, *ELSEWHERE})}"
    if not re.fullmatch(r"[\w.-]+", name):
        return "a name has letters, digits and _ only"
    swallowed = [found for found in re.findall(r"^\s*(?:export\s+)?(\w+)\s*=", value, re.M) if found in settings]
    if swallowed:
        return f"its value goes on over the line of {swallowed[0]}: is its quote closed?"
    return None


def _broken(text: str) -> str:
    """Why python-dotenv cannot read this as ``NAME=value``, without showing any of it."""
    if quoted := re.match(r"""(?:export\s+)?[^=#\s]+\s*=[^\S\r\n]*(['"])""", text):
        quote = quoted[1]
        closed = re.match(rf"(?:\\.|[^\\{quote}])*{quote}", text[quoted.end() :], re.DOTALL)
        on_this_line = closed is not None and "\n" not in closed[0]
        return "something follows the closing quote" if on_this_line else "its quote is not closed"
    if re.match(r"set\s", text, re.IGNORECASE):
        return "it begins with set: write NAME=value"
    if re.match(r"\w+\s*:", text):
        return "it has a colon where = belongs"
    return "it is not NAME=value"


def warnings(bindings: Sequence[Binding], settings: Collection[str]) -> Iterator[str]:
    """What people should know of a ``.env`` that is not refused, in a line each."""
    for binding in bindings:
        raw = binding.original.string
        if _name(binding) in settings and re.search(r"=\s*[^'\s].*\$[A-Za-z_$]", raw) and "$" in (binding.value or ""):
            yield (
                f"line {_line(binding)}: docker compose reads the $ in {_name(binding)} as something else: "
                f"write {_name(binding)}='…'"
            )
    unknown = [
        # What is not written like a name may be a piece of a secret.
        f"{binding.key} (line {_line(binding)})" if binding.key.isupper() else f"a name in line {_line(binding)}"
        for binding in bindings
        if binding.key and _name(binding) not in settings and not _is_known_elsewhere(_name(binding))
    ]
    if unknown:
        yield f"not settings of this program, and not used by it: {', '.join(unknown)}"


def strangers(environment: Mapping[str, str], settings: Collection[str]) -> Iterator[str]:
    """Variables of the environment that are mistyped ``SOURCE_…``, ``LAKEHOUSE_…`` or ``BUCKET_NAME``.

    Everything else there is somebody else's. In a container that Compose made every line of ``.env`` comes this way:
    there what is refused in ``.env`` is refused, too.
    """
    ours = [name for name in settings if name.startswith(OURS_BY_PREFIX)]
    meant = settings if environment.get(OF_COMPOSE) else ours
    for name in map(str.upper, environment):
        if name in settings or _is_known_elsewhere(name):
            continue
        if _like(name, meant) or (meant is settings and name.startswith(OURS_BY_PREFIX)):
            yield f"{name}, in the environment, is not a setting; the nearest name is {nearest(name, meant)}"


def nearest(name: str, known: Collection[str]) -> str:
    """The known name that is reached with the fewest errors."""
    return min(known, key=lambda one: (typing_errors(name, one), one))


def typing_errors(written: str, meant: str) -> int:
    """How many letters are missing, too many, wrong, or changed places with the next.

    Source: F. Damerau, "A technique for computer detection and correction of spelling errors", 1964 (the restricted
    distance, in which no letter is corrected twice).
    """
    before: list[int] = []
    last = list(range(len(meant) + 1))
    for i, letter in enumerate(written, 1):
        row = [i]
        for j, right in enumerate(meant, 1):
            row.append(min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != right)))
            if i > 1 and j > 1 and (letter, written[i - 2]) == (meant[j - 2], right):
                row[j] = min(row[j], before[j - 2] + 1)
        before, last = last, row
    return last[-1]


def _like(name: str, known: Collection[str]) -> bool:
    letters = set(name)
    return any(
        len(one) >= FEWEST_LETTERS
        and abs(len(one) - len(name)) <= MOST_ERRORS  # so many are missing or too many at least
        and len(letters.symmetric_difference(one)) <= 2 * MOST_ERRORS  # one error takes away one letter and brings one
        and typing_errors(name, one) <= MOST_ERRORS
        for one in known
    )


def _is_known_elsewhere(name: str) -> bool:
    return name in ELSEWHERE or name.startswith(ELSEWHERE_PREFIXES)


def _name(binding: Binding) -> str:
    return (binding.key or "").upper()


def _line(binding: Binding) -> int:
    """The line on which it stands; python-dotenv counts the empty lines before it as its own."""
    text = binding.original.string
    blank = text[: len(text) - len(text.lstrip())]
    return binding.original.line + len(re.findall(r"\r\n|\n|\r", blank))


def _refused(what: str, next_step: str) -> ConfigurationError:
    return ConfigurationError(what, kept="nothing was read or written", next_step=next_step)
