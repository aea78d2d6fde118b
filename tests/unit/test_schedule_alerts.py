"""Alerts: what is sent, in which shape, and that sending them never breaks anything or tells a secret."""

import io
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from elt.alerts import DISCORD_CHARACTERS, REDIRECTS, TRIES, Alert, Alerts, payload
from elt.progress import JsonReporter
from elt.redaction import HIDDEN, know
from tests.commands import json_lines
from tests.listening import Listener, listening

NOW = datetime(2026, 3, 1, 5, tzinfo=UTC)
ALERT = Alert("run_failed", "The run failed", "no space <left> & right", "free some", "ab12")
SECRET = "hooks/T0P-s3cret"


@pytest.fixture
def listener() -> Iterator[Listener]:
    with listening() as found:
        yield found


@pytest.fixture
def log() -> io.StringIO:
    return io.StringIO()


def alerts_to(url: str, log: io.StringIO) -> Alerts:
    return Alerts(SecretStr(f"{url}/{SECRET}"), SecretStr(f"{url}/{SECRET}"), JsonReporter(log), pause_seconds=0)


def test_an_alert_is_json_with_a_field_for_each_fact() -> None:
    assert {
        name: value for name, value in payload("https://example.org/x", ALERT, NOW).items() if name != "program"
    } == {
        "event": "run_failed",
        "title": "The run failed",
        "text": "no space <left> & right",
        "next": "free some",
        "run": "ab12",
        "time": "2026-03-01T05:00:00+00:00",
    }


def test_slack_gets_its_shape_with_its_signs_escaped() -> None:
    assert payload("https://hooks.slack.com/services/T/B/x", ALERT, NOW) == {
        "text": "medallion: The run failed\nno space &lt;left&gt; &amp; right\nNext: free some"
    }


@pytest.mark.parametrize("host", ["discord.com", "discordapp.com", "ptb.discord.com", "canary.discord.com"])
def test_discord_gets_its_shape_and_nobody_is_mentioned(host: str) -> None:
    assert payload(f"https://{host}/api/webhooks/1/x", ALERT, NOW) == {
        "content": "medallion: The run failed\nno space <left> & right\nNext: free some",
        "allowed_mentions": {"parse": []},
    }


def test_discord_gets_no_more_than_it_takes() -> None:
    long = Alert("run_failed", "The run failed", "x" * 5_000)
    assert len(str(payload("https://discord.com/api/webhooks/1/x", long, NOW)["content"])) == DISCORD_CHARACTERS


def test_a_host_that_only_looks_like_slack_gets_the_generic_shape() -> None:
    assert "event" in payload("https://hooks.slack.com.example.org/x", ALERT, NOW)


def test_an_alert_is_posted(listener: Listener, log: io.StringIO) -> None:
    alerts_to(listener.url, log).send(ALERT)
    assert [(method, path) for method, path, _ in listener.received] == [("POST", f"/{SECRET}")]
    assert listener.documents[0]["event"] == "run_failed"
    assert log.getvalue() == ""


def test_the_dead_mans_switch_is_a_plain_get(listener: Listener, log: io.StringIO) -> None:
    alerts_to(listener.url, log).ping()
    assert listener.received == [("GET", f"/{SECRET}", b"")]


def test_a_webhook_that_stumbles_is_tried_again(listener: Listener, log: io.StringIO) -> None:
    listener.answers = [503, 500]
    alerts_to(listener.url, log).send(ALERT)
    assert len(listener.received) == 3
    assert log.getvalue() == ""


def test_an_alert_that_cannot_be_sent_is_logged_without_its_address(listener: Listener, log: io.StringIO) -> None:
    listener.answers = [404] * TRIES
    alerts_to(listener.url, log).send(ALERT)
    line = json_lines(log.getvalue())[0]
    assert (line["level"], line["message"]) == ("warning", "ALERT_WEBHOOK could not be reached: HTTP 404")


def test_an_alert_holds_no_secret(listener: Listener, log: io.StringIO) -> None:
    know(["postgresql://dona:s3nh4-forte@h/x"])
    told = Alert("run_failed", "s3nh4-forte failed", "no s3nh4-forte", "drop s3nh4-forte", "s3nh4-forte")
    alerts_to(listener.url, log).send(told)
    (sent,) = listener.documents
    assert (sent["title"], sent["text"], sent["next"]) == (f"{HIDDEN} failed", f"no {HIDDEN}", f"drop {HIDDEN}")


def test_a_heartbeat_follows_its_own_host_only(listener: Listener, log: io.StringIO) -> None:
    listener.redirects[f"/{SECRET}"] = f"{listener.url}/moved"
    alerts_to(listener.url, log).ping()
    assert [path for _, path, _ in listener.received] == [f"/{SECRET}", "/moved"]
    assert log.getvalue() == ""
    with listening() as elsewhere:
        listener.redirects["/moved"] = elsewhere.url.replace("127.0.0.1", "localhost") + f"/{SECRET}"
        alerts_to(listener.url, log).ping()
        assert elsewhere.received == []
    line = json_lines(log.getvalue())[0]
    assert line["message"] == (
        "HEARTBEAT_URL could not be reached: HTTP 307, a redirect to localhost: set HEARTBEAT_URL to the address it "
        "leads to"
    )


def test_a_heartbeat_that_redirects_for_ever_ends(listener: Listener, log: io.StringIO) -> None:
    listener.redirects[f"/{SECRET}"] = f"{listener.url}/{SECRET}"
    alerts_to(listener.url, log).ping()
    assert len(listener.received) == TRIES * (1 + REDIRECTS)
    assert json_lines(log.getvalue())[0]["level"] == "warning"


def test_an_alert_follows_no_redirect(listener: Listener, log: io.StringIO) -> None:
    listener.redirects[f"/{SECRET}"] = f"{listener.url}/moved"
    alerts_to(listener.url, log).send(ALERT)
    assert {path for _, path, _ in listener.received} == {f"/{SECRET}"}
    assert "a redirect to 127.0.0.1: set ALERT_WEBHOOK to the address" in str(json_lines(log.getvalue())[0]["message"])


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://no-such-host.invalid", "http://[broken", "http://\x00"])
def test_no_address_whatsoever_raises_or_is_shown(url: str, log: io.StringIO) -> None:
    alerts = alerts_to(url, log)
    alerts.send(ALERT)
    alerts.ping()
    assert [line["level"] for line in json_lines(log.getvalue())] == ["warning", "warning"]
    assert SECRET not in log.getvalue() + repr(alerts)


def test_without_addresses_nothing_is_sent(log: io.StringIO) -> None:
    alerts = Alerts(None, None, JsonReporter(log))
    alerts.send(ALERT)
    alerts.ping()
    assert log.getvalue() == ""
