"""Every setting of the service, read once from the environment; nothing else reads it."""

import os
import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.errors import SettingsError

OFFLINE = "offline"
"""The name of the built-in model that needs no key."""

_DEFAULT_MODEL = "gpt-5.1"


class Settings(BaseSettings):
    """The service's configuration: `VIBECODER_*`, and the OpenAI client's own two variables.

    Times are in seconds, sizes in bytes.
    """

    model_config = SettingsConfigDict(
        env_prefix="VIBECODER_", frozen=True, extra="ignore", env_ignore_empty=True
    )

    host: str = Field("127.0.0.1", description="Address that the API binds.")
    port: int = Field(8000, ge=0, le=65535, description="Port that the API binds.")
    data_dir: Path = Field(
        Path("data"), description="Folder of the session files and, embedded, the database."
    )
    database_url: str | None = Field(
        None, description="postgresql://... or sqlite:///...; unset: SQLite in DATA_DIR."
    )
    redis_url: str | None = Field(
        None, description="redis://...; unset: an embedded worker in the API process."
    )
    namespace: str = Field(
        "vibecoder",
        pattern=r"^[A-Za-z0-9_.-]{1,64}$",
        description="Prefix of queue and channel names: services that share a Redis differ in it.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level that is logged."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="How lines are logged; auto: for people on a terminal, else JSON."
    )
    metrics_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Port on HOST where a worker answers /metrics and /health; unset: none.",
    )
    secrets_dir: Path | None = Field(
        None,
        description="Folder of files named like these variables, for what the environment should "
        "not hold; the environment comes first.",
    )
    publish: str | None = Field(
        None,
        description="Address and port at which a container's port is published; unset: HOST.",
    )
    anonymous: bool | None = Field(
        None,
        description="Serve without keys; unset: only on loopback, and until a key was made.",
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Names under which callers without a key are served, besides loopback names "
        "and the address itself, separated by commas.",
    )
    rate_limit: int | None = Field(
        None, ge=1, description="Requests a minute of one key, or without keys of one address."
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Origins whose pages may call the API, separated by commas; unset: none."
    )

    openai_api_key: SecretStr | None = Field(
        None, validation_alias="OPENAI_API_KEY", description="Key for the model's API."
    )
    openai_base_url: str | None = Field(
        None, validation_alias="OPENAI_BASE_URL", description="Where the model's API is."
    )
    model: str = Field(
        "", description="Model for messages that name none; unset: by whether a key is there."
    )
    models: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Models that a message may name besides MODEL, separated by commas."
    )
    model_api: Literal["responses", "chat_completions"] = Field(
        "responses", description="Which API of the model's server is spoken."
    )

    export_traces: bool = Field(
        False,  # noqa: FBT003 -- pydantic's way to say the default
        description="Let the Agents SDK send its traces to OpenAI too, tool calls included.",
    )
    otlp_endpoint: str | None = Field(
        None,
        validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        pattern="^https?://",
        description="http://...: where spans are sent by OTLP (needs the extra `otel`).",
    )

    prices: Path | None = Field(
        None,
        description="JSON file of model prices that are added to, or replace, the list prices.",
    )

    sync_wait_s: float = Field(
        55, gt=0, le=3600, description="How long a POST waits for its reply before it gets 202."
    )
    run_timeout_s: float = Field(300, gt=0, description="Limit of one run of a message.")
    model_timeout_s: float = Field(
        120, gt=0, description="Limit of one model call; of a streamed one, of each silence in it."
    )
    model_retries: int = Field(
        3, ge=0, le=20, description="How often a model call is tried again after a passing error."
    )
    tool_timeout_s: float = Field(20, gt=0, description="Limit of one tool call.")
    queue_timeout_s: float = Field(
        600, gt=0, description="How long a message may wait for a worker before it fails."
    )
    max_turns: int = Field(20, ge=1, description="Model calls that one message may take.")
    history_limit: int | None = Field(
        None,
        ge=1,
        description="Items of the conversation that the model gets at most: the newest whole "
        "messages that fit, at least one; unset: all.",
    )

    worker_concurrency: int = Field(100, ge=1, le=1000, description="Runs at once in a worker.")
    heartbeat_s: float = Field(1.5, gt=0, description="How often a worker renews its lease.")
    lease_s: float = Field(6, ge=2, description="How long a silent worker keeps its messages.")
    sweep_s: float = Field(
        1, gt=0, description="How often a worker looks for lost tasks and leases."
    )
    drain_s: float = Field(
        25, ge=0, description="How long a stopping worker lets its runs go on before it releases."
    )
    max_lost: int = Field(
        3, ge=1, description="Lost attempts after which a message fails instead of being run again."
    )

    prompt_limit: int = Field(1_000_000, ge=1, description="Longest prompt, in characters.")
    code_limit: int = Field(200_000, ge=1, description="Longest workflow module, in characters.")
    body_limit: int = Field(8_000_000, ge=1024, description="Largest request body, in bytes.")
    key_lifetime_s: float = Field(
        86_400, gt=0, description="How long an Idempotency-Key is known after its message ended."
    )
    session_queue_limit: int = Field(100, ge=1, description="Unfinished messages of a session.")
    project_queue_limit: int = Field(1000, ge=1, description="Unfinished messages of a project.")
    service_queue_limit: int = Field(10_000, ge=1, description="Unfinished messages in all.")
    project_concurrency: int = Field(
        50, ge=1, description="Messages of one project that are on their way to or in workers."
    )
    database_pool: int = Field(
        10,
        ge=1,
        le=200,
        description="Connections to PostgreSQL that a process has at the most; it closes those "
        "that were idle for a minute.",
    )

    webhook_private: bool = Field(
        False,  # noqa: FBT003 -- pydantic's way to say the default
        description="Let webhooks call plain http and addresses of private networks: for tests and "
        "closed networks.",
    )

    retention_days: float | None = Field(
        None,
        gt=0,
        le=36_500,
        description="Days after which a session that nobody used is deleted; unset: never.",
    )

    fault_point: str = Field(
        "", description="For tests only: the moment at which a worker kills itself."
    )

    @field_validator("models", "cors_origins", "allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @model_validator(mode="after")
    def _relations(self) -> Self:
        if self.lease_s < 3 * self.heartbeat_s:
            raise ValueError("VIBECODER_LEASE_S must be at least three times VIBECODER_HEARTBEAT_S")
        if self.sync_wait_s >= self.run_timeout_s:
            raise ValueError("VIBECODER_SYNC_WAIT_S must be shorter than VIBECODER_RUN_TIMEOUT_S")
        if self.model and self.model != OFFLINE and not self._has_model_server:
            raise ValueError(
                f"VIBECODER_MODEL={self.model} needs OPENAI_API_KEY or OPENAI_BASE_URL; "
                "set one, or VIBECODER_MODEL=offline"
            )
        if self.database_url and self.dialect not in ("sqlite", "postgresql"):
            raise ValueError(
                "VIBECODER_DATABASE_URL must start with postgresql:// or sqlite:/// (a file)"
            )
        if self.dialect == "postgresql" and not self.redis_url:
            raise ValueError(
                "PostgreSQL needs Redis: set VIBECODER_REDIS_URL, or unset VIBECODER_DATABASE_URL "
                "to run everything in one process on SQLite"
            )
        if self.redis_url and not self.redis_url.startswith(("redis://", "rediss://")):
            raise ValueError("VIBECODER_REDIS_URL must start with redis:// or rediss://")
        return self

    @property
    def _has_model_server(self) -> bool:
        return bool(self.openai_api_key or self.openai_base_url)

    @property
    def model_server(self) -> str | None:
        """Return the address of the model's server as people may see it: without a password."""
        if self.openai_base_url is None:
            return None
        scheme, separator, rest = self.openai_base_url.partition("://")
        place, slash, path = re.split("[?#]", rest)[0].partition("/")
        return f"{scheme}{separator}{place.rpartition('@')[2]}{slash}{path}"

    @property
    def default_model(self) -> str:
        """Return the model of messages that name none: `MODEL`, else by whether a key is there."""
        return self.model or (_DEFAULT_MODEL if self._has_model_server else OFFLINE)

    @property
    def allowed_models(self) -> tuple[str, ...]:
        """Return the models that a message may name; `offline` is always among them."""
        return tuple(dict.fromkeys((self.default_model, *self.models, OFFLINE)))

    @property
    def embedded(self) -> bool:
        """Tell whether the API process runs the worker itself."""
        return self.redis_url is None

    @property
    def on_loopback(self) -> bool:
        """Tell whether only this machine reaches the API."""
        published = self.publish and self.publish.rpartition(":")[0].strip("[]")
        return is_loopback(self.host if published is None else published)

    @property
    def dialect(self) -> str:
        """Return `sqlite` or `postgresql` (or what else the URL wrongly begins with)."""
        if not self.database_url:
            return "sqlite"
        scheme = self.database_url.split(":", 1)[0].split("+", 1)[0]
        return "postgresql" if scheme == "postgres" else scheme

    @property
    def database_location(self) -> str:
        """Return the URL without its scheme: what follows `sqlite:///` or `postgresql://`."""
        if not self.database_url:
            return str(self.data_dir / "vibecoder.db")
        separator = ":///" if self.dialect == "sqlite" else "://"
        return self.database_url.split(separator, 1)[-1]

    @property
    def run_limit_s(self) -> float:
        """Return the age at which an attempt counts as lost, whatever its worker's lease."""
        return self.run_timeout_s + 2 * self.lease_s

    @property
    def sessions_dir(self) -> Path:
        """Return the folder of the conversation memory files."""
        return self.data_dir / "sessions"


def is_loopback(host: str) -> bool:
    """Tell whether an address, or the name `localhost`, is this machine's own."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def load_settings() -> Settings:
    """Read the environment; raise SettingsError with one sentence a wrong setting."""
    try:
        return Settings(_secrets_dir=_secrets_dir())
    except ValidationError as error:
        raise SettingsError("; ".join(_sentence(item) for item in error.errors())) from None


def _secrets_dir() -> Path | None:
    named = os.environ.get("VIBECODER_SECRETS_DIR")
    if not named:
        return None
    if not Path(named).is_dir():
        raise SettingsError(f"VIBECODER_SECRETS_DIR={named} is no folder that can be read")
    return Path(named)


def _sentence(item: object) -> str:
    assert isinstance(item, dict)
    message = str(item["msg"]).removeprefix("Value error, ")
    if not item["loc"]:
        return message
    name = str(item["loc"][0])
    name = name if name.isupper() else f"VIBECODER_{name.upper()}"
    return f"{name}: {message[0].lower()}{message[1:]}, but it is {item['input']!r}"
