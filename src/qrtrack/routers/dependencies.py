"""The dependencies of routes: the runtime, a caller with a permission, or a machine that holds a cron secret."""

import hmac
from collections.abc import Callable, Iterable, Mapping
from email.message import Message
from typing import Annotated, Any
from urllib.parse import unquote
from uuid import UUID

import structlog
from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr

from qrtrack.domain.errors import Forbidden, Unauthenticated, Unavailable
from qrtrack.domain.identity import ALLOWED, Caller, Permission, normal_user
from qrtrack.domain.root_keys import NotAskedFor
from qrtrack.runtime import Runtime
from qrtrack.services.console_sessions import Session, find_session

BODILESS_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

# The console's session.
SESSION_COOKIE = "qrtrack_session"
# For whom a page of the console was made: `organisation/user`, percent-encoded.
PERSON_HEADER = "Qrtrack-Person"

user_token = HTTPBearer(
    scheme_name="UserToken",
    bearerFormat="JWT",
    description="The token of a signed-in user. `qrtrack token` prints one.",
    auto_error=False,
)
machine_secret = HTTPBearer(
    scheme_name="MachineSecret", description="`CRON_SECRET` or `WORKER_SECRET`.", auto_error=False
)


class MissingRole(Forbidden):
    """None of the caller's roles allows this."""

    slug = "missing-role"
    title = "Role missing"


class OtherOrganisation(Forbidden):
    """The body names another organisation than the token."""

    slug = "other-organisation"
    title = "Another organisation"


class OtherUser(Forbidden):
    """The body, or the page that sent the request, names another user than the one who is signed in."""

    slug = "other-user"
    title = "Another user"


class OriginMissing(Forbidden):
    """A browser's request that changes something does not say which page sent it."""

    slug = "origin-missing"
    title = "Origin missing"
    message = "With a session cookie, send the Origin header, as browsers do; programs send a token instead."


async def _runtime(request: Request) -> Runtime:
    runtime: Runtime = request.state.runtime
    return runtime


RuntimeState = Annotated[Runtime, Depends(_runtime)]
UserCredentials = Annotated[HTTPAuthorizationCredentials | None, Security(user_token)]
MachineCredentials = Annotated[HTTPAuthorizationCredentials | None, Security(machine_secret)]


async def known_caller(request: Request, runtime: RuntimeState, credentials: UserCredentials) -> Caller:
    """Returns the caller of the request, by token or session. Runs once for each request, before the body is validated
    and anything is looked up.
    """
    caller = await _sign_in(request, runtime, credentials)
    check_speaker(await _json_object(request), caller)
    return caller


KnownCaller = Annotated[Caller, Depends(known_caller)]


async def sign_in(request: Request) -> tuple[Runtime, Caller]:
    """Identifies the caller before the body is read, so that no file is received from a caller who is then refused."""
    runtime = await _runtime(request)
    return runtime, await _sign_in(request, runtime, await user_token(request))


async def _sign_in(request: Request, runtime: Runtime, credentials: HTTPAuthorizationCredentials | None) -> Caller:
    """Verifies the token, or else finds the console's session. From here on every log line of the request names the
    user and the organisation.
    """
    if credentials is not None:
        caller = await runtime.tokens.verify(credentials.credentials)
    elif (session := await session_of(request)) is not None:
        caller = session.caller
    else:
        raise Unauthenticated("Sign in first: send a token as `Authorization: Bearer …`.")
    structlog.contextvars.bind_contextvars(user=caller.user_id, organisation=str(caller.organisation_id))
    return caller


async def session_of(request: Request) -> Session | None:
    """Returns the console session of the cookie, looked up once for each request. Browsers attach cookies by
    themselves, so a request that changes something must also have an Origin header. The middleware `Cors` has already
    refused other origins. A page also names the person it was made for: all tabs share the cookie, and another person
    may have signed in meanwhile. Raises OriginMissing or OtherUser.
    """
    token = request.cookies.get(SESSION_COOKIE)
    if token is None:
        return None
    if request.method not in BODILESS_METHODS and "Origin" not in request.headers:
        raise OriginMissing
    if not hasattr(request.state, "session"):
        runtime = await _runtime(request)
        request.state.session = await find_session(runtime.database, token)
    session: Session | None = request.state.session
    person = request.headers.get(PERSON_HEADER)
    if session is not None and person is not None:
        check_person(session, unquote(person))
    return session


def check_person(session: Session, person: str) -> None:
    """Raises OtherUser if the page was made for another person, who was signed in before."""
    if person != session.person:
        raise OtherUser("Another person has signed in meanwhile. Load the page again.")


