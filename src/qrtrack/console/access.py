"""The visitor of a page. A visitor without a session is redirected to the sign-in page, and after signing in back to
the page.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import quote
from zoneinfo import ZoneInfo

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.responses import Response

from qrtrack.console.language import Language, language_of
from qrtrack.console.rendering import page
from qrtrack.database import Database
from qrtrack.domain.errors import DomainError, Forbidden, InvalidInput, NotFound
from qrtrack.domain.identity import SPELLED_UUID, Caller, Permission
from qrtrack.repositories import Repositories
from qrtrack.routers.dependencies import SESSION_COOKIE, OtherUser, require, session_of
from qrtrack.runtime import Runtime
from qrtrack.services.console_sessions import Session

SIGN_IN: Final = "/console/sign-in"
# After signing in, a visitor of a longer address gets the overview instead: a proxy might refuse the long Location
# header.
LONGEST_RETURN: Final = 2000
SHORT_ID: Final = 8
PAGES: Final = (
    ("overview", "/console", None),
    ("batches", "/console/batches", Permission.PACK),
    ("packing", "/console/packing", Permission.PACK),
    ("jobs", "/console/jobs", Permission.PACK),
    ("verification", "/console/verification", Permission.PACK),
    ("webhooks", "/console/webhooks", Permission.RESOLVE_AND_REPLAY),
    ("settlements", "/console/settlements", Permission.DISPATCH),
    ("progress", "/console/progress", Permission.DOCUMENTS_AND_PROGRESS),
    ("settings", "/console/settings", Permission.MANAGE_BATCHES),
)


@dataclass(frozen=True, slots=True)
class Visitor:
    """A signed-in person who visits a page: the request, the session, the language, and access to the database."""

    request: Request
    runtime: Runtime
    session: Session
    language: Language

    @property
    def caller(self) -> Caller:
        return self.session.caller

    @property
    def database(self) -> Database:
        return self.runtime.database

    def read(self) -> AbstractAsyncContextManager[Repositories]:
        """Opens one READ ONLY transaction that shows the rows of the person's organisation."""
        return self.database.read(tenant=self.caller.organisation_id)

    def may(self, permission: Permission) -> bool:
        return self.caller.may(permission)

    def name_of(self, user_id: str) -> str:
        """Returns what a page calls a person. Tokens contain an id and no name, so a UUID is shortened. The page
        has the whole UUID in a `title`.
        """
        if user_id == self.caller.user_id:
            return self.language.text("people.me")
        return f"{user_id[:SHORT_ID]}…" if SPELLED_UUID.fullmatch(user_id) else user_id

    def told(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the values of one step of a history, with the name of the person who made it."""
        return {**facts, "actor": self.name_of(facts["actor"])} if facts.get("actor") else dict(facts)

    def pages(self) -> list[tuple[str, str]]:
        """Returns the pages that the person may open, with their addresses, in the order of the navigation."""
        return [(name, address) for name, address, permission in PAGES if permission is None or self.may(permission)]

    def is_at(self, address: str) -> bool:
        """Returns whether the visited page has this address, or one below it."""
        path = self.request.url.path
        return path == address or (address != "/console" and path.startswith(f"{address}/"))

    @property
    def may_search(self) -> bool:
        return self.may(Permission.PACK)

    def page(self, template: str, spoken: Sequence[str] = (), /, **values: Any) -> Response:
        """Renders the template. `spoken` names the sections of texts that the page's own scripts need; those that every
        page needs are added.
        """
        texts = self.language.texts("press", "refusal", "problem", "field", "camera", *spoken)
        url = self.request.url
        visited = f"{url.path}?{url.query}" if url.query else url.path
        return page(self.language, template, visitor=self, path=url.path, visited=visited, spoken=texts, **values)


class NamesPerson(BaseModel):
    """A form whose action is recorded under a person's name. `person` is the person for whom its page was made."""

    person: str = Field(max_length=2000)


class SignInNeeded(Exception):
    """There is no session, or it has ended."""


async def _visitor(request: Request) -> Visitor:
    runtime: Runtime = request.state.runtime
    session = await session_of(request)
    if session is None:
        raise SignInNeeded
    return Visitor(request, runtime, session, language(request))


def language(request: Request) -> Language:
    runtime: Runtime = request.state.runtime
    return Language(language_of(request), ZoneInfo(runtime.settings.plant_timezone))


SignedIn = Annotated[Visitor, Depends(_visitor)]


def allow(permission: Permission) -> Callable[[Visitor], Visitor]:
    """Returns a dependency that admits visitors who hold the permission. It raises MissingRole for all others."""

    def check(visitor: SignedIn) -> Visitor:
        require(visitor.caller, permission)
        return visitor

    return check


Packer = Annotated[Visitor, Depends(allow(Permission.PACK))]
Manager = Annotated[Visitor, Depends(allow(Permission.MANAGE_BATCHES))]
Replayer = Annotated[Visitor, Depends(allow(Permission.RESOLVE_AND_REPLAY))]
Financier = Annotated[Visitor, Depends(allow(Permission.DISPATCH))]
Watcher = Annotated[Visitor, Depends(allow(Permission.DOCUMENTS_AND_PROGRESS))]


class ConsoleRoute(APIRoute):
    """The class of the console's routes: errors become pages, and a missing session leads to the sign-in page."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_visibly(request: Request) -> Response:
            try:
                return await handle(request)
            except SignInNeeded:
                return _to_sign_in(request)
            except RequestValidationError:
                kind, status = "invalid", 422
            except DomainError as error:
                if isinstance(error, OtherUser) and "HX-Request" in request.headers:
                    return _say_other_person(request)
                kind, status = _kind_of(error)
            return page(language(request), "error.html", status_code=status, kind=kind)

        return handle_visibly


def _kind_of(error: DomainError) -> tuple[str, int]:
    """Returns the key of the error page's text, and the HTTP status."""
    match error:
        case NotFound() | InvalidInput():
            return "not_found", 404
        case OtherUser():
            return "other_person", 403
        case Forbidden():
            return "forbidden", 403
        case _:
            return "unavailable", 503


def _say_other_person(request: Request) -> Response:
    """Returns a notice for a part of a page that was made for another person. htmx shows it instead of the page's
    notice about old parts. The page does not load itself anew: the person may still read what they typed.
    """
    answer = page(language(request), "other_person.html")
    answer.headers.update({"HX-Retarget": "#stale", "HX-Reswap": "outerHTML"})
    return answer


def _to_sign_in(request: Request) -> Response:
    """Redirects to the sign-in page. A request for a part of a page gets HX-Redirect, with which htmx leaves the whole
    page.
    """
    is_part = "HX-Request" in request.headers
    if is_part:
        where = "/console" + request.headers.get("HX-Current-URL", "").partition("/console")[2]
    else:
        where = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    if len(where) > LONGEST_RETURN:
        where = "/console"
    ended = "ended=1&" if SESSION_COOKIE in request.cookies else ""
    address = f"{SIGN_IN}?{ended}next={quote(where, safe='')}"
    return Response(status_code=204, headers={"HX-Redirect": address}) if is_part else RedirectResponse(address, 303)
