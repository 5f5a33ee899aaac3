"""Data for the pages that offer a recall."""

from qrtrack.console.language import catalogue
from qrtrack.routers.languages import LANGUAGES


def suggested_texts() -> dict[str, str]:
    """Returns the suggested text for consumers in every language."""
    return {name: catalogue(name)["recall.suggested"] for name in LANGUAGES}
