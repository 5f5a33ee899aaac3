"""The catalogues of texts: one file for each language, with the same keys and placeholders."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from qrtrack.domain.verification.checks import Result
from qrtrack.domain.verification.reports import ReportReason
from qrtrack.routers.languages import LANGUAGES, best_language
from qrtrack.routers.verification.pages import ENVIRONMENT
from qrtrack.routers.verification.texts import catalogue


def placeholders(words: Any, place: str = "") -> Iterator[tuple[str, frozenset[str]]]:
    """Every key, with the placeholders of its text."""
    if isinstance(words, str):
        yield place, frozenset(re.findall(r"\{(\w+)\}", words))
    elif isinstance(words, list):
        yield place, frozenset({str(len(words))})
    else:
        for key, inner in words.items():
            yield from placeholders(inner, f"{place}.{key}")


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_catalogues_have_the_same_keys_and_placeholders(language: str) -> None:
    assert dict(placeholders(catalogue(language))) == dict(placeholders(catalogue("en")))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_result_and_every_reason_has_its_text(language: str) -> None:
    assert catalogue(language)["results"].keys() == set(Result)
    assert list(catalogue(language)["report"]["reasons"]) == list(ReportReason)


def test_no_text_stands_in_the_template() -> None:
    """Only the name of the switch, which is in both languages."""
    assert ENVIRONMENT.loader is not None
    source, _, _ = ENVIRONMENT.loader.get_source(ENVIRONMENT, "page.html")
    plain = re.sub(r"\{[{%#].*?[}%#]\}", "", source, flags=re.DOTALL)
    shown = re.sub(r"<[^>]*>", "", plain)
    assert re.findall(r"\w{3,}", shown) == []


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("id", "id"), ("ID-id", "id"), ("ms-MY", "id"), ("en;q=0.5, id;q=0.6", "id"), ("en, id", "en"),
        ("fr, id;q=0.1", "id"), ("id;q=0", "en"), ("id;q=nonsense", "en"), ("*", "en"), ("," * 500 + "id", "en"),
        ("", "en"),
    ],
)  # fmt: skip
def test_the_language_is_the_one_of_the_highest_quality(accepted: str, language: str) -> None:
    assert best_language(accepted) == language
