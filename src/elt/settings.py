"""Settings from the environment and ``.env``. Everything is optional: an empty ``.env`` is a working program."""

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import ByteSize, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from elt import addresses, environment, redaction
from elt.catalog import WRITE_ROWS
from elt.errors import ConfigurationError

ENDS = ("source", "lakehouse")
"""The two ends of the pipeline, either of which may be a hosted project."""

OF_EARLIER_KEYS = "LAKEHOUSE_URL_IN_COMPOSE"
"""What ``make keys`` once wrote into .env, for a docker-compose.yml that put it in the place of LAKEHOUSE_URL. Found in
a container, it means that nobody does that any more: LAKEHOUSE_URL leads back into the container itself."""

PATHS = ("data_dir", "source_files")
"""The settings that are paths of this machine: whole ones in ``Settings``, whatever was written."""


class Settings(BaseSettings):
    """What can be set. The names are the environment's variables, in upper case there.

    A relative path is relative to the working directory; ``load_settings`` knows better for what ``.env`` says.
    """

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", hide_input_in_errors=True)

    data_dir: Path = Field(
        Path("data"), description="Folder of the embedded lakehouse, and of the bucket beside LAKEHOUSE_DB_URL."
    )
    lakehouse_db_url: SecretStr | None = Field(
        None, description="PostgreSQL of the lakehouse (postgresql://…): direct, by COPY."
    )
    lakehouse_url: str | None = Field(None, description="Supabase project of the lakehouse (https://….supabase.co).")
    lakehouse_key: SecretStr | None = Field(None, description="Its secret key (sb_secret_…) or service_role key.")
    bucket_name: str = Field("bronze-bucket", description="Bucket of bronze in the project's Storage.")
    storage_quota: ByteSize | None = Field(
        None, gt=0, description="Bytes that bronze may hold (1GB, 500MB): a snapshot that would pass them is refused."
    )
    database_quota: ByteSize | None = Field(
        None, gt=0, description="Bytes that the database may hold (500MB, 8GB): a load that would pass them is refused."
    )
    keep_snapshots: int | None = Field(
        None, ge=1, description="Snapshots to keep: a successful run removes older ones that silver does not need."
    )
    supabase_url: str | None = Field(None, description="Supabase project of the shop (https://….supabase.co).")
    supabase_key: SecretStr | None = Field(None, description="A key of the shop's project that may read its tables.")
    max_in_flight: int = Field(4, ge=1, le=32, description="Requests to a Supabase project at a time.")
    write_rows: int = Field(
        WRITE_ROWS, ge=1, le=WRITE_ROWS, description="Rows in one write request; lower it for a small project."
    )
    allow_http: bool = Field(
        False, description="Send the keys by plain http:// to hosts outside this machine's own network as well."
    )
    source_db_url: SecretStr | None = Field(None, description="PostgreSQL of the shop (postgresql://…).")
    source_db_schema: str = Field("public", description="Schema of the shop's tables in SOURCE_DB_URL.")
    source_filtered: Literal["refuse", "accept"] = Field(
        "refuse",
        description="What to do if row-level security hides rows of the shop: refuse, or accept with a warning.",
    )
    source_files: Path | None = Field(
        None, description="Folder with clientes, produtos and pedidos as .csv or .parquet."
    )

    source_files_mount: Path | None = Field(
        None, description="Where Compose mounts SOURCE_FILES in the container; docker-compose.yml sets it."
    )
    compose_folder: Path | None = Field(
        None, description="The folder on the host that SOURCE_FILES is relative to; docker-compose.yml sets it."
    )

    schedule: str = Field("0 2 1 */2 *", description="Crontab of `medallion schedule`: minute hour day month weekday.")
    tz: str = Field("America/Sao_Paulo", description="Time zone of SCHEDULE.")
    alert_webhook: SecretStr | None = Field(
        None, description="Address that gets alerts as JSON; Slack's and Discord's webhooks work as they are. A secret."
    )
    alert_on_success: bool = Field(False, description="Send an alert after each successful run as well.")
    alert_quarantine_above: int | None = Field(
        None, ge=0, description="Send an alert if a run sends more rows than this to quarantine."
    )
    heartbeat_url: SecretStr | None = Field(
        None, description="Address to get after each successful run (a dead-man switch). A secret."
    )
    keep_alive: bool | None = Field(
        None, description="A small daily query to both ends; by default to hosted Supabase projects only."
    )
    log_format: Literal["plain", "json"] = Field("plain", description="How logs are written: plain or json.")

    @property
    def source_is_set(self) -> bool:
        """Whether a source is named; else it is the sample shop."""
        return bool(self.supabase_url or self.source_db_url or self.source_files)

    @property
    def lakehouse_is_set(self) -> bool:
        """Whether a lakehouse is named; else it is embedded."""
        return bool(self.lakehouse_url or self.lakehouse_db_url)

    @property
    def bucket_in_storage(self) -> str | None:
        """The name of bronze's bucket in the project's Storage; None if bronze is a folder."""
        return self.bucket_name if self.lakehouse_url is not None else None

    @property
    def kept_awake(self) -> tuple[str, ...]:
        """The ends (of ``ENDS``) that the scheduler keeps awake: a free hosted project is paused after a week."""
        if self.keep_alive is not None:
            return ENDS if self.keep_alive else ()
        # SUPABASE_URL and LAKEHOUSE_URL are such projects by their very names.
        by_name = {"source": ("supabase_url", "source_db_url"), "lakehouse": ("lakehouse_url", "lakehouse_db_url")}
        return tuple(
            end for end, (api, database) in by_name.items() if getattr(self, api, None) or self._hosted(database)
        )

    @property
    def storage_is_hosted(self) -> bool:
        """Whether bronze's bucket is in a project on supabase.com, whose plan limits it."""
        return _is_supabases(urlsplit(self.lakehouse_url or "").hostname or "")

    @property
    def database_is_hosted(self) -> bool:
        """Whether silver and gold are in the database of a project on supabase.com, whose plan limits it."""
        return self._hosted("lakehouse_db_url") if self.lakehouse_db_url else self.storage_is_hosted

    def _hosted(self, name: str) -> bool:
        url: SecretStr | None = getattr(self, name)
        hosts = addresses.hosts_of_database(url.get_secret_value()) if url else []
        return any(map(_is_supabases, hosts))

    @field_validator("storage_quota", "database_quota", mode="before")
    @classmethod
    def _is_a_size(cls, size: object) -> object:
        if isinstance(size, str) and not re.fullmatch(r"\d+(\.\d{1,2})?\s*[A-Za-z]*", size.strip()):
            raise ValueError("write it in bytes, or as 500MB, 1GB or 1.5GB")  # 1,5GB and 1.000MB are read as others
        return size

    @property
    def secrets(self) -> list[str]:
        """What must never be in a message."""
        return [value.get_secret_value() for _, value in self if isinstance(value, SecretStr)]

    @property
    def shown(self) -> list[str]:
        """What may be in one: every other setting."""
        return [str(value) for _, value in self if value is not None and not isinstance(value, SecretStr)]

    @model_validator(mode="after")
    def _addresses(self) -> "Settings":
        """What cannot be used is refused now, with a ``ConfigurationError`` of its own, and not in two months."""
        for name in ("lakehouse_url", "supabase_url"):
            if url := getattr(self, name):
                addresses.check_project(url, name.upper(), allow_http=self.allow_http)
        for name, check in (
            ("lakehouse_db_url", addresses.check_database),
            ("source_db_url", addresses.check_database),
            ("alert_webhook", addresses.check_address),
            ("heartbeat_url", addresses.check_address),
        ):
            if secret := getattr(self, name):
                check(secret.get_secret_value(), name.upper())
        return self

    @model_validator(mode="after")
    def _whole_paths(self) -> "Settings":
        for name in PATHS:
            if name == "source_files" and self.source_files_mount:
                continue  # a path of the host, seen from inside a container
            if path := getattr(self, name):
                try:
                    setattr(self, name, path.expanduser().absolute())
                except RuntimeError:
                    raise ValueError(f"{name.upper()} begins with ~, and there is no such user") from None
        return self

    @model_validator(mode="after")
    def _whole_projects(self) -> "Settings":
        for url, key in (("lakehouse_url", "lakehouse_key"), ("supabase_url", "supabase_key")):
            given = {name.upper(): bool(getattr(self, name)) for name in (url, key)}
            if len(set(given.values())) == 2:
                there, lacks = sorted(given, key=lambda name: not given[name])
                raise ValueError(f"{there} is set, but {lacks} is not: a project needs both")
        return self

    @model_validator(mode="after")
    def _one_source(self) -> "Settings":
        sources = {
            "SUPABASE_URL": self.supabase_url,
            "SOURCE_DB_URL": self.source_db_url,
            "SOURCE_FILES": self.source_files,
        }
        given = [name for name, value in sources.items() if value]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are both set: keep one, so that it is clear which shop is read")
        return self


