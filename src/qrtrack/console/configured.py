"""The settings that the console shows to an organisation's administrators. Administrators do not run the service, so
the page shows no secrets, and of values that name organisations, hosts or accounts it only says whether they are set.
The exception is PUBLIC_BASE_URL, which every printed symbol shows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_origin

from qrtrack.settings import Settings

SHOWN_TEXTS: Final = {"accurate_timezone", "plant_timezone", "public_base_url", "report_timezone"}
AREAS: Final = ("accurate", "akselgate", "database", "jwt", "notify", "smtp")


@dataclass(frozen=True, slots=True)
class Configured:
    """One setting. `value` is None if the page only says whether the setting is set."""

    name: str
    value: str | None
    is_set: bool


def list_settings(settings: Settings) -> Mapping[str, Sequence[Configured]]:
    """Returns the settings by area. Settings that belong to no area come first, under `program`."""
    areas: dict[str, list[Configured]] = {"program": []}
    for name, field in sorted(Settings.model_fields.items()):
        value = getattr(settings, name)
        shown = _written(value) if _is_harmless(name, field.annotation, value) else None
        area = next((area for area in AREAS if name.startswith(f"{area}_")), "program")
        areas.setdefault(area, []).append(Configured(name.upper(), shown, is_set=value not in (None, "")))
    return areas


def _is_harmless(name: str, annotation: Any, value: object) -> bool:
    """Returns whether the value may be shown. Numbers, switches and choices name no other organisation, host or
    account.
    """
    return isinstance(value, bool | int | float) or get_origin(annotation) is Literal or name in SHOWN_TEXTS


def _written(value: object) -> str:
    """Returns the value as people write it into the environment."""
    return str(value).lower() if isinstance(value, bool) else str(value).removesuffix(".0")
