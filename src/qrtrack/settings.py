"""Every setting of the program, read from the environment once, and the secrets that development makes by itself."""

import base64
import ipaddress
import logging
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from email.utils import parseaddr
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias
from urllib.parse import urlsplit
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

SECRET_LENGTH = 32
SIGNING_BYTES = 24
PLACEHOLDER_MARKS = ("changeme", "changethis", "replaceme", "replacethis", "placeholder", "example")
GUESSABLE_WORDS = ("secret", "password", "super", "qrtrack", "jwt", "cron", "key")
HOST = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*(:[1-9][0-9]{0,4})?", re.ASCII)
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

log = logging.getLogger(__name__)


class SettingsError(Exception):
    """The program cannot start with these settings; the message is one line for each, naming the setting."""


def _blank_is_unset(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


def _web_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("it must be a full address such as https://example.com")
    return value.rstrip("/")


def _postgresql_address(value: str) -> str:
    if not value.startswith(("postgresql:", "postgresql+asyncpg:", "postgres:")):
        raise ValueError("it must be an address that begins with postgresql://")
    return value


def _origins(value: str) -> str:
    for origin in _split(value):
        parts = urlsplit(origin)
        is_origin = parts.scheme in ("http", "https") and parts.netloc and not (parts.path or parts.query)
        if origin != "*" and not is_origin:
            raise ValueError("it must list origins such as https://app.example.com, with commas between them")
    return value


def _time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("it must name a time zone such as Asia/Jakarta") from error
    return value


def _zero_or_two(value: int) -> int:
    if value not in (0, 2):
        raise ValueError("it must be 0 or 2")
    return value


def _signing_secret(value: SecretStr | None) -> SecretStr | None:
    if value is not None:
        secret = value.get_secret_value().removeprefix("whsec_")
        try:
            usable = len(base64.b64decode(secret, validate=True)) >= SIGNING_BYTES
        except ValueError:
            usable = False
        if not usable:
            raise ValueError(f"it must be at least {SIGNING_BYTES} random bytes in base64, after whsec_ or by itself")
    return value


def _networks(value: str) -> str:
    try:
        _parsed_networks(value)
    except ValueError:
        raise ValueError("it must list addresses or networks such as 203.0.113.0/24, with commas between") from None
    return value


@lru_cache
def _parsed_networks(value: str) -> Sequence[Network]:
    return [ipaddress.ip_network(entry, strict=False) for entry in _split(value)]


def _databases(value: str) -> str:
    try:
        _owners(value)
    except ValueError:
        raise ValueError("it must list <database id>=<organisation uuid>, with commas between them") from None
    return value


@lru_cache
def _owners(value: str) -> Mapping[int, UUID]:
    pairs = (entry.split("=", 1) for entry in _split(value))
    return {int(database): UUID(organisation.strip()) for database, organisation in pairs}


def _split(value: str) -> list[str]:
    return [entry.strip() for entry in value.split(",") if entry.strip()]


def _mail_server(value: SecretStr | None) -> SecretStr | None:
    if value is not None:
        try:
            parts = urlsplit(value.get_secret_value())
            usable = parts.scheme in ("smtp", "smtps") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise ValueError("it must be an address such as smtps://user:password@mail.example.com")
    return value


def _hosts(value: str) -> str:
    if not all(HOST.fullmatch(entry) for entry in _split(value)):
        raise ValueError("it must list host names, each with :port unless that is 443, with commas between them")
    return value


@lru_cache
def _parsed_hosts(value: str) -> frozenset[tuple[str, int]]:
    pairs = (entry.lower().partition(":") for entry in _split(value))
    return frozenset((host, int(port or 443)) for host, _, port in pairs)


Secret = Annotated[SecretStr | None, BeforeValidator(_blank_is_unset)]
SigningSecret = Annotated[SecretStr | None, AfterValidator(_signing_secret), BeforeValidator(_blank_is_unset)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
DatabaseAddress = Annotated[str, AfterValidator(_postgresql_address)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
AmountScale = Annotated[int, AfterValidator(_zero_or_two)]
Origins = Annotated[str, AfterValidator(_origins)]
Networks = Annotated[str, AfterValidator(_networks)]
Hosts = Annotated[str, AfterValidator(_hosts)]
MailServer = Annotated[SecretStr | None, AfterValidator(_mail_server), BeforeValidator(_blank_is_unset)]
Databases = Annotated[str, AfterValidator(_databases)]


class Settings(BaseSettings):
    """Settings with their defaults; the names are those of the environment variables, case aside.

    In production an instance with a missing or placeholder secret cannot exist.
    """

    # Inputs stay out of validation errors, since a mistyped secret or database password would be printed with them.
    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    qrtrack_env: Literal["development", "production"] = "development"
    qrtrack_data_dir: Path = Path("var")
    database_url: DatabaseAddress | None = Field(None, repr=False)
    database_pooler: Literal["none", "transaction"] = "none"
    database_pool_size: int = Field(20, ge=1, le=500)
    jwt_secret: Secret = None
    jwt_jwks_url: WebAddress | None = None
    jwt_audience: str | None = None
    jwt_issuer: str | None = None
    secret_key: Secret = None
    cron_secret: Secret = None
    worker_secret: Secret = None
    cors_allowed_origins: Origins = ""
    public_base_url: WebAddress = "http://127.0.0.1:8000"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    bcrypt_cost: int = Field(10, ge=4, le=16)
    hash_threads: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=0, le=256)
    reverse_job_slots: int = Field(2, ge=0, le=64)
    creating_slots: int = Field(2, ge=0, le=64)
    lease_seconds: float = Field(30.0, gt=0, le=3600)
    poll_seconds: float = Field(1.0, gt=0, le=60)
    shutdown_grace_seconds: float = Field(10.0, ge=0, le=300)
    retention_days: int = Field(90, ge=1, le=36500)
    trusted_proxies: int = Field(0, ge=0, le=16)
    accurate_webhook_token: Secret = None
    accurate_allowed_ips: Networks = ""
    accurate_databases: Databases = ""
    accurate_timezone: TimeZone = "Asia/Jakarta"
    accurate_workers: int = Field(4, ge=0, le=64)
    accurate_payload_days: int = Field(90, ge=1, le=36500)
    accurate_api_token: Secret = None
    accurate_account_url: WebAddress = "https://account.accurate.id"
    accurate_forward_url: WebAddress | None = None
    accurate_forward_secret: SigningSecret = None
    akselgate_base_url: WebAddress | None = None
    akselgate_username: str | None = None
    akselgate_password: Secret = None
    akselgate_organisation: UUID | None = None
    akselgate_amount_scale: AmountScale | None = None
    akselgate_deadline_seconds: float = Field(60.0, gt=0, le=600)
    akselgate_success_codes: str = ""
    akselgate_core: str = Field("", max_length=100)
    akselgate_branch_code: str = Field("", max_length=100)
    akselgate_branch_name: str = Field("", max_length=100)
    smtp_url: MailServer = None
    smtp_from: str | None = None
    notify_allowed_hosts: Hosts = ""
    notify_secret: SigningSecret = None
    report_timezone: TimeZone = "Asia/Jakarta"

    @property
    def cors_origins(self) -> list[str]:
        return [origin.rstrip("/") for origin in _split(self.cors_allowed_origins)]

    @property
    def akselgate_codes(self) -> list[str]:
        return _split(self.akselgate_success_codes)

    @property
    def akselgate_complaint(self) -> str | None:
        """Why no money may travel in production with these addresses, if so."""
        if self.qrtrack_env != "production" or _is_of_this_machine(self.akselgate_base_url):
            return None
        if not _is_safe_way(self.akselgate_base_url):
            return "AKSELGATE_BASE_URL must begin with https:// in production: money travels there."
        if _is_of_this_machine(self.public_base_url):
            return "PUBLIC_BASE_URL must be where the bank can call back: it is still this machine's own address."
        return None

    @property
    def webhook_tokens(self) -> Sequence[bytes]:
        """Two are valid at a time while Accurate is moved from one to the other."""
        given = self.accurate_webhook_token
        return [] if given is None else [token.encode() for token in _split(given.get_secret_value())]

    @property
    def webhook_networks(self) -> Sequence[Network]:
        return _parsed_networks(self.accurate_allowed_ips)

    @property
    def database_owners(self) -> Mapping[int, UUID]:
        """The organisation of each of Accurate's databases."""
        return _owners(self.accurate_databases)

    @property
    def notify_hosts(self) -> frozenset[tuple[str, int]]:
        """The hosts that may be called with notifications, each with its port."""
        return _parsed_hosts(self.notify_allowed_hosts)

    @property
    def needed_secrets(self) -> dict[str, SecretStr | None]:
        """The secrets nothing works without, by field name; a key set (JWKS) stands in for JWT_SECRET."""
        needed = {"jwt_secret": self.jwt_secret, "secret_key": self.secret_key, "cron_secret": self.cron_secret}
        if self.jwt_jwks_url is not None:
            del needed["jwt_secret"]
        return needed

    @model_validator(mode="after")
    def _sign_what_is_forwarded(self) -> Self:
        if self.accurate_forward_url is not None and self.accurate_forward_secret is None:
            raise ValueError("ACCURATE_FORWARD_SECRET is not set: what goes to ACCURATE_FORWARD_URL is signed.")
        return self

    @model_validator(mode="after")
    def _say_who_notifies(self) -> Self:
        if self.smtp_url is not None and (self.smtp_from is None or "@" not in parseaddr(self.smtp_from)[1]):
            raise ValueError("SMTP_FROM is not an e-mail address: what goes to SMTP_URL needs a sender.")
        if self.notify_hosts and self.notify_secret is None:
            raise ValueError("NOTIFY_SECRET is not set: what goes to NOTIFY_ALLOWED_HOSTS is signed.")
        return self

    @model_validator(mode="after")
    def _guard_production(self) -> Self:
        if self.qrtrack_env == "production":
            complaints = [*self._secret_complaints(), *self._address_complaints()]
            if complaints:
                raise ValueError("\n".join(complaints))
        return self

    def _secret_complaints(self) -> list[str]:
        given = {"jwt_secret": self.jwt_secret, "worker_secret": self.worker_secret}
        checked = self.needed_secrets | {name: value for name, value in given.items() if value is not None}
        complaints = [
            f"ACCURATE_WEBHOOK_TOKEN holds a placeholder or too short a token: "
            f"production needs random values of at least {SECRET_LENGTH} characters."
            for token in self.webhook_tokens
            if _is_placeholder(token.decode())
        ][:1]
        for name, secret in checked.items():
            if secret is None:
                complaints.append(f"{name.upper()} is not set: production needs a random value of its own.")
            elif _is_placeholder(secret.get_secret_value()):
                complaints.append(
                    f"{name.upper()} is a placeholder or too short: "
                    f"production needs a random value of at least {SECRET_LENGTH} characters."
                )
        return complaints

    def _address_complaints(self) -> list[str]:
        complaints = []
        if not _is_safe_way(self.jwt_jwks_url):
            complaints.append(
                "JWT_JWKS_URL must begin with https:// in production: whoever changes the keys on the way signs in."
            )
        return complaints


def _is_safe_way(address: str | None) -> bool:
    return urlsplit(address or "https:").scheme == "https" or _is_of_this_machine(address)


def _is_of_this_machine(address: str | None) -> bool:
    return urlsplit(address or "").hostname in LOOPBACK_HOSTS


def _is_placeholder(value: str) -> bool:
    """Random text of this length practically never spells a mark or keeps to so few different characters."""
    letters = "".join(filter(str.isalnum, value.lower()))
    if len(value.strip()) < SECRET_LENGTH or any(mark in letters for mark in PLACEHOLDER_MARKS):
        return True
    for word in GUESSABLE_WORDS:
        letters = letters.replace(word, "")
    return len(letters) < SECRET_LENGTH // 2 or len(set(letters)) < 8


def load_settings() -> Settings:
    """The settings of this process, complete with secrets; raises SettingsError with a line for each bad setting.

    Processes that start at the same time on the same data folder end up with the same secrets.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        raise SettingsError("\n".join(_complaint(detail) for detail in error.errors())) from None
    missing = [name for name, secret in settings.needed_secrets.items() if secret is None]
    folder = settings.qrtrack_data_dir / "secrets"
    return settings.model_copy(update={name: SecretStr(_kept_secret(folder, name)) for name in missing})


def _complaint(error: ErrorDetails) -> str:
    message = error["msg"].removeprefix("Value error, ")
    name = "_".join(str(part) for part in error["loc"][:1]).upper()
    return f"{name} cannot be used: {message[:1].lower()}{message[1:]}." if name else message


def _kept_secret(folder: Path, name: str) -> str:
    path = folder / name
    try:
        if not path.exists():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if _write_once(path, secrets.token_urlsafe(48)):
                log.warning("%s is not set: made one for development and keep it in %s", name.upper(), path)
        value = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{name.upper()} is not set, and none could be kept in {path}: {error}") from error
    if len(value) < SECRET_LENGTH:
        raise SettingsError(f"{name.upper()} is not set, and {path} holds no usable one: set it, or remove the file.")
    return value


def _write_once(path: Path, value: str) -> bool:
    """Whether this call made the file. It appears complete or not at all, even if the machine stops half-way."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{value}\n")
            file.flush()
            os.fsync(file.fileno())
        # A link, unlike a rename, never replaces the file of another process that was faster.
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True
