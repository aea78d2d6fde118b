"""How much bronze and the database may hold: what is warned of, what is refused, and how it is set."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elt.connections import database_quota_of, quota_of
from elt.errors import ConfigurationError, Full
from elt.lakehouse.quota import FREE_BYTES, FREE_DATABASE_BYTES, DatabaseQuota, Quota
from elt.settings import load_settings

SIZES = st.integers(0, 10**13)


@given(limit=st.integers(1, 10**13), held=SIZES, more=SIZES)
def test_only_what_would_pass_a_quota_that_was_set_is_refused(limit: int, held: int, more: int) -> None:
    Quota(limit, enforced=False).require(held, more)
    quota = Quota(limit, enforced=True)
    if held + more <= limit:
        quota.require(held, more)
    else:
        with pytest.raises(Full, match="STORAGE_QUOTA") as caught:
            quota.require(held, more)
        assert caught.value.kept == "nothing was written"
        assert caught.value.exit_code == 1


@given(limit=st.integers(1, 10**13), held=SIZES, enforced=st.booleans())
def test_a_warning_begins_at_80_per_cent(limit: int, held: int, enforced: bool) -> None:
    assert bool(Quota(limit, enforced).warning(held)) == (held >= limit * 0.8)


def test_a_free_projects_warning_says_what_happens_and_what_helps() -> None:
    words = Quota(FREE_BYTES, enforced=False).warning(850_000_000)
    for said in ("850.0 MB of the 1.0 GB", "free", "deletes too", "KEEP_SNAPSHOTS", "STORAGE_QUOTA"):
        assert said in words


@pytest.mark.parametrize(
    ("text", "size"),
    [("1000000", 10**6), ("1GB", 10**9), ("500MB", 5 * 10**8), ("1.5 gb", 15 * 10**8), ("1GiB", 2**30)],
)
def test_a_quota_is_set_in_bytes_or_with_a_unit(text: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_QUOTA", text)
    assert quota_of(load_settings()) == Quota(size, enforced=True)


@pytest.mark.parametrize("setting", ["STORAGE_QUOTA", "DATABASE_QUOTA"])
@pytest.mark.parametrize("text", ["0", "-1", "1,5GB", "1.000MB", "1 000 MB", "um giga", "1GBs", "GB"])
def test_a_size_that_could_mean_something_else_is_refused(
    text: str, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(setting, text)
    with pytest.raises(ConfigurationError, match=rf"^{setting}: "):
        load_settings()


@pytest.mark.parametrize("text", ["0", "-3", "six"])
def test_at_least_one_snapshot_is_kept(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEP_SNAPSHOTS", text)
    with pytest.raises(ConfigurationError, match=r"^KEEP_SNAPSHOTS: "):
        load_settings()


@pytest.mark.parametrize(
    ("url", "quota"),
    [
        ("https://abcdefgh.supabase.co", Quota(FREE_BYTES, enforced=False)),
        ("http://127.0.0.1:8000", None),  # a Supabase of one's own has a disk, and no plan
        ("https://supabase.example.org", None),
    ],
)
def test_without_a_setting_a_hosted_project_is_taken_for_a_free_one(
    url: str, quota: Quota | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_URL", url)
    monkeypatch.setenv("LAKEHOUSE_KEY", "sb_secret_x")
    assert quota_of(load_settings()) == quota


def test_a_folder_has_no_quota_but_the_one_that_is_set() -> None:
    assert quota_of(load_settings()) is None


@given(limit=st.integers(1, 10**13), held=SIZES, more=SIZES)
def test_only_a_load_that_would_pass_a_databases_quota_that_was_set_is_refused(
    limit: int, held: int, more: int
) -> None:
    DatabaseQuota(limit, enforced=False).require(held, more)
    quota = DatabaseQuota(limit, enforced=True)
    assert quota.warning(held, more) == ""
    if held + more <= limit:
        quota.require(held, more)
    else:
        with pytest.raises(Full, match="DATABASE_QUOTA") as caught:
            quota.require(held, more)
        assert (caught.value.kept, caught.value.exit_code) == ("nothing was written", 1)
        assert "raise DATABASE_QUOTA" in caught.value.next_step


@given(held=SIZES, more=SIZES)
def test_a_free_project_is_warned_of_a_load_that_does_not_fit(held: int, more: int) -> None:
    warning = DatabaseQuota(FREE_DATABASE_BYTES, enforced=False).warning(held, more)
    assert bool(warning) == (held + more > 500_000_000)
    if warning:
        for said in ("a free project has 500.0 MB", "staging", "indexes", "DATABASE_QUOTA"):
            assert said in warning


@pytest.mark.parametrize(
    ("settings", "quota"),
    [
        ({"LAKEHOUSE_URL": "https://abc.supabase.co"}, DatabaseQuota(FREE_DATABASE_BYTES, enforced=False)),
        ({"LAKEHOUSE_DB_URL": "postgresql://u@db.abc.supabase.co/postgres"}, DatabaseQuota(500 * 10**6, False)),
        # Bronze in a project, but silver and gold elsewhere.
        ({"LAKEHOUSE_URL": "https://abc.supabase.co", "LAKEHOUSE_DB_URL": "postgresql://u@db.example.org/x"}, None),
        ({"LAKEHOUSE_URL": "http://127.0.0.1:8000"}, None),
        ({"LAKEHOUSE_DB_URL": "postgresql://u@127.0.0.1/x"}, None),
        ({}, None),
        ({"DATABASE_QUOTA": "8GB"}, DatabaseQuota(8 * 10**9, enforced=True)),
        ({"DATABASE_QUOTA": "1.5 gb", "LAKEHOUSE_URL": "https://abc.supabase.co"}, DatabaseQuota(15 * 10**8, True)),
    ],
)
def test_a_hosted_database_is_taken_for_a_free_projects_and_any_has_the_quota_that_is_set(
    settings: dict[str, str], quota: DatabaseQuota | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    if "LAKEHOUSE_URL" in settings:
        monkeypatch.setenv("LAKEHOUSE_KEY", "sb_secret_x")
    assert database_quota_of(load_settings()) == quota
