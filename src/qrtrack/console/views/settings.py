"""Settings: printers and label formats for managers; who is signed in, what is configured and health for admins."""

from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Form, Path, Request
from fastapi.responses import RedirectResponse
from pydantic import ValidationError
from starlette.responses import Response

from qrtrack.console.access import ConsoleRoute, Manager, Visitor, allow
from qrtrack.console.configured import list_settings
from qrtrack.console.language import catalogue
from qrtrack.console.pictures import picture_of
from qrtrack.domain.errors import InvalidInput
from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.identity import Permission
from qrtrack.domain.labels.formats import A4, NAME_PATTERN, LabelFormat, Sheet, definition_of, format_of
from qrtrack.domain.labels.label_jobs import PRESET_OF, Labelled
from qrtrack.schemas.base import ONE_LINE
from qrtrack.schemas.labels.label_formats import LabelFormatRequest
from qrtrack.services.console_sessions import list_signed_in, revoke_sessions
from qrtrack.services.labels.label_formats import get_label_format, list_label_formats
from qrtrack.services.labels.printers import networks_of
from qrtrack.services.versions import read_versions

router = APIRouter(route_class=ConsoleRoute, prefix="/console/settings", include_in_schema=False)

SHOWN_PRINTS: Final = 20
PRINT_DAYS: Final = 7
SHOWN_PEOPLE: Final = 100
WHOLE_NUMBERS: Final = ("across", "columns", "rows")
NOTHING_YET: Final[dict[str, Any]] = {
    "width": None,
    "height": None,
    "page": {"width": A4[0], "height": A4[1]},
    "margins": {"left": None, "top": None},
    "pitch": {"x": None, "y": None},
    "grid": {"columns": None, "rows": None},
    "across": 1,
    "gap": 0,
}

Admin = Annotated[Visitor, Depends(allow(Permission.SEE_INSTALLATION))]
Kind = Literal["sheet", "roll"]


@router.get("")
async def show_settings(visitor: Manager) -> Response:
    formats = [
        (listed, format_of(listed.label_format))
        for listed in await list_label_formats(visitor.database, caller=visitor.caller)
    ]
    is_admin = visitor.may(Permission.SEE_INSTALLATION)
    return visitor.page(
        "settings.html", formats=formats, picture=picture_of, measure=visitor.language.decimal, is_admin=is_admin,
        **await _printers(visitor), **(await _installation(visitor) if is_admin else {}),
    )  # fmt: skip


@router.get("/printers/now")
async def show_printers_now(visitor: Manager) -> Response:
    return visitor.page("settings_printers.html", **await _printers(visitor))


@router.get("/health/now")
async def show_health_now(visitor: Admin) -> Response:
    return visitor.page("settings_health.html", **await _health(visitor))


@router.get("/new-printer")
async def show_new_printer(visitor: Manager) -> Response:
    return visitor.page("settings_printer.html", printer=None, **await _printing(visitor))


@router.get("/printers/{printer_id}")
async def show_printer(visitor: Manager, printer_id: UUID) -> Response:
    async with visitor.read() as repositories:
        printer = await repositories.printers.view(printer_id)
    return visitor.page("settings_printer.html", printer=printer, **await _printing(visitor))


@router.get("/new-format")
async def show_new_format(visitor: Manager, kind: Kind = "sheet") -> Response:
    return visitor.page("settings_format.html", name=None, kind=kind, values=NOTHING_YET, picture=None, why=None)


@router.get("/formats/{name}")
async def show_format(visitor: Manager, name: Annotated[str, Path(pattern=NAME_PATTERN)]) -> Response:
    found = await get_label_format(visitor.database, caller=visitor.caller, name=name)
    values = definition_of(found)
    return visitor.page(
        "settings_format.html", name=name, kind=values["kind"], values=values, picture=picture_of(found), why=None
    )


@router.get("/format-picture")
async def show_format_picture(visitor: Manager) -> Response:
    """Shows the picture of the label format while a person fills in the form."""
    try:
        picture, why = picture_of(_read_format(visitor.request)), None
    except ValidationError:
        picture, why = None, None
    except InvalidInput as error:
        picture, why = None, _why_not(visitor, error)
    return visitor.page("settings_picture.html", picture=picture, why=why)


def _why_not(visitor: Visitor, error: InvalidInput) -> str | None:
    """Returns what is wrong: in the visitor's language, or in English if the code has no text. Returns None while
    fields are empty.
    """
    wrong = error.errors[0]
    if wrong.code == FieldCode.REQUIRED:
        return None
    key = f"field.{wrong.code}"
    is_known = key in catalogue(visitor.language.name)
    return visitor.language.text(key, **wrong.params) if is_known else error.detail


@router.post("/sign-out")
async def sign_somebody_out(visitor: Admin, user: Annotated[str, Form(max_length=1000, pattern=ONE_LINE)]) -> Response:
    """Ends all sessions and voids all unused sign-in links of one person of the organisation."""
    await revoke_sessions(visitor.database, organisation_id=visitor.caller.organisation_id, user_id=user)
    return RedirectResponse("/console/settings#people", 303)


def _read_format(request: Request) -> LabelFormat:
    """Builds the label format from form fields such as `margins.left`. Raises ValidationError or InvalidInput."""
    body: dict[str, Any] = {}
    for name, text in request.query_params.items():
        part, _, inner = name.partition(".")
        if text and part in LabelFormatRequest.model_fields:
            whole = (inner or part) in WHOLE_NUMBERS
            value = text if part == "kind" else _number(text, is_whole=whole)
            before = body.get(part)
            body[part] = {**(before if isinstance(before, dict) else {}), inner: value} if inner else value
    label_format = LabelFormatRequest.model_validate(body).label_format()
    if isinstance(label_format, Sheet):
        label_format.check()
    return label_format


def _number(text: str, *, is_whole: bool) -> float | str:
    """Converts a number. Other text is returned unchanged, and the schema refuses it."""
    try:
        return int(text) if is_whole else float(text)
    except ValueError:
        return text


async def _printers(visitor: Visitor) -> dict[str, object]:
    async with visitor.read() as repositories:
        return {
            "printing_on": bool(networks_of(visitor.runtime.settings)),
            "printers": await repositories.printers.list(),
            "not_printed": await repositories.print_jobs.list_not_printed(days=PRINT_DAYS, limit=SHOWN_PRINTS),
            "days": PRINT_DAYS,
        }


async def _printing(visitor: Visitor) -> dict[str, object]:
    formats = await list_label_formats(visitor.database, caller=visitor.caller)
    default = {str(kind): preset for (what, kind), preset in PRESET_OF.items() if what is Labelled.CASES}
    return {
        "printing_on": bool(networks_of(visitor.runtime.settings)),
        "presets": [listed.name for listed in formats],
        "default_preset": default["zpl"],
    }


async def _installation(visitor: Visitor) -> dict[str, object]:
    return {
        "people": await list_signed_in(visitor.database, caller=visitor.caller, limit=SHOWN_PEOPLE),
        "configured": list_settings(visitor.runtime.settings),
        "versions": await read_versions(visitor.database),
        **await _health(visitor),
    }


async def _health(visitor: Visitor) -> dict[str, object]:
    """Returns the totals of the whole service that /readyz shows to everybody. They name no organisation."""
    gauges = await visitor.runtime.gauges.at_hand()
    # Only queues with running or due work. Periodic tasks and retries wait for a later time, and would always be
    # listed.
    due = [queue for queue in gauges.queues if queue.running or queue.oldest_seconds is not None] if gauges else []
    return {"gauges": gauges, "due": due}
