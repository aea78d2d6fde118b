"""How much bronze may hold: what is warned of, what is refused, and how it is set."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elt.connections import quota_of
from elt.errors import ConfigurationError, Full
from elt.lakehouse.quota import FREE_BYTES, Quota
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


@pytest.mark.parametrize("text", ["0", "-1", "1,5GB", "1.000MB", "1 000 MB", "um giga", "1GBs", "GB"])
def test_a_size_that_could_mean_something_else_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_QUOTA", text)
    with pytest.raises(ConfigurationError, match=r"^STORAGE_QUOTA: "):
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
