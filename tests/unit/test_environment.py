"""Which ``.env`` is read, what in it is refused, and what its paths are relative to."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elt import environment
from elt.errors import ConfigurationError
from elt.settings import Settings, found, load_settings

ROOT = Path(__file__).parents[2]
NAMES = sorted(name.upper() for name in Settings.model_fields)


@pytest.fixture
def env(tmp_path: Path) -> Path:
    """The ``.env`` of the test's own folder; not there yet."""
    return tmp_path / ".env"


def refused() -> str:
    """What is said of the settings, with what was kept and what to do next."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert caught.value.exit_code == 2
    assert caught.value.kept == "nothing was read or written"
    return f"{caught.value.what} -> {caught.value.next_step}"


# --- Names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("SOURCE_FILE", "SOURCE_FILES"),
        ("SOURCEFILES", "SOURCE_FILES"),
        ("SOURCE-FILES", "SOURCE_FILES"),
        ("SUORCE_FILES", "SOURCE_FILES"),
        ("source_file", "SOURCE_FILES"),
        ("export SOURCE_FILE", "SOURCE_FILES"),
        (";SOURCE_FILES", "SOURCE_FILES"),
        ('"SOURCE_FILES"', "SOURCE_FILES"),
        ("SOURCE_FOLDER", "SOURCE_FILES"),
        ("SUPABASE_URI", "SUPABASE_URL"),
        ("SUPABSE_KEY", "SUPABASE_KEY"),
        ("DATADIR", "DATA_DIR"),
        ("SHEDULE", "SCHEDULE"),
        ("LAKEHOUSE_DB_URI", "LAKEHOUSE_DB_URL"),
        ("LAKEHOUSE_PORTS", "LAKEHOUSE_PORT"),
        ("LAKEHOUSE_PASSWORD", "LAKEHOUSE_"),
        ("BUCKETNAME", "BUCKET_NAME"),
        ("BUCKET_FOLDER", "BUCKET_NAME"),
    ],
)
@pytest.mark.parametrize("value", ["s3cret", ""])
def test_a_name_in_env_that_is_almost_ours_is_refused_with_its_line_and_ours(
    env: Path, written: str, meant: str, value: str
) -> None:
    env.write_text(f"# settings\n\nTZ=UTC\n\n{written}={value}\n")
    said = refused()
    assert f"{env}: line 5: " in said
    assert f"the nearest name is {meant}" in said
    assert "s3cret" not in said


def test_everything_that_is_refused_is_said_at_once(env: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCKETNAME", "x")
    env.write_text("SOURCE_FILE=shop\nTZ=UTC\nLAKEHOUSE_URI=x\n")
    assert re.findall(r"line \d|BUCKETNAME", refused()) == ["line 1", "line 3", "BUCKETNAME"]


def test_another_name_is_a_warning_with_its_line_and_the_rest_is_read(env: Path) -> None:
    env.write_text("DJANGO_SECRET=s3cret\n\nexport OTHER=1\nBUCKET_NAME=mine\nTZX=1\nUSER_ID=\n")
    words = f"{env}: not settings of this program, and not used by it: "
    names = "DJANGO_SECRET (line 1), OTHER (line 3), TZX (line 5), USER_ID (line 6)"
    assert found().warnings == [words + names]
    assert load_settings().bucket_name == "mine"


def test_a_piece_of_a_secret_where_a_name_should_stand_is_not_shown(env: Path) -> None:
    env.write_text("eyJhbGciOi=s3cret\n")
    assert found().warnings == [f"{env}: not settings of this program, and not used by it: a name in line 1"]


def test_names_of_compose_and_of_a_supabase_of_ones_own_are_known(env: Path) -> None:
    known = re.findall(r"^#?([A-Z_]+=.*)", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    others = ["COMPOSE_FILE=a:b", "COMPOSE_PROJECT_NAME=x", "DOCKER_HOST=x", "OTEL_SERVICE_NAME=x", "TMPDIR=/x"]
    handed_over = ["SOURCE_FILES_MOUNT=/source", "COMPOSE_FOLDER=/x"]
    of_tests = ["SOURCE_DATE_EPOCH=0", "SUPABASE_TEST_URL=x", "SUPABASE_TEST_KEY=x"]
    env.write_text("\n".join([*known, *others, *handed_over, *of_tests]))
    assert found().warnings == []


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("SOURCE_FILE", "SOURCE_FILES"),
        ("source_file", "SOURCE_FILES"),
        ("SOURCE_DB_URI", "SOURCE_DB_URL"),
        ("LAKEHOUSE_URI", "LAKEHOUSE_URL"),
        ("LAKEHOUS_KEY", "LAKEHOUSE_KEY"),
        ("BUCKETNAME", "BUCKET_NAME"),
    ],
)
def test_a_variable_of_the_environment_that_is_almost_a_source_a_lakehouse_or_the_bucket_is_refused(
    monkeypatch: pytest.MonkeyPatch, written: str, meant: str
) -> None:
    monkeypatch.setenv(written, "s3cret")
    said = refused()
    assert f"{written.upper()}, in the environment, is not a setting; the nearest name is {meant}" in said
    assert "s3cret" not in said


@pytest.mark.parametrize(
    "name",
    [
        *("SOURCE_DATE_EPOCH", "SOURCE_VERSION", "SOURCE_COMMIT", "SOURCE_DIR", "SOURCE_FOLDER", "LAKEHOUSE_TEAM"),
        *("BUCKET", "S3_BUCKET_NAME", "BUCKET_REGION", "SUPABASE_URI", "DATADIR", "SCHEDULED", "LOGFORMAT", "DJANGO"),
    ],
)
def test_every_other_variable_of_the_environment_is_somebody_elses(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "x")
    assert load_settings() == Settings()
    assert found().warnings == []


letters = st.text("ABCDE_", min_size=1, max_size=12)


@given(letters, st.data())
def test_each_letter_left_out_added_changed_or_changed_in_place_is_one_error(word: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(word) - 1))
    letter = data.draw(st.sampled_from("XYZ"))
    swapped = word[:at] + word[at + 1 : at + 2] + word[at] + word[at + 2 :]
    assert environment.typing_errors(word, word) == 0
    assert environment.typing_errors(word[:at] + word[at + 1 :], word) == 1
    assert environment.typing_errors(word[:at] + letter + word[at:], word) == 1
    assert environment.typing_errors(word[:at] + letter + word[at + 1 :], word) == 1
    assert environment.typing_errors(swapped, word) == (swapped != word)


@given(letters, letters)
def test_errors_are_as_many_from_either_side_and_at_least_as_many_as_letters_are_too_few(one: str, two: str) -> None:
    errors = environment.typing_errors(one, two)
    assert errors == environment.typing_errors(two, one)
    assert abs(len(one) - len(two)) <= errors <= max(len(one), len(two))


def test_no_name_that_is_known_is_taken_for_another() -> None:
    for name in (*NAMES, *environment.ELSEWHERE):
        assert environment.nearest(name, [*NAMES, *environment.ELSEWHERE]) == name
        assert list(environment.strangers({name: "x"}, NAMES)) == []


# --- Lines ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("SOURCE_FILES: s3cret", "a colon where = belongs"),
        ("SOURCE_FILES:s3cret", "a colon where = belongs"),
        ("SOURCE_FILES s3cret", "it is not NAME=value"),
        ("SOURCE_FILES", "there is no = in it"),
        ("s3cret", "there is no = in it"),
        ("set SOURCE_FILES=s3cret", "it begins with set"),
        ("setx SOURCE_FILES s3cret", "it is not NAME=value"),
        ("$env:SOURCE_FILES='s3cret'", "a name has letters, digits and _ only"),
        ("// SOURCE_FILES=s3cret", "it is not NAME=value"),
        ("SOURCE_FILES='s3cret", "its quote is not closed"),
        ('SOURCE_FILES="s3cret', "its quote is not closed"),
        ("SOURCE_FILES='s3cret' and more", "something follows the closing quote"),
        ("SOURCE_FILES='s3cret\nTZ='UTC'", "its quote is not closed"),
        ('SOURCE_FILES="s3cret\nTZ="', "the value of SOURCE_FILES goes on to another line: is its quote closed?"),
        ('OTHER="s3cret\nSOURCE_FILES=shop\nMORE="', "its value goes on over the line of SOURCE_FILES"),
    ],
)
def test_a_line_that_sets_nothing_or_more_than_one_thing_is_refused_with_its_reason(
    env: Path, line: str, reason: str
) -> None:
    env.write_text(f"# settings\n\nSCHEDULE=0 2 1 */2 *\n\n\n{line}\nTZ=UTC\n")
    said = refused()
    assert f"{env}: line 6: " in said
    assert reason in said
    assert "s3cret" not in said


def test_the_same_lines_are_fine_as_comments_and_empty_values_count_as_unset(env: Path) -> None:
    env.write_text("# SOURCE_FILES: x\n  #SOURCE_FILE=x\nSOURCE_FILES=\nBUCKET_NAME=''\nDATA_DIR= # nothing\n\n")
    assert load_settings() == Settings()


def test_the_last_line_of_a_name_counts_as_python_dotenv_has_it(env: Path) -> None:
    env.write_text("BUCKET_NAME=one\nSOURCE_DB_SCHEMA=loja\nBUCKET_NAME=two\nSOURCE_DB_SCHEMA=\n")
    settings = load_settings()
    assert (settings.bucket_name, settings.source_db_schema) == ("two", "public")


@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_a_reference_to_another_name_is_refused_where_it_may_be_part_of_a_password(env: Path, quote: str) -> None:
    env.write_text(f"SOURCE_DB_URL={quote}postgresql://ana:s3cret${{x}}@host/loja{quote}\n")
    said = refused()
    assert "line 1: the value of SOURCE_DB_URL holds ${, which is a reference to another name" in said
    assert "in a URL write %24%7B" in said
    assert "s3cret" not in said


@pytest.mark.parametrize(
    ("value", "warned"),
    [
        ("pa$$word", True),
        ("pa$word", True),
        ('"pa$word"', True),
        ("'pa$word'", False),
        ("pass$1", False),
        ("x # $y", False),
    ],
)
def test_a_dollar_that_compose_would_read_as_something_else_is_a_warning(env: Path, value: str, warned: int) -> None:
    env.write_text(f"LAKEHOUSE_URL=https://x.supabase.co\nLAKEHOUSE_KEY={value}\n")
    words = f"{env}: line 2: docker compose reads the $ in LAKEHOUSE_KEY as something else: write LAKEHOUSE_KEY='…'"
    assert found().warnings == [words] * warned


# --- The file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_utf_16_is_refused(env: Path, encoding: str) -> None:
    env.write_bytes("SOURCE_FILES=s3cret\n".encode(encoding))
    said = refused()
    assert f"{env}: line 1: it is UTF-16" in said
    assert "save the file as UTF-8" in said


def test_latin_1_is_refused_with_its_line_even_in_a_comment(env: Path) -> None:
    env.write_bytes("TZ=UTC\n\n# configuração\n".encode("latin-1"))
    assert f"{env}: line 3: it is not UTF-8, but Latin-1 or Windows-1252" in refused()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_utf_8_is_read_with_and_without_a_mark_and_from_windows(env: Path, encoding: str, newline: str) -> None:
    env.write_bytes(newline.join(["BUCKET_NAME=configuração", "TZ=UTC", ""]).encode(encoding))
    assert load_settings().bucket_name == "configuração"


@contextmanager
def as_somebody_else() -> Iterator[None]:
    """Root may read everything: be nobody for a while."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_file_that_may_not_be_read_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    env = tmp_path_factory.getbasetemp() / "private.env"
    env.write_text("SOURCE_FILES=s3cret\n")
    env.chmod(0o000)
    for folder in env.parents:
        if folder.stat().st_uid == os.geteuid() and folder.stat().st_mode & 0o001 == 0:
            folder.chmod(folder.stat().st_mode | 0o011)
    place = environment.Place(env, env.parent, "")
    with as_somebody_else(), pytest.raises(ConfigurationError, match=r"private\.env cannot be read: Perm"):
        environment.read(place, {}, NAMES, [])


