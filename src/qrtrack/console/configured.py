"""What is configured. The page is read by organisations' administrators, who do not run the service: values that are
secrets, or that name other organisations, hosts and accounts, are only said to be set.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_origin

from qrtrack.settings import Settings

SHOWN_TEXTS: Final = {"accurate_timezone", "plant_timezone", "public_base_url", "report_timezone"}
AREAS: Final = ("accurate", "akselgate", "database", "jwt", "notify", "smtp")


@dataclass(frozen=True, slots=True)
class Configured:
    """One setting. `value`: None where it is only said whether it is set."""

    name: str
    value: str | None
    is_set: bool


def list_settings(settings: Settings) -> Mapping[str, Sequence[Configured]]:
    """The settings by area; those of no area come first, under `program`."""
    areas: dict[str, list[Configured]] = {"program": []}
    for name, field in sorted(Settings.model_fields.items()):
        value = getattr(settings, name)
        shown = _written(value) if _is_harmless(name, field.annotation, value) else None
        area = next((area for area in AREAS if name.startswith(f"{area}_")), "program")
        areas.setdefault(area, []).append(Configured(name.upper(), shown, is_set=value not in (None, "")))
    return areas


def _is_harmless(name: str, annotation: Any, value: object) -> bool:
    """Numbers, switches and choices tell nothing about others."""
    return isinstance(value, bool | int | float) or get_origin(annotation) is Literal or name in SHOWN_TEXTS


def _written(value: object) -> str:
    """As people write it into the environment."""
    return str(value).lower() if isinstance(value, bool) else str(value).removesuffix(".0")
