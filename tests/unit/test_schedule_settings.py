"""The scheduler's settings: defaults, errors that name the variable, secrets, and which ends are kept awake."""

import pytest

from elt.errors import ConfigurationError
from elt.settings import load_settings


def test_the_defaults_need_nothing() -> None:
    settings = load_settings()
    assert (settings.schedule, settings.tz) == ("0 2 1 */2 *", "America/Sao_Paulo")
    assert (settings.alert_webhook, settings.heartbeat_url, settings.alert_on_success) == (None, None, False)
    assert (settings.alert_quarantine_above, settings.log_format, settings.kept_awake) == (None, "plain", ())


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALERT_WEBHOOK", "hooks.example.org/s3cret"),
        ("HEARTBEAT_URL", "ftp://example.org/s3cret"),
        ("ALERT_QUARANTINE_ABOVE", "-1"),
        ("ALERT_ON_SUCCESS", "s3cret"),
        ("KEEP_ALIVE", "s3cret"),
        ("LOG_FORMAT", "s3cret"),
    ],
)
def test_a_wrong_value_is_named_and_not_shown(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=f"^{variable}: ") as caught:
        load_settings()
    assert "s3cret" not in str(caught.value)


def test_addresses_are_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERT_WEBHOOK", "https://example.org/s3cret")
    monkeypatch.setenv("HEARTBEAT_URL", "https://example.org/s3cret")
    settings = load_settings()
    assert "s3cret" not in f"{settings!r} {settings} {settings.model_dump_json()}"


@pytest.mark.parametrize(
    ("variable", "host", "ends"),
    [
        ("SOURCE_DB_URL", "db.abcdefgh.supabase.co", ("source",)),
        ("LAKEHOUSE_DB_URL", "aws-0-sa-east-1.pooler.supabase.com", ("lakehouse",)),
        ("LAKEHOUSE_DB_URL", "db.example.org", ()),
        ("LAKEHOUSE_DB_URL", "notsupabase.co", ()),
    ],
)
def test_hosted_projects_are_kept_awake_by_default(
    variable: str, host: str, ends: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, f"postgresql://postgres:x@{host}:5432/postgres")
    assert load_settings().kept_awake == ends


def test_keep_alive_decides_for_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEP_ALIVE", "true")
    assert load_settings().kept_awake == ("source", "lakehouse")
    monkeypatch.setenv("SOURCE_DB_URL", "postgresql://postgres:x@db.abcdefgh.supabase.co:5432/postgres")
    monkeypatch.setenv("KEEP_ALIVE", "false")
    assert load_settings().kept_awake == ()