def _is_supabases(host: str) -> bool:
    """Whether the host is one of supabase.com's."""
    return host.endswith((".supabase.co", ".supabase.com"))


def found() -> environment.Found:
    """What ``.env`` sets, and which one that is. ``ConfigurationError`` if it, or the environment, is refused."""
    place = environment.place(os.environ, environment.CHECKOUT)
    names = [name.upper() for name in Settings.model_fields]
    read = environment.read(place, os.environ, names, [name.upper() for name in PATHS])
    if os.environ.get(environment.HOME):
        return read
    data = None if "DATA_DIR" in {*read.values, *_given()} else str(Settings.model_fields["data_dir"].default)
    return replace(read, warnings=[*read.warnings, *environment.left_behind(place, Path.cwd(), data)])


def _given() -> set[str]:
    return {name.upper() for name, value in os.environ.items() if value}


def load_settings() -> Settings:
    """The settings, or a ``ConfigurationError`` that names the variable and never shows its value.

    The environment goes before ``.env``, and what is empty in either was not set. Paths in ``.env``, and the default of
    ``DATA_DIR``, are relative to its folder; those of the environment to the working directory.
    """
    if os.environ.get(OF_EARLIER_KEYS):
        raise ConfigurationError(
            f"{OF_EARLIER_KEYS}: this .env was made by `make keys` of an earlier version",
            kept="nothing was read or written",
            next_step="beside docker-compose.yml: `make keys` (no password or key is changed), then what it says",
        )
    given, read = _given(), found()
    default = {"DATA_DIR": str(read.place.folder / Settings.model_fields["data_dir"].default)}
    from_file: dict[str, Any] = {
        name.lower(): value for name, value in {**default, **read.values}.items() if name not in given
    }
    try:
        settings = Settings(**from_file)
    except ValidationError as error:
        problem = error.errors()[0]
        variable = ".".join(map(str, problem["loc"])).upper()
        words = str(problem["msg"]).removeprefix("Value error, ")
        in_file = variable in read.values and variable not in given
        where = f"in {read.place.file}" if in_file else "where it is set: .env, or the environment"
        raise ConfigurationError(
            f"{variable}: {words}" if variable else words,
            kept="nothing was read or written",
            next_step=f"correct it {where} (see .env.example)",
        ) from None
    redaction.know(settings.secrets, settings.shown)
    return settings
