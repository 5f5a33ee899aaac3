"""Texts for consumers: one catalogue for each language, in texts/."""

from datetime import date

from fastapi import Request

from qrtrack.routers.languages import LANGUAGES, Catalogue, best_language, read_catalogue


def catalogue(language: str) -> Catalogue:
    return read_catalogue(__package__ or "", language)


def language_of(request: Request) -> str:
    """Returns the language of `?lang=`, or else the best one of Accept-Language, or else English."""
    asked = request.query_params.get("lang", "")
    return asked if asked in LANGUAGES else best_language(request.headers.get("Accept-Language", ""))


def written_day(day: date | None, language: str) -> str:
    """Returns the day as a text, such as `20 November 2026`."""
    if day is None:
        return ""
    words = catalogue(language)
    return str(words["date"]).format(day=day.day, month=words["months"][day.month - 1], year=day.year)
