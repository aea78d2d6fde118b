"""The filter that every message passes: it hides the configured secrets, whole and by part, and nothing else."""

import base64
import html
import io
import json
import logging
import re
import threading
import warnings
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from elt.progress import JsonReporter, PlainReporter, TerminalReporter, about
from elt.redaction import ANYWHERE, HIDDEN, ORDINARY, SHORTEST, interpreter_filtered, know, redacted, traceback_of
from elt.settings import load_settings
from tests.commands import json_lines

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.dBjftJeZ4CVPmB92K27uhbUJU1p1r_wW1gFWFOEjXk"
KEY = "sb_secret_N7UND0UgjKTVK-Uodkm0Hg_xSvEMPvz"
DIFFICULT = 'a@SEKRET/é "1\\2"%'

PASSWORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=ANYWHERE).filter(
    lambda text: text not in ORDINARY
)


def database(password: str, user: str = "dona", name: str = "loja") -> str:
    return f"postgresql://{user}:{quote(password, safe='')}@db.example.org:5432/{name}"


def test_without_settings_a_message_is_as_it_was() -> None:
    assert redacted(f"the key {KEY}") == f"the key {KEY}"


@pytest.mark.parametrize(
    ("secret", "part"),
    [
        (KEY, KEY),
        (KEY, "N7UND0UgjKTVK-Uodkm0Hg_xSvEMPvz"),
        *((JWT, segment) for segment in (JWT, *JWT.split("."))),
        (database(DIFFICULT), database(DIFFICULT)),
        (database(DIFFICULT), DIFFICULT),
        (database(DIFFICULT), quote(DIFFICULT, safe="")),
        (database("p%4ass-word"), "p%4ass-word"),
        ("postgresql://dona:%70assw0rd%31@h/x", "%70assw0rd%31"),
        ("postgresql://dona:%70assw0rd%31@h/x", "passw0rd1"),
        ("postgresql://h/x?user=dona&password=passw0rd%31", "passw0rd1"),
        ("host=h user=dona password=passw0rd1", "passw0rd1"),
        (r"host=h user=dona password='it\'s a secret'", "it's a secret"),
        ("https://hooks.slack.com/services/T024BE7LD/B024BE7LH/X5GJ", "X5GJ"),
        ("https://hooks.slack.com/services/T024BE7LD/B024BE7LH/X5GJ", "T024BE7LD"),
        ("https://discord.com/api/webhooks/123456/a-Token", "api/webhooks/123456/a-Token"),
        ("https://ntfy.sh/minhaloja", "minhaloja"),
        ("https://example.org/hook?token=a1b2c3d4&state=done", "a1b2c3d4"),
        ("https://eu:s3nh4-forte@example.org/hook", "s3nh4-forte"),
    ],
)
def test_a_secret_is_hidden_whole_and_by_part(secret: str, part: str) -> None:
    know([secret])
    assert redacted(f"the server said: {part}.") == f"the server said: {HIDDEN}."


def test_what_is_no_secret_of_an_address_stays() -> None:
    know([database(DIFFICULT), "https://hooks.slack.com/services/T024BE7LD/X5GJ?state=complete"])
    said = 'no services for user "dona" of loja at db.example.org:5432; hooks.slack.com is complete'
    assert redacted(said) == said


def _small(encoded: str) -> str:
    return re.sub("%..", lambda found: found[0].lower(), encoded)


def encodings(text: str) -> list[str]:
    """The text as libraries and servers may write it."""
    return [
        text,
        *(quote(text), quote(text, safe=""), quote_plus(text), _small(quote(text)), quote(quote(text))),
        *(json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], json.dumps(json.dumps(text))[3:-3]),
        *(repr(text)[1:-1], ascii(text)[1:-1], html.escape(text)),
    ]


@settings(max_examples=30)
@given(PASSWORDS)
@example("0000000\U00010000")
@example(DIFFICULT)
@example("\\\\\\\\\\\\\\\\")
def test_a_long_password_is_hidden_in_every_encoding_and_wherever_it_stands(password: str) -> None:
    know([f"postgresql://dona:{quote(password, safe='')}@h/x"])
    for written in encodings(password):
        assert redacted(f"<{written}>") == f"<{HIDDEN}>"
        assert HIDDEN in redacted(f"x{written}x")


@settings(max_examples=30)
@given(st.binary(max_size=9), PASSWORDS, st.binary(max_size=9))
@example(b"dona:", DIFFICULT, b"")
def test_a_secret_inside_base64_is_hidden_at_every_offset(before: bytes, password: str, after: bytes) -> None:
    know([f"postgresql://dona:{quote(password, safe='')}@h/x"])
    text = before + password.encode() + after
    for written in (base64.b64encode(text).decode(), base64.urlsafe_b64encode(text).decode()):
        hidden = redacted(f"Basic {written}")
        assert HIDDEN in hidden
        # What is left at both ends decides no whole character of the password.
        assert (
            len(hidden)
            <= len("Basic ") + len(HIDDEN) + len(base64.b64encode(before)) + len(base64.b64encode(after)) + 8
        )


