"""One layer by hand in a checkout that nobody installed: from any folder, with any Python, with the checkout's .env."""

import ast
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from elt import checks, start
from tests.checkouts import ROOT, bare_python, copy_checkout, python_with_requirements, run
from tests.shops import write_shop

LAYERS = ("bronze", "silver", "gold")
SCRIPTS = {**{name: f"src/elt/{name}/main.py" for name in LAYERS}, "run": "src/main.py"}
every_script = pytest.mark.parametrize(("command", "script"), SCRIPTS.items(), ids=SCRIPTS)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in a folder with a space and an accent; tests write its ``.env``."""
    return copy_checkout(tmp_path_factory.mktemp("home") / "a loja de José" / "pipeline")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """After ``pip install -r requirements.txt``, and nothing else."""
    return python_with_requirements(tmp_path_factory.mktemp("python") / "venv")


@pytest.fixture
def settled(checkout: Path, new_database: Callable[[], str]) -> str:
    """A shop and a ``.env`` in the checkout, with a relative path; answers the lakehouse's URL."""
    url = new_database()
    write_shop(checkout / "my-shop")
    (checkout / ".env").write_text(f"SOURCE_FILES=my-shop\nLAKEHOUSE_DB_URL='{url}'\n")
    shutil.rmtree(checkout / "data", ignore_errors=True)
    return url


def layers(answer: subprocess.CompletedProcess[str]) -> list[tuple[str, int]]:
    assert answer.returncode == 0, answer.stderr
    return [(layer["layer"], layer["key"]) for layer in json.loads(answer.stdout)["layers"]]


def test_the_project_is_not_installed_there(python: Path, tmp_path: Path) -> None:
    answer = run(python, "-c", "import click, elt.cli", cwd=tmp_path)
    assert "No module named 'elt" in answer.stderr


@pytest.mark.usefixtures("settled")
def test_the_layers_by_hand_from_the_repository_as_the_specification_types_them(python: Path, checkout: Path) -> None:
    keys = [layers(run(python, SCRIPTS[name], "--json", cwd=checkout)) for name in (*LAYERS, "run")]
    assert keys == [[("bronze", 246)], [("silver", 468)], [("gold", 680)], [("bronze", 135)]]


@pytest.mark.usefixtures("settled")
def test_from_another_folder_the_checkouts_env_counts_and_its_paths_stay_what_they_are(
    python: Path, checkout: Path, tmp_path: Path
) -> None:
    relative = os.path.relpath(checkout / SCRIPTS["bronze"], tmp_path)
    (tmp_path / ".env").write_text("SOURCE_FILES=/another/shop\n")

    first = run(python, relative, "--json", cwd=tmp_path)
    others = [run(python, checkout / SCRIPTS[name], "--json", cwd=tmp_path) for name in ("silver", "gold", "run")]

    assert first.stderr.splitlines()[0].endswith(f" settings: read from {checkout / '.env'}")
    assert f"files in {checkout / 'my-shop'}" in first.stderr
    assert [layers(answer) for answer in (first, *others)] == [
        [("bronze", 246)],
        [("silver", 468)],
        [("gold", 680)],
        [("bronze", 135)],
    ]
    assert list((checkout / "data" / "bucket").rglob("_manifest.json"))
    assert [path.name for path in tmp_path.iterdir() if path.name != "a loja de José"] == [".env"]


@every_script
def test_a_script_starts_in_its_own_folder_too(python: Path, checkout: Path, command: str, script: str) -> None:
    file = checkout / script
    answer = run(python, file.name, "--help", cwd=file.parent)
    assert f" {command} [OPTIONS]" in " ".join(answer.stdout.split()), answer.stderr


def test_a_script_starts_where_python_is_told_to_add_no_folder(python: Path, checkout: Path) -> None:
    for name in ("gold", "run"):
        answer = run(python, "-P", SCRIPTS[name], "--help", cwd=checkout)
        assert f" {name} [OPTIONS]" in " ".join(answer.stdout.split()), answer.stderr


