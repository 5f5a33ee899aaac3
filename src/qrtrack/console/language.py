"""The texts of the console in the languages of its catalogues, and numbers and times as people there write them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from starlette.requests import Request

from qrtrack.domain.matching import MOST_COUNTED
from qrtrack.routers.languages import ENGLISH, LANGUAGES, best_language, read_catalogue

THOUSANDS: Final = {ENGLISH: ",", "id": "."}
DECIMAL_POINTS: Final = {ENGLISH: ".", "id": ","}
UNITS: Final = (("days", 86400), ("hours", 3600), ("minutes", 60), ("seconds", 1))
LANGUAGE_COOKIE: Final = "qrtrack_language"


class Value(str):
    """A value of a text. In a text, `{count:unit|units}` writes the first word for 1, and the other one for every other
    count. A value that is a placeholder itself keeps both: a script fills them in.
    """

    __slots__ = ()

    def __format__(self, words: str) -> str:
        if not words:
            return str(self)
        if self.startswith("{"):
            return f"{self[:-1]}:{words}}}"
        one, _, many = words.partition("|")
        return one if self == "1" else many


@dataclass(frozen=True, slots=True)
class Language:
    """One language, and the time zone of the plant."""

    name: str
    zone: ZoneInfo

    def text(self, key: str, **values: Any) -> str:
        """Returns the text of the key. Raises KeyError if there is none, so that a page never shows a key."""
        return catalogue(self.name)[key].format(**{name: Value(value) for name, value in values.items()})

    def texts(self, *sections: str) -> dict[str, str]:
        """Returns all texts of the sections, for the scripts of a page."""
        return {key: text for key, text in catalogue(self.name).items() if key.partition(".")[0] in sections}

    def number(self, value: int) -> str:
        return f"{value:,}".replace(",", THOUSANDS[self.name])

    def amount(self, value: Decimal) -> str:
        """Writes an amount with all its decimals: `1,234,567.50` in English, `1.234.567,50` in Indonesian."""
        whole, point, decimals = f"{value:,f}".partition(".")
        separators = {",": ".", ".": ","} if THOUSANDS[self.name] == "." else {}
        return whole.replace(",", THOUSANDS[self.name]) + separators.get(point, point) + decimals

    def duration(self, seconds: float) -> str:
        """Writes a duration as `1:02:03`, or `2:03` below an hour."""
        minutes, rest = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

    def decimal(self, value: float) -> str:
        """Writes a number as `38.1`, without zeros at the end."""
        return f"{value:g}".replace(".", DECIMAL_POINTS[self.name])

    def day(self, at: datetime) -> str:
        """Writes the day as `2026-11-26`, in the plant's zone."""
        return at.astimezone(self.zone).strftime("%Y-%m-%d")

    def counted(self, value: int) -> str:
        """Writes a count. A count above MOST_COUNTED becomes `10,000+`."""
        return f"{self.number(MOST_COUNTED)}+" if value > MOST_COUNTED else self.number(value)

    def time(self, at: datetime) -> str:
        """Writes the time as `14:31 WIB`, in the plant's zone."""
        return at.astimezone(self.zone).strftime("%H:%M %Z")

    def age(self, seconds: float) -> str:
        """Writes an age as `3 min`, in the largest unit that fits, rounded down."""
        name, length = next((unit for unit in UNITS if seconds >= unit[1]), UNITS[-1])
        return self.text(f"age.{name}", count=self.number(int(seconds // length)))

    def moment(self, at: datetime) -> str:
        """Writes day and time as `2026-11-26 14:31 WIB`."""
        return at.astimezone(self.zone).strftime("%Y-%m-%d %H:%M %Z")


@cache
def catalogue(language: str) -> Mapping[str, str]:
    """Returns the texts of a language by their dotted keys."""
    return dict(_flat(read_catalogue("qrtrack.console", language)))


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, str):
            yield f"{prefix}{key}", value
        else:
            yield from _flat(value, f"{prefix}{key}.")


def language_of(request: Request) -> str:
    """Returns the language that the person chose, or else the best one that the browser asks for."""
    chosen = request.cookies.get(LANGUAGE_COOKIE, "")
    return chosen if chosen in LANGUAGES else best_language(request.headers.get("Accept-Language", ""))