def test_a_short_part_is_hidden_as_a_whole_word_only() -> None:
    know([database("s3nh4")])
    assert redacted('"s3nh4", s3nh4@host and s3nh45, as3nh4') == f'"{HIDDEN}", {HIDDEN}@host and s3nh45, as3nh4'


@pytest.mark.parametrize("password", ["a", "of", "1", "abc", "postgres", "password", "loja", "dona", "status"])
def test_a_password_that_is_no_secret_does_not_make_messages_unreadable(password: str) -> None:
    """It is too short, a word of every message, or the user's name: hidden where it stands as a password."""
    assert len(password) < SHORTEST or password in ORDINARY or password in ("loja", "dona")
    know([database(password)])
    said = f"a password of postgres, {password} for user dona of loja: 1 row abc; medallion status"
    assert redacted(said) == said
    assert redacted(f"dona:{password}@host") == f"dona:{HIDDEN}@host"
    assert redacted(f"user=dona password={password} host=h") == f"user=dona password={HIDDEN} host=h"


def test_the_end_of_a_password_that_a_library_takes_for_the_host_is_hidden() -> None:
    know([database("a@SEKRET")])
    assert (
        redacted("failed to resolve host 'SEKRET@db.example.org'")
        == f"failed to resolve host '{HIDDEN}@db.example.org'"
    )


def test_loading_the_settings_tells_the_filter_what_to_hide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", "https://abc.supabase.co")
    monkeypatch.setenv("SUPABASE_KEY", KEY)
    monkeypatch.setenv("LAKEHOUSE_DB_URL", database("bronze-bucket"))
    monkeypatch.setenv("HEARTBEAT_URL", "https://hc-ping.com/5b9b44a1-6d5f")
    load_settings()
    said = "{} of https://abc.supabase.co, 5b9b44a1-6d5f of hc-ping.com, the bucket bronze-bucket"
    assert redacted(said.format(KEY)) == said.format(HIDDEN).replace("5b9b44a1-6d5f", HIDDEN)


# What passes it


def test_every_kind_of_log_line_is_filtered() -> None:
    know([database(DIFFICULT)])
    plain, json_log, terminal = io.StringIO(), io.StringIO(), io.StringIO()
    console = Console(file=terminal, force_terminal=True, width=20)
    for reporter in (PlainReporter(plain), JsonReporter(json_log), TerminalReporter(console)):
        with about(level="warning", next=f"drop {DIFFICULT}", kept=DIFFICULT, rows=3):
            reporter.say(f"a line with {DIFFICULT} in it")
    assert plain.getvalue().endswith(f" a line with {HIDDEN} in it\n")
    (line,) = json_lines(json_log.getvalue())
    assert (line["message"], line["next"], line["kept"]) == (f"a line with {HIDDEN} in it", f"drop {HIDDEN}", HIDDEN)
    assert (line["level"], line["rows"]) == ("warning", 3)
    assert "SEKRET" not in terminal.getvalue()  # where the terminal breaks the line makes no difference
    assert HIDDEN in terminal.getvalue()


def test_a_field_for_programs_stays_what_it_is() -> None:
    know([database("silver")])
    log = io.StringIO()
    with about(layer="silver"):
        JsonReporter(log).say("done")
    assert json_lines(log.getvalue())[0]["layer"] == "silver"


def test_a_traceback_is_filtered_to_its_last_cause() -> None:
    know([database(DIFFICULT)])
    try:
        try:
            raise ValueError(f"no host {DIFFICULT!r}")
        except ValueError as cause:
            cause.add_note(f"asked for {database(DIFFICULT)}")
            raise ExceptionGroup("several", [RuntimeError(f"about {DIFFICULT}")]) from cause
    except ExceptionGroup as error:
        shown = traceback_of(error)
    assert "SEKRET" not in shown
    assert "ValueError" in shown
    assert "RuntimeError: about ***" in shown
    assert "test_redaction.py" in shown


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_python_prints_by_itself_is_filtered(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    know([KEY])

    def broken() -> None:
        raise RuntimeError(f"no thread for {KEY}")

    monkeypatch.setattr(logging.root, "handlers", [])
    with warnings.catch_warnings(), interpreter_filtered():
        warnings.simplefilter("default")
        warnings.warn(f"old {KEY}", stacklevel=1)
        logging.getLogger("some.library").warning("no answer for %s", KEY)
        thread = threading.Thread(target=broken)
        thread.start()
        thread.join()
    shown = capsys.readouterr().err
    assert KEY not in shown
    for said in (f"old {HIDDEN}", f"no answer for {HIDDEN}", f"no thread for {HIDDEN}"):
        assert said in shown