def test_a_link_to_the_checkout_and_one_to_a_script_work(python: Path, checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(checkout)
    (tmp_path / "bronze.py").symlink_to(checkout / SCRIPTS["bronze"])
    for script in (tmp_path / "link" / SCRIPTS["bronze"], tmp_path / "bronze.py"):
        answer = run(python, script, "--help", cwd=tmp_path)
        assert " bronze [OPTIONS]" in " ".join(answer.stdout.split()), answer.stderr


def test_a_layer_runs_as_a_module_where_the_source_is(python: Path, checkout: Path) -> None:
    answer = run(python, "-m", "elt.bronze", "--help", cwd=checkout / "src")
    assert " bronze [OPTIONS]" in " ".join(answer.stdout.split()), answer.stderr


def test_an_installed_medallion_of_a_checkout_finds_its_env_from_anywhere_and_so_do_the_schedulers_commands(
    checkout: Path, tmp_path: Path
) -> None:
    python = python_with_requirements(tmp_path / "venv", checkout / "src")
    (checkout / ".env").write_text("SOURCE_FILES=no-shop\nLAKEHOUSE_DB_URL=postgresql://127.0.0.1:1/x\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    program = (
        "from elt.settings import load_settings; from elt.schedule import Commands; s = load_settings();"
        "print(s.source_files, s.data_dir, Commands(()).check().error, sep='\\n')"
    )

    shop, data, error = run(python, "-c", program, cwd=elsewhere).stdout.splitlines()

    assert (shop, data) == (str(checkout / "no-shop"), str(checkout / "data"))
    assert f"SOURCE_FILES: there is no folder {checkout / 'no-shop'}" in error
    assert list(elsewhere.iterdir()) == []


def test_without_an_env_the_lakehouse_is_in_the_checkout_and_the_first_line_says_that_there_was_none(
    python: Path, checkout: Path, tmp_path: Path
) -> None:
    (checkout / ".env").unlink(missing_ok=True)
    shutil.rmtree(checkout / "data", ignore_errors=True)
    settings = {"LAKEHOUSE_DB_URL": "postgresql://127.0.0.1:1/x", "SOURCE_FILES": "no-shop", "LOG_FORMAT": "json"}

    lines = run(python, checkout / SCRIPTS["run"], cwd=tmp_path, **settings).stderr.splitlines()

    words = f"settings: there is no .env in {checkout} or {tmp_path}, nor above"
    assert json.loads(lines[0])["message"] == words
    assert json.loads(lines[1])["message"] == f"source: files in {tmp_path / 'no-shop'}"
    where = "from elt.settings import load_settings; print(load_settings().data_dir)"
    assert run(python, "-c", where, cwd=tmp_path, PYTHONPATH=str(checkout / "src")).stdout == f"{checkout / 'data'}\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"SOURCE_FILE=shop\n", "line 1: SOURCE_FILE is not a setting; the nearest name is SOURCE_FILES"),
        ("SOURCE_FILES=shop\n".encode("utf-16"), "line 1: it is UTF-16"),
        ("TZ=UTC\n# configuração\n".encode("latin-1"), "line 2: it is not UTF-8"),
        (b"SOURCE_FILES: shop\n", "line 1: it has a colon where = belongs"),
        (b"set SOURCE_FILES=shop\n", "line 1: it begins with set"),
        (b"SOURCE_FILES='shop\n", "line 1: its quote is not closed"),
        (None, "is a directory, not a file"),
    ],
    ids=["a missing S", "UTF-16", "Latin-1", "a colon", "set", "an open quote", "a directory"],
)
def test_a_typing_error_never_loads_the_made_up_shop(
    python: Path, checkout: Path, tmp_path: Path, content: bytes | None, said: str
) -> None:
    env = checkout / ".env"
    env.unlink(missing_ok=True)
    shutil.rmtree(checkout / "data", ignore_errors=True)
    try:
        env.mkdir() if content is None else env.write_bytes(content)
        answer = run(python, checkout / SCRIPTS["run"], cwd=checkout, DATA_DIR=str(tmp_path / "data"))
    finally:
        env.rmdir() if content is None else env.unlink()

    assert answer.returncode == 2, answer.stdout
    assert "Traceback" not in answer.stderr
    assert f"{env}" in answer.stderr
    assert said in answer.stderr
    assert [line[:6] for line in answer.stderr.splitlines()] == ["error:", " kept:", " next:"]
    assert not (tmp_path / "data").exists()


def test_the_warning_and_the_first_line_come_once_and_not_on_standard_output(
    python: Path, checkout: Path, settled: str
) -> None:
    with (checkout / ".env").open("a") as env:
        env.write("DJANGO_SECRET=s3cret\n")
    answer = run(python, checkout / SCRIPTS["run"], "--json", cwd=checkout)
    assert layers(answer)
    assert answer.stderr.count("settings: read from") == 1
    assert answer.stderr.count("DJANGO_SECRET (line 3)") == 1
    assert "s3cret" not in answer.stderr
    assert settled