async def may_reveal(request: Request) -> bool:
    """Whether the caller has asked for root keys. A link on a foreign page makes a browser send a GET with the
    session's cookie, but neither a token nor a header of ours.
    """
    is_by_token = SESSION_COOKIE not in request.cookies or await user_token(request) is not None
    return is_by_token or request.method not in BODILESS_METHODS or PERSON_HEADER in request.headers


MayReveal = Annotated[bool, Depends(may_reveal)]


async def _asked_for(request: Request, is_asked: MayReveal) -> None:
    if "reveal" in request.query_params and not is_asked:
        raise NotAskedFor


REVEALS = Depends(_asked_for)
"""For routes with `?reveal=root_key`: raises NotAskedFor."""


class Gate:
    """A dependency that returns the caller if `check` raises nothing. It needs no body. So StrictRoute calls `check`
    once before the body is read, and FastAPI calls it again as a dependency.
    """

    def __init__(self, check: Callable[[Runtime, Caller], None]) -> None:
        self.check = check

    async def __call__(self, runtime: RuntimeState, caller: KnownCaller) -> Caller:
        self.check(runtime, caller)
        return caller


def allow(permission: Permission) -> Gate:
    """Returns a gate for callers that hold the permission."""
    return Gate(lambda _runtime, caller: require(caller, permission))


def require(caller: Caller, permission: Permission) -> None:
    """Raises MissingRole."""
    if not caller.may(permission):
        roles = " or ".join(sorted(ALLOWED[permission]))
        raise MissingRole(f"This needs the role {roles}: ask your administrator.")


Packer = Annotated[Caller, Depends(allow(Permission.PACK))]
BatchManager = Annotated[Caller, Depends(allow(Permission.MANAGE_BATCHES))]
PrefixClaimer = Annotated[Caller, Depends(allow(Permission.CLAIM_PREFIXES))]
Replayer = Annotated[Caller, Depends(allow(Permission.RESOLVE_AND_REPLAY))]
ProgressReporter = Annotated[Caller, Depends(allow(Permission.DOCUMENTS_AND_PROGRESS))]
DocumentReader = Annotated[Caller, Depends(allow(Permission.DOCUMENTS_AND_PROGRESS))]


async def _json_object(request: Request) -> dict[str, Any]:
    """Returns the parsed JSON body. FastAPI uses the same parsed body later. Returns an empty object for any other
    body: FastAPI reads or refuses it later.
    """
    if request.method in BODILESS_METHODS or not _is_json(request.headers.get("Content-Type", "")):
        return {}
    try:
        body = await request.json()
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _is_json(content_type: str) -> bool:
    """Reads the header exactly as FastAPI does. A body that only FastAPI took for JSON would escape our checks."""
    if content_type == "application/json":
        return True
    message = Message()
    message["content-type"] = content_type
    subtype = message.get_content_subtype()
    return message.get_content_maintype() == "application" and (subtype == "json" or subtype.endswith("+json"))


def check_speaker(body: Mapping[str, Any], caller: Caller) -> None:
    """Raises OtherOrganisation or OtherUser if the body names somebody else than the token does."""
    organisation, user = body.get("manufacturer_org_id"), body.get("user_id")
    if organisation is not None and _as_uuid(organisation) != caller.organisation_id:
        raise OtherOrganisation("manufacturer_org_id is not the organisation you are signed in for: leave it out.")
    if user is not None and not (isinstance(user, str) and normal_user(user) == caller.user_id):
        raise OtherUser("user_id is not the user you are signed in as: leave it out.")


def _as_uuid(value: object) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


async def machine_caller(runtime: RuntimeState, credentials: MachineCredentials) -> None:
    """Accepts a cron job that holds one of the two secrets. If no secret is set, nobody is accepted."""
    secrets = (runtime.settings.cron_secret, runtime.settings.worker_secret)
    if not any(secrets):
        raise Unavailable("Calls by machines are switched off: set CRON_SECRET or WORKER_SECRET on the server.")
    if not _is_one_of(credentials, secrets):
        raise Unauthenticated("Send the cron secret as `Authorization: Bearer …`.")


async def is_watcher(request: Request) -> bool:
    """Returns whether the caller sent METRICS_TOKEN or a machine secret, and may see more than totals."""
    settings = (await _runtime(request)).settings
    secrets = (settings.metrics_token, settings.cron_secret, settings.worker_secret)
    return _is_one_of(await machine_secret(request), secrets)


def _is_one_of(credentials: HTTPAuthorizationCredentials | None, secrets: Iterable[SecretStr | None]) -> bool:
    """Compares with every secret, also after a match, so that the time reveals nothing."""
    # Header values are Latin-1 text. Encoding them again restores the sent bytes.
    given = credentials.credentials.encode("latin-1") if credentials else b""
    matches = [hmac.compare_digest(given, secret.get_secret_value().encode()) for secret in secrets if secret]
    return any(matches)