def test_a_directory_of_that_name_is_refused(env: Path) -> None:
    env.mkdir()
    assert f"{env} is a directory, not a file" in refused()


def test_a_link_that_leads_nowhere_is_refused(env: Path) -> None:
    env.symlink_to("shared.env")
    assert f"{env} cannot be read: No such file or directory" in refused()


# --- Where it is found ------------------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A checkout, and a working directory elsewhere."""
    checkout, here = tmp_path / "checkout", tmp_path / "elsewhere" / "here"
    (checkout / "src" / "elt").mkdir(parents=True)
    (checkout / "docker-compose.yml").touch()
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    return checkout, here


def write(folder: Path) -> Path:
    (folder / ".env").touch()
    return folder / ".env"


def test_a_checkout_is_known_by_its_compose_file_and_an_installed_package_has_none(folders: tuple[Path, Path]) -> None:
    checkout, here = folders
    assert environment.checkout_of(checkout / "src" / "elt" / "environment.py") == checkout
    assert environment.checkout_of(here / "site-packages" / "elt" / "environment.py") is None
    assert environment.CHECKOUT == ROOT


def test_a_checkouts_own_env_goes_before_that_of_the_working_directory(folders: tuple[Path, Path]) -> None:
    checkout, here = folders
    write(here)
    file = write(checkout)
    assert environment.place({}, checkout) == environment.Place(file, checkout, f"read from {file}")