# --- A Python that cannot run it --------------------------------------------------------------------------------------


@every_script
def test_a_python_without_the_dependencies_gets_one_sentence_that_says_what_to_type(
    checkout: Path, tmp_path: Path, command: str, script: str
) -> None:
    python = bare_python(tmp_path / f"my {command}")
    answer = run(python, checkout / script, cwd=tmp_path)
    assert (answer.returncode, answer.stdout, len(answer.stderr.splitlines())) == (2, "", 1)
    said, _, typed = answer.stderr.strip().partition(": type ")
    assert said == f"error: {python} lacks click, which this program needs"
    assert shlex.split(typed) == [str(python), "-m", "pip", "install", "-r", str(checkout / "requirements.txt")]


def test_a_python_of_the_system_in_which_pip_installs_nothing_is_told_of_an_environment_of_its_own(
    checkout: Path, tmp_path: Path
) -> None:
    """As Debian's and Ubuntu's: PEP 668."""
    of_the_system = (
        "import sys, sysconfig; sysconfig.get_path = lambda name: sys.argv.pop(); sys.prefix = sys.base_prefix"
    )
    start = f"{of_the_system}; sys.path.insert(0, sys.argv.pop()); from elt.start import main; main()"
    (tmp_path / "EXTERNALLY-MANAGED").touch()
    python = bare_python(tmp_path / "venv")

    answer = run(python, "-c", start, tmp_path, checkout / "src", cwd=tmp_path)

    typed = answer.stderr.partition(": type ")[2].partition(" and then start it with ")
    make, install = typed[0].split(" && ")
    made = str(checkout / ".venv" / "bin" / "python")
    assert shlex.split(make) == [str(python), "-m", "venv", str(checkout / ".venv")]
    assert shlex.split(install) == [made, "-m", "pip", "install", "-r", str(checkout / "requirements.txt")]
    assert shlex.split(typed[2]) == [made]


def test_a_package_that_is_missing_only_when_it_is_needed_is_said_in_a_sentence_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after ``git pull``, when a new version needs one more."""

    def needs_one_more(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'one_more'", name="one_more.part")

    monkeypatch.setattr(checks, "check_both", needs_one_more)
    monkeypatch.setattr(sys, "argv", ["medallion", "check"])
    with pytest.raises(SystemExit) as ended:
        start.main()
    assert ended.value.code == 2
    assert f"{sys.executable} lacks one_more, which this program needs: type " in capsys.readouterr().err


def older_pythons() -> list[str]:
    """Pythons of this machine that are too old."""
    named = [f"python3.{minor}" for minor in (9, 10)]
    found = [found for name in named if (found := shutil.which(name))]
    return found + [str(path) for name in named for path in Path.home().glob(f".pyenv/versions/*/bin/{name}")]


@every_script
def test_an_older_python_gets_one_sentence(checkout: Path, tmp_path: Path, command: str, script: str) -> None:
    pythons = []
    for older in older_pythons():  # some are shims that refuse
        answer = run(older, checkout / script, cwd=tmp_path)
        if "pyenv:" in answer.stderr:
            continue
        pythons.append(older)
        assert (answer.returncode, answer.stdout, len(answer.stderr.splitlines())) == (2, "", 1), answer.stderr
        assert answer.stderr.startswith("error: Python 3.11 or newer is needed, and ")
        assert shlex.quote(str(checkout / script)) in answer.stderr
    if not pythons:
        pytest.skip(f"{command}: no Python 3.9 or 3.10 on this machine")


@pytest.mark.parametrize("script", [*SCRIPTS.values(), "src/elt/start.py", "src/elt/__init__.py"])
def test_what_an_older_python_reads_first_it_can_read(script: str) -> None:
    oldest = (3, 9) if script.startswith("src/elt/") and script.count("/") == 3 else (3, 7)
    ast.parse((ROOT / script).read_text(encoding="utf-8"), feature_version=oldest)


def test_no_module_beside_a_script_has_a_name_of_pythons_own() -> None:
    beside = {path.stem for script in SCRIPTS.values() for path in (ROOT / script).parent.glob("*.py")}
    assert beside & sys.stdlib_module_names == {"__main__"} & sys.stdlib_module_names
