"""Texts for consumers: one catalogue for each language, in texts/."""

import tomllib
from collections.abc import Mapping
from datetime import date
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from fastapi import Request

from qrtrack.routers.languages import LANGUAGES, best_language

Catalogue = Mapping[str, Any]


@cache
def catalogue(language: str) -> Catalogue:
    text = resources.files(__package__).joinpath("texts", f"{language}.toml").read_text("utf-8")
    return MappingProxyType(tomllib.loads(text))


def language_of(request: Request) -> str:
    """`?lang=`, or the best one of Accept-Language; English where neither names one of ours."""
    asked = request.query_params.get("lang", "")
    return asked if asked in LANGUAGES else best_language(request.headers.get("Accept-Language", ""))


def written_day(day: date | None, language: str) -> str:
    """Such as 20 November 2026."""
    if day is None:
        return ""
    words = catalogue(language)
    return str(words["date"]).format(day=day.day, month=words["months"][day.month - 1], year=day.year)
