"""The languages of pages, and the one that a browser asks for."""

from typing import Final

LANGUAGES: Final = ("en", "id")
"""Each package with pages has a catalogue of its own for each of them. The first one is for everybody else."""
# `in` is what old Android phones send for Indonesian. Malay is close to it.
SPOKEN_AS: Final = {"in": "id", "ms": "id"}
MOST_RANGES: Final = 20


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
