"""What every page needs that offers a recall."""

from qrtrack.console.language import catalogue
from qrtrack.routers.languages import LANGUAGES


def suggested_texts() -> dict[str, str]:
    """What consumers might read, in every language."""
    return {name: catalogue(name)["recall.suggested"] for name in LANGUAGES}
