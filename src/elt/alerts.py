"""Alerts to a webhook, and the dead-man switch. Neither ever breaks a run, and their addresses are secrets."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from elt import __version__
from elt.progress import Reporter, about
from elt.redaction import redacted
from elt.settings import Settings

TRIES = 3
PAUSE_SECONDS = 2.0
TIMEOUT_SECONDS = 10.0
REDIRECTS = 5
"""How many redirects of a heartbeat are followed, at most."""

DISCORD_CHARACTERS = 2_000
"""The longest message Discord takes. Source: Discord's documentation, "Execute Webhook"."""


@dataclass(frozen=True)
class Alert:
    """One message. ``event`` is for programs.

    Events: run_failed, run_succeeded, quarantine, check_failed, check_warned, keep_awake_failed.
    """

    event: str
    title: str
    text: str
    next_step: str = ""
    run: str = ""


def payload(url: str, alert: Alert, now: datetime) -> dict[str, object]:
    """The alert as JSON: in Slack's or Discord's shape if the URL's host is theirs, else with a field for each fact."""
    host = urlsplit(url).hostname or ""
    lines = [f"medallion: {alert.title}", alert.text, *([f"Next: {alert.next_step}"] if alert.next_step else [])]
    if host == "hooks.slack.com" or host.endswith(".slack.com"):
        return {"text": "\n".join(lines).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")}
    if host.removeprefix("ptb.").removeprefix("canary.") in ("discord.com", "discordapp.com"):
        return {"content": "\n".join(lines)[:DISCORD_CHARACTERS], "allowed_mentions": {"parse": []}}
    facts = {"event": alert.event, "title": alert.title, "text": alert.text, "next": alert.next_step, "run": alert.run}
    return {**facts, "time": now.isoformat(timespec="seconds"), "program": f"medallion {__version__}"}


@dataclass(frozen=True)
class Alerts:
    """Where alerts go and which are wanted; without addresses, nowhere."""

    webhook: SecretStr | None
    heartbeat: SecretStr | None
    reporter: Reporter
    on_success: bool = False
    quarantine_above: int | None = None
    pause_seconds: float = field(default=PAUSE_SECONDS)

    @classmethod
    def of(cls, settings: Settings, reporter: Reporter) -> "Alerts":
        """As the settings say."""
        return cls(
            settings.alert_webhook,
            settings.heartbeat_url,
            reporter,
            on_success=settings.alert_on_success,
            quarantine_above=settings.alert_quarantine_above,
        )

    def send(self, alert: Alert) -> None:
        """Send the alert; one that cannot be sent is logged."""
        if self.webhook is not None:
            url = self.webhook.get_secret_value()
            said = {name: redacted(getattr(alert, name)) for name in ("title", "text", "next_step")}
            told = replace(alert, **said)
            self._try(
                "ALERT_WEBHOOK",
                lambda: httpx.post(url, json=payload(url, told, datetime.now(UTC)), timeout=TIMEOUT_SECONDS),
            )

    def ping(self) -> None:
        """Tell the dead-man switch that a run succeeded."""
        if self.heartbeat is not None:
            url = self.heartbeat.get_secret_value()
            self._try("HEARTBEAT_URL", lambda: _get(url))

    def _try(self, variable: str, request: Callable[[], httpx.Response]) -> None:
        problem = ""
        for attempt in range(TRIES):
            if attempt:
                time.sleep(self.pause_seconds)
            try:
                answer = request()
            except Exception as error:  # whatever an address can make of a request, it must not end a run
                problem = type(error).__name__  # its words may hold the address
                continue
            if answer.is_success:
                return
            problem = f"HTTP {answer.status_code}"
            if answer.next_request is not None:
                problem += f", a redirect to {answer.next_request.url.host}: set {variable} to the address it leads to"
        with about(level="warning"):
            self.reporter.say(f"{variable} could not be reached: {problem}")


def _get(url: str) -> httpx.Response:
    """The answer, after redirects to the same host: the address is a secret, and another host has no business with it.

    Nor does a network: what began encrypted stays so.
    """
    with httpx.Client(timeout=TIMEOUT_SECONDS) as client:
        answer = client.get(url)
        for _ in range(REDIRECTS):
            onward, sent = answer.next_request, answer.url
            if onward is None or onward.url.host != sent.host or (sent.scheme, onward.url.scheme) == ("https", "http"):
                break
            answer = client.send(onward)
        return answer
