"""Settings from the environment and ``.env``. Everything is optional: an empty ``.env`` is a working program."""

from pathlib import Path

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from elt.errors import ConfigurationError


class Settings(BaseSettings):
    """What can be set. The names are the environment's variables, in upper case there."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore", hide_input_in_errors=True)

    data_dir: Path = Field(
        Path("data"), description="Folder of the embedded lakehouse, and of the bucket beside LAKEHOUSE_DB_URL."
    )
    lakehouse_db_url: SecretStr | None = Field(
        None, description="PostgreSQL of the lakehouse (postgresql://…): direct, by COPY."
    )
    source_db_url: SecretStr | None = Field(None, description="PostgreSQL of the shop (postgresql://…).")
    source_db_schema: str = Field("public", description="Schema of the shop's tables in SOURCE_DB_URL.")
    source_files: Path | None = Field(
        None, description="Folder with clientes, produtos and pedidos as .csv or .parquet."
    )

    @model_validator(mode="after")
    def _one_source(self) -> "Settings":
        if self.source_db_url and self.source_files:
            raise ValueError(
                "SOURCE_DB_URL and SOURCE_FILES are both set: keep one, so that it is clear which shop is read"
            )
        return self


def load_settings(env_file: Path | None = Path(".env")) -> Settings:
    """The settings, or a ``ConfigurationError`` that names the variable and never shows its value."""
    try:
        return Settings(_env_file=env_file)
    except ValidationError as error:
        problem = error.errors()[0]
        variable = ".".join(map(str, problem["loc"])).upper()
        words = str(problem["msg"]).removeprefix("Value error, ")
        raise ConfigurationError(
            f"{variable}: {words}" if variable else words,
            kept="nothing was read or written",
            next_step="correct it in .env (see .env.example)",
        ) from None