def test_a_checkout_without_one_and_no_checkout_look_from_the_working_directory_upwards(
    folders: tuple[Path, Path],
) -> None:
    checkout, here = folders
    above = write(here.parent)
    for where in (checkout, None):
        assert environment.place({}, where) == environment.Place(above, here.parent, f"read from {above}")
    nearer = write(here)
    assert environment.place({}, checkout).file == nearer


def test_without_one_the_folder_is_the_checkout_and_outside_one_the_working_directory(
    folders: tuple[Path, Path],
) -> None:
    checkout, here = folders
    words = f"there is no .env in {checkout} or {here}, nor above"
    assert environment.place({}, checkout) == environment.Place(None, checkout, words)
    assert environment.place({}, None) == environment.Place(None, here, f"there is no .env in {here}, nor above")


def test_a_directory_of_that_name_above_the_working_directory_is_somebody_elses(folders: tuple[Path, Path]) -> None:
    checkout, here = folders
    (here.parent / ".env").mkdir()  # as a virtual environment
    assert environment.place({}, None).file is None
    (checkout / ".env").mkdir()
    with pytest.raises(ConfigurationError, match="is a directory"):
        environment.place({}, checkout)


def test_medallion_home_names_the_folder_whatever_else_there_is(folders: tuple[Path, Path]) -> None:
    checkout, here = folders
    write(here)
    write(checkout)
    home = here / "shop"
    home.mkdir()
    for written in (str(home), "shop"):
        words = f"there is no .env in {home} (MEDALLION_HOME)"
        assert environment.place({"MEDALLION_HOME": written}, checkout) == environment.Place(None, home, words)
    file = write(home)
    assert environment.place({"MEDALLION_HOME": "shop"}, checkout).file == file
    with pytest.raises(ConfigurationError, match="MEDALLION_HOME: there is no folder"):
        environment.place({"MEDALLION_HOME": "no-shop"}, checkout)


