"""Every release is kept, once; and what a later version changes in its figures stands in a decision record."""

import re
from pathlib import Path

import pytest
from dotenv import dotenv_values

from elt.environment import ELSEWHERE
from elt.settings import Settings
from tests.releases import keep
from tests.releases.differences import DIFFERENCES
from tests.releases.kept import FIRST, number, releases, to_install

ROOT = Path(__file__).parents[2]
DECISIONS = ROOT / "docs" / "decisions"
SECRETS = ("LAKEHOUSE_KEY", "LAKEHOUSE_DB_URL", "SUPABASE_KEY", "SOURCE_DB_URL", "POSTGRES_PASSWORD", "JWT_SECRET")


def test_every_release_since_the_first_that_was_kept_is_kept() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    numbers = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", changelog, re.MULTILINE)
    kept = [kept.release for kept in releases()]
    assert kept == [release for release in reversed(numbers) if number(release) >= FIRST]


def test_what_is_kept_is_the_release_that_it_is_called() -> None:
    for kept in releases():
        assert kept.document["release"] == kept.release
        assert re.fullmatch(r"[0-9a-f]{40}", kept.document["commit"])
        assert kept.wheel.name.split("-")[1] == kept.release


def test_what_is_kept_is_not_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "1.2.3").mkdir()
    monkeypatch.setattr(keep, "FOLDER", tmp_path)
    monkeypatch.setattr(keep, "_git", lambda *_: "a commit\n")
    monkeypatch.setattr(keep, "_release_of", lambda _: "1.2.3")
    with pytest.raises(keep.CannotBeKeptError, match=r"1\.2\.3 is kept already"):
        keep.main()
    assert list((tmp_path / "1.2.3").iterdir()) == []


def test_every_setting_of_a_kept_release_is_still_one_and_its_env_holds_no_secret() -> None:
    for kept in releases():
        text = (kept.folder / "env").read_text(encoding="utf-8")
        names = set(re.findall(r"^#?([A-Z][A-Z_]+)=", text, re.MULTILINE))
        assert names >= {"DATA_DIR", "LAKEHOUSE_URL", "SOURCE_FILES"}
        assert names <= {*map(str.upper, Settings.model_fields), *ELSEWHERE, "COMPOSE_FILE"}
        values = dotenv_values(kept.folder / "env")
        assert not set(SECRETS) & values.keys()
        assert {values[name] for name in ("ALERT_WEBHOOK", "HEARTBEAT_URL")} <= set(keep.SETTINGS.values())


def test_a_kept_env_sets_what_has_a_value() -> None:
    example = "# words\n#DATA_DIR=data\n#LAKEHOUSE_KEY=\n#TZ=America/Sao_Paulo\n"
    assert keep.env_of(example) == "# words\nDATA_DIR=data\n#LAKEHOUSE_KEY=\nTZ=America/Recife\n"


def test_a_figure_that_changed_is_named_by_a_decision_record() -> None:
    kept = {kept.release: kept.document["figures"] for kept in releases()}
    for one in DIFFERENCES:
        assert kept[one.release][one.moment][one.subject] != one.now
        record = (DECISIONS / one.decision).read_text(encoding="utf-8")
        assert one.release in record
        assert one.subject in record


def test_of_a_lock_only_what_is_installed_in_another_version_is_installed() -> None:
    hashed = " \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
    lock = "# words\n\n" + hashed.join(
        ("click==8.3.0", "numpy==2.4.6", "colorama==0.4.6 ; sys_platform == 'win32'", "old-server==1", "gone==2.0", "")
    )
    installed = {"click": "8.5.1", "numpy": "2.4.6", "colorama": "0.1"}
    found = to_install(lock, installed, direct={"click", "numpy", "gone"})
    assert [entry.split(" \\")[0] for entry in found] == ["click==8.3.0", "gone==2.0"]
    assert all(entry.endswith("--hash=sha256:bb") for entry in found)
