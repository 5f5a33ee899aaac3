"""What routes ask for: the runtime, the caller with a permission, or a machine that holds a cron secret."""

import hmac
from collections.abc import Callable, Iterable, Mapping
from email.message import Message
from typing import Annotated, Any, ClassVar
from uuid import UUID

import structlog
from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr

from qrtrack.domain.errors import Forbidden, Unauthenticated, Unavailable
from qrtrack.domain.identity import ALLOWED, Caller, Permission, normal_user
from qrtrack.runtime import Runtime
from qrtrack.services.console_sessions import Session, find_session

BODILESS_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

# The console's session.
SESSION_COOKIE = "qrtrack_session"

user_token = HTTPBearer(
    scheme_name="UserToken",
    bearerFormat="JWT",
    description="Token of a signed-in user; `qrtrack token` makes one.",
    auto_error=False,
)
machine_secret = HTTPBearer(
    scheme_name="MachineSecret", description="`CRON_SECRET` or `WORKER_SECRET`.", auto_error=False
)


class MissingRole(Forbidden):
    """None of the caller's roles allows this."""

    slug: ClassVar[str] = "missing-role"
    title: ClassVar[str] = "Role missing"


class OtherOrganisation(Forbidden):
    """The body names another organisation than the token."""

    slug: ClassVar[str] = "other-organisation"
    title: ClassVar[str] = "Another organisation"


class OtherUser(Forbidden):
    """The body names another user than the token."""

    slug: ClassVar[str] = "other-user"
    title: ClassVar[str] = "Another user"


class OriginMissing(Forbidden):
    """A browser's request that changes something does not say which page sent it."""

    slug: ClassVar[str] = "origin-missing"
    title: ClassVar[str] = "Origin missing"

    def __init__(self) -> None:
        super().__init__(
            "With a session cookie, send the Origin header, as browsers do; programs send a token instead."
        )


async def _runtime(request: Request) -> Runtime:
    runtime: Runtime = request.state.runtime
    return runtime


RuntimeState = Annotated[Runtime, Depends(_runtime)]
UserCredentials = Annotated[HTTPAuthorizationCredentials | None, Security(user_token)]
MachineCredentials = Annotated[HTTPAuthorizationCredentials | None, Security(machine_secret)]


async def known_caller(request: Request, runtime: RuntimeState, credentials: UserCredentials) -> Caller:
    """Whose token or session it is, once a request; runs before the body is validated and anything is looked up."""
    caller = await _sign_in(request, runtime, credentials)
    check_speaker(await _json_object(request), caller)
    return caller


KnownCaller = Annotated[Caller, Depends(known_caller)]


async def sign_in(request: Request) -> tuple[Runtime, Caller]:
    """For the moment before the body is read: nobody's files are taken in first, to be refused then."""
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
    """The session of the console that the cookie names, looked up once a request.

    Browsers attach cookies by themselves. So what changes something must also say, by its Origin, that a page of this
    service sent it; the middleware `Cors` has refused other origins before. Raises OriginMissing.
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
    return session


class Gate:
    """A dependency that gives the caller where `check` raises nothing. It needs no body, and so runs before one is
    read, and once more as the dependency that it is.
    """

    def __init__(self, check: Callable[[Runtime, Caller], None]) -> None:
        self.check = check

    async def __call__(self, runtime: RuntimeState, caller: KnownCaller) -> Caller:
        self.check(runtime, caller)
        return caller


def allow(permission: Permission) -> Gate:
    """Lets callers through who hold the permission."""
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
    """The body that FastAPI parses as JSON, parsed once for both; empty if it is none, since that is refused later."""
    if request.method in BODILESS_METHODS or not _is_json(request.headers.get("Content-Type", "")):
        return {}
    try:
        body = await request.json()
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _is_json(content_type: str) -> bool:
    """Reads the header as FastAPI does: a body it parses and we do not would go unchecked."""
    if content_type == "application/json":
        return True
    message = Message()
    message["content-type"] = content_type
    subtype = message.get_content_subtype()
    return message.get_content_maintype() == "application" and (subtype == "json" or subtype.endswith("+json"))


def check_speaker(body: Mapping[str, Any], caller: Caller) -> None:
    """Raises OtherOrganisation or OtherUser where the body names somebody else than the token."""
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
    """Lets a cron job through that holds one of the two secrets; without any secret set nobody gets through."""
    secrets = (runtime.settings.cron_secret, runtime.settings.worker_secret)
    if not any(secrets):
        raise Unavailable("Calls of machines are switched off: set CRON_SECRET or WORKER_SECRET on the server.")
    if not _is_one_of(credentials, secrets):
        raise Unauthenticated("Send the cron secret as `Authorization: Bearer …`.")


async def is_watcher(request: Request) -> bool:
    """Whether the caller may see more than totals: by METRICS_TOKEN or a machine secret. Nobody is refused."""
    settings = (await _runtime(request)).settings
    secrets = (settings.metrics_token, settings.cron_secret, settings.worker_secret)
    return _is_one_of(await machine_secret(request), secrets)


def _is_one_of(credentials: HTTPAuthorizationCredentials | None, secrets: Iterable[SecretStr | None]) -> bool:
    """Compares with each, whatever fits first: the time tells nothing."""
    # Header values arrive as Latin-1 text; encoded back they are the bytes that were sent.
    given = credentials.credentials.encode("latin-1") if credentials else b""
    matches = [hmac.compare_digest(given, secret.get_secret_value().encode()) for secret in secrets if secret]
    return any(matches)