def test_a_working_directory_that_is_gone_is_said(folders: tuple[Path, Path]) -> None:
    checkout, here = folders
    here.rmdir()
    with pytest.raises(ConfigurationError, match="the working directory is gone"):
        environment.place({}, checkout)


def test_what_the_working_directory_has_and_a_checkouts_folder_goes_before_is_a_warning(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or somebody who always ran it in a folder of their own would find a new lakehouse after an upgrade."""
    checkout, here = folders
    monkeypatch.delenv(environment.HOME)
    monkeypatch.setattr(environment, "CHECKOUT", checkout)
    write(checkout)
    assert found().warnings == []
    write(here)
    (here / "data" / "bucket").mkdir(parents=True)
    use = f"is not used: {checkout} goes before it, unless you set MEDALLION_HOME={here}"
    assert found().warnings == [f"{here / '.env'} {use}", f"the lakehouse in {here / 'data'} {use}"]
    monkeypatch.setenv("DATA_DIR", "lake")
    assert found().warnings == [f"{here / '.env'} {use}"]
    monkeypatch.setenv(environment.HOME, str(here))
    assert found().warnings == []


# --- Paths ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory that is not the folder of ``.env``."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_relative_paths_in_env_are_relative_to_its_folder(env: Path, elsewhere: Path) -> None:
    env.write_text("SOURCE_FILES=./my shop\nDATA_DIR=lake\n")
    settings = load_settings()
    assert (settings.source_files, settings.data_dir) == (env.parent / "my shop", env.parent / "lake")
    assert elsewhere == Path.cwd()


def test_the_default_of_data_dir_is_relative_to_the_folder_of_env_with_and_without_the_file(
    env: Path, elsewhere: Path
) -> None:
    assert load_settings().data_dir == env.parent / "data"
    env.touch()
    assert load_settings().data_dir == env.parent / "data"
    assert elsewhere == Path.cwd()


def test_paths_of_the_environment_are_relative_to_the_working_directory_and_go_before_env(
    env: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env.write_text("SOURCE_FILES=shop\nDATA_DIR=lake\nBUCKET_NAME=mine\n")
    monkeypatch.setenv("SOURCE_FILES", "other-shop")
    monkeypatch.setenv("DATA_DIR", "other-lake")
    monkeypatch.setenv("BUCKET_NAME", "")
    settings = load_settings()
    assert (settings.source_files, settings.data_dir) == (elsewhere / "other-shop", elsewhere / "other-lake")
    assert settings.bucket_name == "mine"


def test_whole_paths_stay_and_a_tilde_is_ones_home(env: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ana")
    env.write_text("SOURCE_FILES=~/shop\nDATA_DIR=/srv/lake\n")
    settings = load_settings()
    assert (settings.source_files, settings.data_dir) == (Path("/home/ana/shop"), Path("/srv/lake"))
    monkeypatch.setenv("DATA_DIR", "~/lake")
    assert load_settings().data_dir == Path("/home/ana/lake")
    assert elsewhere == Path.cwd()


def test_the_home_of_nobody_is_refused_by_the_settings_name(env: Path) -> None:
    env.write_text("DATA_DIR=~nobody-of-this-name/lake\n")
    assert "DATA_DIR begins with ~, and there is no such user" in refused()


def test_a_value_that_does_not_fit_is_to_be_corrected_in_the_file_that_sets_it(
    env: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env.write_text("LOG_FORMAT=xml\n")
    assert f"LOG_FORMAT: Input should be 'plain' or 'json' -> correct it in {env}" in refused()
    monkeypatch.setenv("LOG_FORMAT", "xml")
    assert "correct it where it is set: .env, or the environment" in refused()


@pytest.mark.parametrize("name", ["SOURCE_FOLDER", "SUPBASE_URL", "SHEDULE", "LAKEHOUSE_SCHEMA"])
def test_in_a_container_of_compose_the_environment_is_the_env_file(name: str) -> None:
    of_compose = {"SOURCE_FILES_MOUNT": "/source", "HOSTNAME": "0123456789ab", "PYTHON_VERSION": "3.13.14", "PATH": "/"}
    assert list(environment.strangers(of_compose, NAMES)) == []
    [refused] = environment.strangers({**of_compose, name: "x"}, NAMES)
    assert refused.startswith(f"{name}, in the environment, is not a setting")
