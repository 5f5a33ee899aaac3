"""Compares .env.example with the Settings class and the compose file."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from dotenv import dotenv_values

from qrtrack.settings import Settings

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / ".env.example"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields:
        monkeypatch.delenv(field.upper(), raising=False)
        monkeypatch.delenv(field, raising=False)


def test_the_example_names_every_setting_and_nothing_else() -> None:
    settings = {field.upper() for field in Settings.model_fields}
    assert set(dotenv_values(EXAMPLE)) - set(compose_variables()) == settings


def test_the_example_names_every_variable_of_the_compose_file() -> None:
    assert set(compose_variables()) <= set(dotenv_values(EXAMPLE))


def test_the_example_shows_the_defaults() -> None:
    assert Settings(_env_file=EXAMPLE) == Settings(_env_file=None)


def compose_variables() -> Iterator[str]:
    for match in re.finditer(r"\$\{(\w+)", (ROOT / "compose.yaml").read_text()):
        yield match[1]
