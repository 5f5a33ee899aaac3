"""The languages of the pages, and the choice of one by Accept-Language. The texts are in the folder `texts`
of each package that has pages.
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Final

ENGLISH: Final = "en"
LANGUAGES: Final[Mapping[str, str]] = {ENGLISH: "English", "id": "Bahasa Indonesia"}
# Old Android phones send `in` for Indonesian.
SPOKEN_AS: Final = {"in": "id", "ms": "id"}
MOST_RANGES: Final = 20

Catalogue = Mapping[str, Any]


@cache
def read_catalogue(package: str, language: str) -> Catalogue:
    """Reads the texts of the package from `texts/{language}.toml`."""
    text = resources.files(package).joinpath("texts", f"{language}.toml").read_text("utf-8")
    return MappingProxyType(tomllib.loads(text))


def best_language(accepted: str) -> str:
    """Returns the supported language with the highest quality in Accept-Language (of equal ones the first), or else
    English.
    """
    best, quality_of_best = ENGLISH, 0.0
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
