"""The container: what the Dockerfile and the compose file promise, tried as far as a machine without an engine can.

Real tools read the files (hadolint, ``docker compose config``, the schema of the compose specification, Caddy); the
Dockerfile is performed in namespaces (see ``tests.containers``). Not tried here: pulling and starting the images of
the profile ``supabase``, and a build by an engine.
"""

import base64
import http.client
import itertools
import json
import os
import re
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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from elt.settings import Settings
from tests import containers

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PROCESSORS = ("x86_64", "aarch64")
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
        packages = re.split(r"^(?=\S)", lock, flags=re.MULTILINE)[1:]
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
    assert {path.name for path in volume.iterdir()} >= {"postgres", "bucket"}
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


# --- docker-compose.yml -----------------------------------------------------------------------------------------------


IN_CONTAINER = {"DATA_DIR": "/data", "MEDALLION_COMPOSE_PROJECT": "medallion"}
"""What the medallion's environment has without a .env."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what compose reads, without a .env."""
    folder = tmp_path / "project"
    shutil.copytree(ROOT / "docker", folder / "docker", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("docker-compose.yml", "Dockerfile", ".env.example"):
        shutil.copy(ROOT / name, folder)
    return folder


def composed(project: Path, *options: str) -> dict[str, Any]:
    """The services as ``docker compose`` understands them, .env and defaults filled in."""
    answer = tool("docker-compose", *options, "config", "--format", "json", cwd=project)
    assert answer.returncode == 0, answer.stderr
    assert "level=warning" not in answer.stderr, "a variable without a default"
    return dict(json.loads(answer.stdout)["services"])


def test_the_compose_file_is_valid_by_the_compose_specification() -> None:
    checked = tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")

    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("content", [None, ""], ids=["no .env", "an empty .env"])
def test_without_settings_it_is_the_scheduler_on_the_embedded_lakehouse_in_a_volume(
    content: str | None, project: Path
) -> None:
    if content is not None:
        (project / ".env").write_text(content)

    services = composed(project)

    assert list(services) == ["medallion"]
    medallion = services["medallion"]
    assert medallion["build"]["context"] == str(project)
    assert medallion.get("command") is None, "the image's own: the scheduler"
    assert {name: value for name, value in medallion["environment"].items() if value} == IN_CONTAINER
    written = [mount for mount in medallion["volumes"] if not mount.get("read_only")]
    assert written == [{"type": "volume", "source": "data", "target": "/data", "volume": {}}]


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


def test_keys_in_env_reach_the_scheduler(project: Path) -> None:
    keys = {"LAKEHOUSE_URL": "https://x.supabase.co", "LAKEHOUSE_KEY": "sb_secret_1"}
    keys |= {"SUPABASE_URL": "https://y.supabase.co", "SUPABASE_KEY": "sb_secret_2"}
    (project / ".env").write_text("".join(f"{name}={value}\n" for name, value in keys.items()) + "DATA_DIR=elsewhere\n")

    environment = composed(project)["medallion"]["environment"]

    assert {name: value for name, value in environment.items() if value} == {**keys, **IN_CONTAINER}


@pytest.mark.parametrize("folder", ["shop", "./shop", "shops/of two words"])
def test_a_folder_of_files_is_mounted_where_the_scheduler_is_told_to_look(folder: str, project: Path) -> None:
    (project / ".env").write_text(f"SOURCE_FILES={folder}\n")

    medallion = composed(project)["medallion"]

    mounted = {mount["target"]: (mount["source"], mount.get("read_only")) for mount in medallion["volumes"]}
    assert mounted[medallion["environment"]["SOURCE_FILES"]] == (str(project / folder), True)


def make_keys(project: Path) -> subprocess.CompletedProcess[str]:
    """``make keys`` in the project."""
    return subprocess.run(
        [sys.executable, project / "docker/keys.py", project], capture_output=True, text=True, check=False
    )


def settings_in(env: Path) -> dict[str, str]:
    """The lines of a .env that set something."""
    return dict(re.findall(r"^([A-Z_]+)=(.+)$", env.read_text(), re.MULTILINE))


def test_after_make_keys_the_same_command_is_a_whole_supabase(project: Path) -> None:
    assert make_keys(project).returncode == 0
    env = settings_in(project / ".env")

    services = composed(project)

    assert set(services) == {"medallion", "db", "storage", "migrations", "rest", "gateway"}
    assert composed(project, "--profile", "supabase") == services
    lakehouse = {"LAKEHOUSE_URL": "http://gateway:8000", "LAKEHOUSE_KEY": env["SERVICE_ROLE_KEY"]}
    assert lakehouse.items() <= services["medallion"]["environment"].items()
    assert {name: services["medallion"]["environment"][name] for name in SECRETS} == dict.fromkeys(SECRETS, "")
    direct = f"postgresql://postgres:{env['POSTGRES_PASSWORD']}@db:5432/postgres"
    assert services["migrations"]["environment"] == {"LAKEHOUSE_DB_URL": direct}
    assert services["migrations"]["command"] == ["init"]
    assert services["rest"]["environment"]["PGRST_JWT_SECRET"] == env["JWT_SECRET"]
    assert services["storage"]["environment"]["PGRST_JWT_SECRET"] == env["JWT_SECRET"]
    assert services["gateway"]["environment"] == {name: env[name] for name in ("ANON_KEY", "SERVICE_ROLE_KEY")}


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


def test_the_api_shows_the_schemas_that_the_migrations_make(project: Path) -> None:
    made = re.findall(r"^create schema if not exists (\w+)", "".join(_migrations()), re.MULTILINE)

    shown = composed(project, "--profile", "supabase")["rest"]["environment"]["PGRST_DB_SCHEMAS"].split(",")

    assert made
    assert set(made) <= set(shown)


def _migrations() -> list[str]:
    return [file.read_text() for file in sorted((ROOT / "supabase/migrations").glob("*.sql"))]


def test_images_of_others_have_exact_versions_and_only_the_gateway_is_reached_from_outside(project: Path) -> None:
    services = composed(project, "--profile", "supabase")
    foreign = {service["image"] for service in services.values()} - {services["medallion"]["image"]}

    assert len(foreign) == 4
    assert all(re.search(r":v?\d+\.\d+(\.\d+)*(-\w+)?$", image) for image in foreign)
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert list(published) == ["gateway"]
    assert [port["host_ip"] for port in published["gateway"]] == ["127.0.0.1"]


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
    content = re.sub(r"^JWT_SECRET=.*$", "JWT_SECRET=changed", (project / ".env").read_text(), flags=re.MULTILINE)
    (project / ".env").write_text(content)

    refused = make_keys(project)

    assert refused.returncode == 1
    assert "ANON_KEY was not made with JWT_SECRET" in refused.stderr
    assert (project / ".env").read_text() == content


@pytest.mark.parametrize("setting", ["LAKEHOUSE_URL=https://x.supabase.co", "LAKEHOUSE_DB_URL=postgresql://x/y"])
def test_a_lakehouse_that_is_configured_stays_the_pipelines(setting: str, project: Path) -> None:
    (project / ".env").write_text(f"{setting}\n")

    said = make_keys(project).stdout

    assert "keeps the lakehouse that .env names" in said
    assert set(settings_in(project / ".env")) == {setting.split("=")[0], *SECRETS}


# --- The gateway of the profile ---------------------------------------------------------------------------------------


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
    interpolated = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))
    settings = {name.upper() for name in Settings.model_fields}

    assert set(examples()) == settings | interpolated - {"COMPOSE_PROJECT_NAME"} | {"COMPOSE_PROFILES"}
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
