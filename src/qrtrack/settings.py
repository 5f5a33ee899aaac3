"""Every setting of the program, read from the environment once."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal
from uuid import UUID  # noqa: F401

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings with their defaults; the names are those of the environment variables, case aside."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True)

    qrtrack_env: Literal["development", "production"] = "development"
    qrtrack_data_dir: Path = Path("var")
    database_url: str | None = None
    database_pooler: Literal["none", "transaction"] = "none"
    database_pool_size: int = Field(20, ge=1, le=500)
    jwt_secret: SecretStr | None = None
    jwt_jwks_url: str | None = None
    jwt_audience: str | None = None
    jwt_issuer: str | None = None
    secret_key: SecretStr | None = None
    cron_secret: SecretStr | None = None
    worker_secret: SecretStr | None = None
    cors_allowed_origins: str = ""
    public_base_url: str = "http://127.0.0.1:8000"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    bcrypt_cost: int = Field(10, ge=4, le=16)
    hash_threads: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=0, le=256)
    reverse_job_slots: int = Field(2, ge=0, le=64)
    creating_slots: int = Field(2, ge=0, le=64)
    lease_seconds: float = Field(30.0, gt=0, le=3600)
    poll_seconds: float = Field(1.0, gt=0, le=60)
    shutdown_grace_seconds: float = Field(10.0, ge=0, le=300)
