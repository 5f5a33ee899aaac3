"""The texts of the console in the languages of its catalogues, and numbers and times as people there write them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from starlette.requests import Request

from qrtrack.routers.languages import ENGLISH, LANGUAGES, best_language, read_catalogue

THOUSANDS: Final = {ENGLISH: ",", "id": "."}
LANGUAGE_COOKIE: Final = "qrtrack_language"
COUNTED: Final = 10_000
"""Where the console stops counting rows."""


@dataclass(frozen=True, slots=True)
class Language:
    """One language, and the time zone of the plant."""

    name: str
    zone: ZoneInfo

    def text(self, key: str, **values: Any) -> str:
        """The catalogue's text of the key. Raises KeyError: a page never shows a key."""
        return catalogue(self.name)[key].format(**values)

    def texts(self, *sections: str) -> dict[str, str]:
        """All texts of the sections, for scripts."""
        return {key: text for key, text in catalogue(self.name).items() if key.partition(".")[0] in sections}

    def number(self, value: int) -> str:
        return f"{value:,}".replace(",", THOUSANDS[self.name])

    def counted(self, value: int) -> str:
        """A count that stopped at COUNTED: `10,000+`."""
        return f"{self.number(COUNTED)}+" if value >= COUNTED else self.number(value)

    def time(self, at: datetime) -> str:
        """`14:31`, in the plant's zone."""
        return at.astimezone(self.zone).strftime("%H:%M")

    def moment(self, at: datetime) -> str:
        """`2026-11-26 14:31 WIB`."""
        return at.astimezone(self.zone).strftime("%Y-%m-%d %H:%M %Z")


@cache
def catalogue(language: str) -> Mapping[str, str]:
    """The texts by their dotted keys."""
    return dict(_flat(read_catalogue("qrtrack.console", language)))


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, str):
            yield f"{prefix}{key}", value
        else:
            yield from _flat(value, f"{prefix}{key}.")


def language_of(request: Request) -> str:
    """The language that the person chose, or else the best one that the browser asks for."""
    chosen = request.cookies.get(LANGUAGE_COOKIE, "")
    return chosen if chosen in LANGUAGES else best_language(request.headers.get("Accept-Language", ""))
