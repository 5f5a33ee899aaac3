from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from fastapi import FastAPI

from consumer import HOME, Consumer
from process import settings_of
from qrtrack.domain.identity import Caller
from qrtrack.runtime import Runtime
from qrtrack.settings import Settings
from routers.conftest import ClientOf

NewConsumer = Callable[..., Consumer]
MAKER = "PT Sinar <Emas>"


@pytest.fixture
def settings(migrated_url: str, tmp_path: Path, caller: Caller) -> Settings:
    names = f"{caller.organisation_id}={MAKER}; {UUID(int=1)}=Other"
    return settings_of(
        migrated_url,
        tmp_path,
        trusted_proxies=1,
        organisation_names=names,
        public_base_url="https://verify.example.com",
    )


@pytest.fixture
def new_consumer(app: FastAPI, runtime: Runtime, client_of: ClientOf) -> NewConsumer:
    """Makes consumers, each with a browser of their own."""
    return lambda address=HOME: Consumer(client_of(app, runtime), address)


@pytest.fixture
def consumer(new_consumer: NewConsumer) -> Consumer:
    return new_consumer()
