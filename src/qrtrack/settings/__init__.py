"""Every setting of the program, with its default and its rules."""

import os
from collections.abc import Mapping, Sequence
from email.utils import parseaddr
from pathlib import Path
from typing import Literal, Self
from uuid import UUID

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from qrtrack.settings.addresses import BaseAddress, PrintedAddress, WebAddress
from qrtrack.settings.public_hosts import PublicAddresses, PublicHosts, RetiredHosts
from qrtrack.settings.secrets import SECRET_LENGTH, SettingsError, is_placeholder
from qrtrack.settings.values import (
    DEFAULT_TENANT_ROLE,
    AmountScale,
    DatabaseAddress,
    Databases,
    FailureCodes,
    HeaderNames,
    HeaderSecret,
    Hosts,
    MailServer,
    Network,
    Networks,
    OrganisationNames,
    Origins,
    RoleName,
    Secret,
    SigningSecret,
    TimeZone,
    check_as_written,
    is_of_this_machine,
    is_safe_way,
    origin_of,
    parsed_databases,
    parsed_hosts,
    parsed_names,
    parsed_networks,
    parsed_origins,
    split,
)

__all__ = ["Settings", "SettingsError"]


class Settings(BaseSettings):
    """All settings with their defaults. Their names are those of the environment variables, in lower case.

    In production, settings with a missing or placeholder secret are refused.
    """

    # Validation errors do not contain inputs, since they would print a mistyped secret or database password.
    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    qrtrack_env: Literal["development", "production"] = "development"
    qrtrack_data_dir: Path = Path("var")
    database_url: DatabaseAddress | None = Field(None, repr=False)
    database_pooler: Literal["none", "transaction"] = "none"
    database_tenant_role: RoleName = DEFAULT_TENANT_ROLE
    database_pool_size: int = Field(20, ge=1, le=500)
    jwt_secret: Secret = None
    jwt_jwks_url: WebAddress | None = None
    jwt_audience: str | None = None
    jwt_issuer: str | None = None
    secret_key: Secret = None
    cron_secret: Secret = None
    worker_secret: Secret = None
    metrics_token: Secret = None
    cors_allowed_origins: Origins = ""
    cors_allowed_headers: HeaderNames = "traceparent, tracestate, baggage, sentry-trace, x-client-info"
    public_base_url: PrintedAddress = "http://127.0.0.1:8000"
    public_hosts: PublicHosts = ""
    retired_public_hosts: RetiredHosts = ""
    verify_requires_release: bool = False
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    bcrypt_cost: int = Field(10, ge=4, le=16)
    hash_threads: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=0, le=256)
    reverse_job_slots: int = Field(2, ge=0, le=64)
    creating_slots: int = Field(2, ge=0, le=64)
    label_slots: int = Field(1, ge=0, le=64)
    verify_slots: int = Field(default_factory=lambda: min(os.cpu_count() or 1, 8), ge=1, le=64)
    organisation_names: OrganisationNames = ""
    printer_networks: Networks = ""
    lease_seconds: float = Field(30.0, gt=0, le=3600)
    poll_seconds: float = Field(1.0, gt=0, le=60)
    shutdown_grace_seconds: float = Field(10.0, ge=0, le=300)
    retention_days: int = Field(90, ge=1, le=36500)
    trusted_proxies: int = Field(0, ge=0, le=16)
    max_connections: int = Field(5000, ge=1, le=1_000_000)
    max_connections_per_address: int = Field(1000, ge=1, le=1_000_000)
    accurate_webhook_token: Secret = None
    accurate_allowed_ips: Networks = ""
    accurate_databases: Databases = ""
    accurate_timezone: TimeZone = "Asia/Jakarta"
    accurate_workers: int = Field(4, ge=0, le=64)
    accurate_payload_days: int = Field(90, ge=1, le=36500)
    accurate_api_token: HeaderSecret = None
    accurate_signature_secret: Secret = None
    accurate_signature_encoding: Literal["base64", "hex"] = "base64"
    accurate_account_url: BaseAddress = "https://account.accurate.id"
    accurate_forward_url: WebAddress | None = None
    accurate_forward_secret: SigningSecret = None
    akselgate_base_url: BaseAddress | None = None
    akselgate_username: str | None = None
    akselgate_password: Secret = None
    akselgate_organisation: UUID | None = None
    akselgate_amount_scale: AmountScale | None = None
    akselgate_deadline_seconds: float = Field(60.0, gt=0, le=600)
    akselgate_success_codes: str = ""
    akselgate_failure_codes: FailureCodes = "05,12,13,14,30,51,52,53,54,55,57,58,61,62,65,75,76,77,78"
    akselgate_core: str = Field("", max_length=100)
    akselgate_branch_code: str = Field("", max_length=100)
    akselgate_branch_name: str = Field("", max_length=100)
    smtp_url: MailServer = None
    smtp_from: str | None = None
    notify_allowed_hosts: Hosts = ""
    notify_secret: SigningSecret = None
    report_timezone: TimeZone = "Asia/Jakarta"
    plant_timezone: TimeZone = "Asia/Jakarta"
    console_session_hours: float = Field(12.0, gt=0, le=168)

    @property
    def cors_origins(self) -> list[str]:
        return parsed_origins(self.cors_allowed_origins)

    @property
    def cors_headers(self) -> list[str]:
        """The headers that a front end may send from another origin, besides those of our API."""
        return split(self.cors_allowed_headers)

    @property
    def public_origin(self) -> str:
        """The origin of the service's own pages, as browsers send it."""
        return origin_of(self.public_base_url)

    @property
    def public_addresses(self) -> PublicAddresses:
        return PublicAddresses.parse(self.public_base_url, self.public_hosts, self.retired_public_hosts)

    @property
    def akselgate_codes(self) -> list[str]:
        return split(self.akselgate_success_codes)

    @property
    def akselgate_failures(self) -> frozenset[str]:
        """Result codes of a callback which mean that nothing was paid."""
        return frozenset(split(self.akselgate_failure_codes))

    @property
    def akselgate_complaint(self) -> str | None:
        """The reason why production refuses to dispatch with these addresses; None if it does not."""
        if self.qrtrack_env != "production" or is_of_this_machine(self.akselgate_base_url):
            return None
        if not is_safe_way(self.akselgate_base_url):
            return "AKSELGATE_BASE_URL must begin with https:// in production: money travels there."
        if is_of_this_machine(self.public_base_url):
            return "PUBLIC_BASE_URL must be where the bank can call back: it is still this machine's own address."
        return None

    @property
    def webhook_tokens(self) -> Sequence[bytes]:
        """Two tokens are valid while you change the address at Accurate from the old one to the new one."""
        given = self.accurate_webhook_token
        return [] if given is None else [token.encode() for token in split(given.get_secret_value())]

    @property
    def webhook_networks(self) -> Sequence[Network]:
        return parsed_networks(self.accurate_allowed_ips)

    @property
    def print_networks(self) -> Sequence[Network]:
        """The networks that printers may be in."""
        return parsed_networks(self.printer_networks)

    @property
    def database_owners(self) -> Mapping[int, UUID]:
        """The organisation that owns each of Accurate's databases."""
        return parsed_databases(self.accurate_databases)

    @property
    def names_of_organisations(self) -> Mapping[UUID, str]:
        """The names of organisations that consumers read as the maker of a product."""
        return parsed_names(self.organisation_names)

    @property
    def notify_hosts(self) -> frozenset[tuple[str, int]]:
        """The hosts that notifications may go to, each with its port."""
        return parsed_hosts(self.notify_allowed_hosts)

    @property
    def needed_secrets(self) -> dict[str, SecretStr | None]:
        """The secrets that every process needs, by field name. With a key set (JWKS), JWT_SECRET is not needed."""
        needed = {"jwt_secret": self.jwt_secret, "secret_key": self.secret_key, "cron_secret": self.cron_secret}
        if self.jwt_jwks_url is not None:
            del needed["jwt_secret"]
        return needed

    @field_validator("*", mode="before")
    @classmethod
    def _take_as_written(cls, value: object) -> object:
        return check_as_written(value)

    @model_validator(mode="after")
    def _take_two_webhook_tokens_at_most(self) -> Self:
        if len(self.webhook_tokens) > 2:
            raise ValueError("ACCURATE_WEBHOOK_TOKEN holds more than two tokens: keep the old one and the new one.")
        return self

    @model_validator(mode="after")
    def _sign_what_is_forwarded(self) -> Self:
        if self.accurate_forward_url is not None and self.accurate_forward_secret is None:
            raise ValueError(
                "ACCURATE_FORWARD_SECRET is not set: events that are sent to ACCURATE_FORWARD_URL must be signed."
            )
        return self

    @model_validator(mode="after")
    def _keep_the_api_on_a_host(self) -> Self:
        self.public_addresses.check()
        return self

    @model_validator(mode="after")
    def _say_who_notifies(self) -> Self:
        if self.smtp_url is not None and (self.smtp_from is None or "@" not in parseaddr(self.smtp_from)[1]):
            raise ValueError("SMTP_FROM is not an e-mail address: mails that are sent through SMTP_URL need a sender.")
        if self.notify_hosts and self.notify_secret is None:
            raise ValueError("NOTIFY_SECRET is not set: notifications to NOTIFY_ALLOWED_HOSTS must be signed.")
        return self

    @model_validator(mode="after")
    def _guard_production(self) -> Self:
        if self.qrtrack_env == "production":
            complaints = [*self._secret_complaints(), *self._address_complaints()]
            if complaints:
                raise ValueError("\n".join(complaints))
        return self

    def _secret_complaints(self) -> list[str]:
        given = {
            "jwt_secret": self.jwt_secret,
            "worker_secret": self.worker_secret,
            "metrics_token": self.metrics_token,
        }
        checked = self.needed_secrets | {name: value for name, value in given.items() if value is not None}
        complaints = [
            f"ACCURATE_WEBHOOK_TOKEN contains a placeholder or a token that is too short: "
            f"production needs random values of at least {SECRET_LENGTH} characters."
            for token in self.webhook_tokens
            if is_placeholder(token.decode())
        ][:1]
        for name, secret in checked.items():
            if secret is None:
                complaints.append(f"{name.upper()} is not set: production needs a random value for it.")
            elif is_placeholder(secret.get_secret_value()):
                complaints.append(
                    f"{name.upper()} is a placeholder or too short: "
                    f"production needs a random value of at least {SECRET_LENGTH} characters."
                )
        return complaints

    def _address_complaints(self) -> list[str]:
        complaints = []
        if self.database_url is None:
            complaints.append(
                "DATABASE_URL is not set: production needs a PostgreSQL server that you run and back up, not the "
                "embedded one."
            )
        if not is_safe_way(self.jwt_jwks_url):
            complaints.append(
                "JWT_JWKS_URL must begin with https:// in production: without TLS, an attacker could replace the keys."
            )
        return complaints
