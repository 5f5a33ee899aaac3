"""Texts for consumers: one catalogue for each language, in texts/."""

import tomllib
from collections.abc import Mapping
from datetime import date
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Final

from fastapi import Request

LANGUAGES: Final = ("en", "id")
# `in` is what old Android phones send for Indonesian.
SPOKEN_AS: Final = {"in": "id", "ms": "id"}
MOST_RANGES: Final = 20

Catalogue = Mapping[str, Any]


@cache
def catalogue(language: str) -> Catalogue:
    text = resources.files(__package__).joinpath("texts", f"{language}.toml").read_text("utf-8")
    return MappingProxyType(tomllib.loads(text))


def language_of(request: Request) -> str:
    """`?lang=`, or the best one of Accept-Language; English where neither names one of ours."""
    asked = request.query_params.get("lang", "")
    return asked if asked in LANGUAGES else best_language(request.headers.get("Accept-Language", ""))


def best_language(accepted: str) -> str:
    """The language of ours with the highest quality; of equals the first."""
    best, quality_of_best = LANGUAGES[0], 0.0
    for entry in accepted.split(",")[:MOST_RANGES]:
        name, _, parameter = entry.partition(";")
        primary = name.strip().partition("-")[0].lower()
        language, quality = SPOKEN_AS.get(primary, primary), _quality(parameter)
        if language in LANGUAGES and quality > quality_of_best:
            best, quality_of_best = language, quality
    return best


def _quality(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    try:
        return float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0


def written_day(day: date | None, language: str) -> str:
    """Such as 20 November 2026."""
    if day is None:
        return ""
    words = catalogue(language)
    return str(words["date"]).format(day=day.day, month=words["months"][day.month - 1], year=day.year)
