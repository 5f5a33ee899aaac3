"""Signing in with a token or the code of a link, signing out, and a person's own choices: station and language."""

from typing import Annotated, Final

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field
from starlette.responses import Response

from qrtrack.console.access import LONGEST_RETURN, SIGN_IN, ConsoleRoute, SignedIn, language
from qrtrack.console.language import LANGUAGE_COOKIE
from qrtrack.console.rendering import page
from qrtrack.console.stored import translate_stored
from qrtrack.domain.errors import Forbidden, Unauthenticated
from qrtrack.routers.client_addresses import came_over_https
from qrtrack.routers.dependencies import SESSION_COOKIE, RuntimeState
from qrtrack.routers.languages import LANGUAGES
from qrtrack.runtime import Runtime
from qrtrack.schemas.base import ONE_LINE
from qrtrack.services.console_sessions import end_session, move_session, open_session, open_session_by_code

router = APIRouter(route_class=ConsoleRoute, prefix="/console", include_in_schema=False)

HOME: Final = "/console"
TOKEN_LENGTH: Final = 16_384
# The longest address that the server accepts.
LONGEST_ADDRESS: Final = 65_536
YEAR_SECONDS: Final = 366 * 24 * 3600


# The packing page sends the station to the JSON API, which refuses control characters.
StationName = Annotated[str, Field(max_length=200, pattern=ONE_LINE)]


class Return(BaseModel):
    """The page that opens after the form is sent."""

    where: str = Field(HOME, alias="next", max_length=LONGEST_ADDRESS)


class SignIn(Return):
    """A token, or the code of a link."""

    token: str = Field("", max_length=TOKEN_LENGTH)
    code: str = Field("", max_length=200)
    station: StationName = ""


class Station(Return):
    station: StationName = ""


class ChosenLanguage(Return):
    name: str = Field(max_length=10)


class Arrival(Return):
    """Why the visitor is here: their session has ended, or they have signed out."""

    ended: bool = False
    signed_out: bool = False

    @property
    def why(self) -> str | None:
        """The key of a text."""
        return "ended" if self.ended else "signed_out" if self.signed_out else None


@router.get("/sign-in")
async def show_sign_in(request: Request, arrival: Annotated[Arrival, Query()]) -> Response:
    return page(language(request), "sign_in.html", next=_own(arrival.where), why=arrival.why, error=None)


@router.post("/sign-in")
async def sign_in(request: Request, runtime: RuntimeState, form: Annotated[SignIn, Form()]) -> Response:
    where, said = _own(form.where), language(request)
    try:
        session = await _open_session(runtime, form)
        why = said.text("sign_in.link_spent")
    except (Unauthenticated, Forbidden) as error:
        session, why = None, said.text("sign_in.refused", reason=translate_stored(said, str(error)) or str(error))
    if session is None:
        return page(said, "sign_in.html", status_code=401, next=where, why=None, error=why)
    # The new cookie replaces that of an earlier session in this browser. End that session: without its cookie nobody
    # could sign it out.
    await end_session(runtime.database, request.cookies.get(SESSION_COOKIE, ""))
    answer = RedirectResponse(where, 303)
    answer.set_cookie(
        SESSION_COOKIE, session, max_age=round(runtime.settings.console_session_hours * 3600), httponly=True,
        samesite="lax", secure=came_over_https(request, runtime.settings.trusted_proxies), path="/",
    )  # fmt: skip
    return answer


async def _open_session(runtime: Runtime, form: SignIn) -> str | None:
    """Returns the value of the cookie, or None if the link was used or has expired. Raises Unauthenticated or
    Forbidden for a token that is not accepted.
    """
    hours, station = runtime.settings.console_session_hours, form.station.strip() or None
    if form.code:
        return await open_session_by_code(runtime.database, form.code, station=station, hours=hours)
    caller = await runtime.tokens.verify(form.token.strip().removeprefix("Bearer "))
    return await open_session(runtime.database, caller, station=station, hours=hours)


@router.post("/sign-out")
async def sign_out(request: Request, runtime: RuntimeState) -> Response:
    await end_session(runtime.database, request.cookies.get(SESSION_COOKIE, ""))
    answer = RedirectResponse(f"{SIGN_IN}?signed_out=1", 303)
    answer.delete_cookie(SESSION_COOKIE, path="/")
    return answer


@router.post("/station")
async def change_station(visitor: SignedIn, form: Annotated[Station, Form()]) -> Response:
    token = visitor.request.cookies[SESSION_COOKIE]
    await move_session(visitor.database, token, station=form.station.strip() or None)
    return RedirectResponse(_own(form.where), 303)


@router.post("/language")
async def change_language(form: Annotated[ChosenLanguage, Form()]) -> Response:
    answer = RedirectResponse(_own(form.where), 303)
    if form.name in LANGUAGES:
        answer.set_cookie(LANGUAGE_COOKIE, form.name, max_age=YEAR_SECONDS, samesite="lax", path="/")
    return answer


def _own(where: str) -> str:
    """Returns the address if it is a page of the console, or else the overview: a manipulated link must not lead to
    another server after the sign-in.
    """
    is_own = where == HOME or where.startswith((f"{HOME}/", f"{HOME}?"))
    return where if is_own and len(where) <= LONGEST_RETURN else HOME
