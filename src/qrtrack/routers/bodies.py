"""Reads request bodies: only from callers who may send one, parsed once for each request, and refused if an object
contains a key twice.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from typing import Annotated, Any, Final

import fastapi
from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from qrtrack.domain.errors import DomainError, FieldError, InvalidInput
from qrtrack.domain.field_codes import FieldCode
from qrtrack.routers.addresses import is_literal
from qrtrack.routers.body_limits import LONGEST_BODY
from qrtrack.routers.dependencies import BODILESS_METHODS, Gate, known_caller, sign_in
from qrtrack.routers.field_errors import pointer_to
from qrtrack.routers.problems import Refused, problem_of
from qrtrack.routers.revalidation import revalidate
from qrtrack.schemas.base import Body

SHOWN_KEY: Final = 100

# A body up to this size is parsed on the event loop: that takes less than a millisecond.
LARGE_BYTES: Final = 64 * 1024
# Every member and every element of a document follows one of these.
SEPARATORS: Final = (b",", b"[", b"{")
# 100,000 transactions have 1,000,000 values. A parsed value takes 60 to 100 bytes, however short its text is.
MOST_VALUES: Final = 1_500_000

Members = dict[str, Any]

NoFields = Annotated[Body | None, fastapi.Body(title="NoFields", description="Nothing is needed.")]
"""An optional body. Any field in it is refused, except the caller's own organisation and user."""


class RepeatedKey(InvalidInput):
    """One object of the body contains a key twice. Only the sender knows which value is right."""

    slug = "repeated-key"
    title = "A key appears twice"

    def __init__(self, steps: list[str | int], key: str) -> None:
        shown = ascii(key[:SHOWN_KEY])
        super().__init__(
            f"The key {shown} appears twice in one object: send it once.",
            errors=[FieldError(pointer_to([*steps, key]), "This key appears twice.", FieldCode.REPEATED_KEY)],
        )


class TooManyValues(InvalidInput):
    """The body has more values than any request needs. It was not parsed."""

    slug = "too-many-values"
    title = "Too many values"

    def __init__(self, most: int) -> None:
        detail = f"The body has more than {most:,} values: send it in smaller parts."
        super().__init__(detail, errors=[FieldError("", detail, FieldCode.TOO_MANY, {"max": most})])


class StrictRoute(APIRoute):
    """The class of the API's routes. JSON bodies are parsed strictly, for the route and for its dependencies. If a
    route needs a caller, token and role are checked before the first byte of the body is read, and answers of a GET can
    be revalidated.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Does not match a path that another route names literally: `GET …/events/replay` is not a request for the
        event `replay`, but uses a wrong method of the route `replay`.
        """
        match, found = super().matches(scope)
        return (Match.NONE, {}) if found.get("path_params") and is_literal(scope) else (match, found)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        asked = set(_dependencies_of(self.dependant))
        gates = [gate for gate in asked if isinstance(gate, Gate)]
        is_for_callers = known_caller in asked
        is_polled = is_for_callers and self.methods == {"GET"}

        async def handle_strictly(request: Request) -> Response:
            strict = StrictRequest(request.scope, request.receive)
            async with AsyncExitStack() as until_answered:
                if is_for_callers:
                    try:
                        runtime, caller = await sign_in(request)
                        for gate in gates:
                            gate.check(runtime, caller)
                        await runtime.starts.wait(caller.organisation_id)
                        memory = runtime.bodies.reserve(caller.organisation_id, request.scope.get(LONGEST_BODY, 0))
                        await until_answered.enter_async_context(memory)
                    except DomainError as refusal:
                        return _before_body(request, refusal)
                    strict.parse_large = lambda body: runtime.heavy_work.run(caller.organisation_id, parse, body)
                answer = await handle(strict)
            return revalidate(request, answer) if is_polled else answer

        return handle_strictly


def _dependencies_of(dependant: Dependant) -> Iterator[Callable[..., Any] | None]:
    for asked in dependant.dependencies:
        yield asked.call
        yield from _dependencies_of(asked)


def _before_body(request: Request, refusal: DomainError) -> Response:
    """Answers before the body was read. The connection ends with the answer, since nobody will read the body."""
    answer = problem_of(refusal)
    if request.method not in BODILESS_METHODS:
        answer.headers["Connection"] = "close"
    return answer


class StrictRequest(Request):
    """Counts the values of a body while it arrives, so that a body with too many is neither stored nor parsed.

    `parse_large` waits until HeavyWork may run for the caller's organisation, then parses a large body in a thread. It
    is None on routes that need no caller.
    """

    parse_large: Callable[[bytes], Awaitable[Any]] | None = None
    _parsed: Any

    async def body(self) -> bytes:
        """Raises Refused."""
        if not hasattr(self, "_body"):
            try:
                self._body = await read_counted(self.stream(), MOST_VALUES)
            except TooManyValues as refusal:
                raise Refused(refusal) from refusal
        return self._body

    async def json(self) -> Any:
        """Raises Refused, TooMuchWork, and ValueError for text that is not JSON."""
        if not hasattr(self, "_parsed"):
            body = await self.body()
            if len(body) <= LARGE_BYTES or self.parse_large is None:
                self._parsed = parse(body)
            else:
                self._parsed = await self._in_a_thread(body)
        return self._parsed

    async def _in_a_thread(self, body: bytes) -> Any:
        assert self.parse_large is not None
        try:
            return await self.parse_large(body)
        except DomainError as refusal:
            raise Refused(refusal) from refusal


async def read_counted(pieces: AsyncIterator[bytes], most: int) -> bytes:
    """Reads the body. Raises TooManyValues as soon as it has too many. Counts each piece by itself: counting a body of
    16 MiB at once would block the event loop for 50 ms.
    """
    body, values = bytearray(), 0
    async for piece in pieces:
        values += sum(map(piece.count, SEPARATORS))
        if values > most:
            raise TooManyValues(most)
        body += piece
    return bytes(body)


def parse(body: bytes) -> Any:
    repeating: list[tuple[Members, str]] = []

    def members_of(pairs: list[tuple[str, Any]]) -> Members:
        members = dict(pairs)
        if len(members) < len(pairs):
            repeating.append((members, _first_repeated(pairs)))
        return members

    # From bytes, json.loads would also accept UTF-16 and UTF-32. Proxies in front of us read only UTF-8.
    document = json.loads(body.decode("utf-8-sig"), object_pairs_hook=members_of)
    if repeating:
        # The object that ended last is not inside another one with a repeated key, so the path to it still exists.
        members, key = repeating[-1]
        raise Refused(RepeatedKey(_steps_to(document, members), key))
    return document


def _first_repeated(pairs: list[tuple[str, Any]]) -> str:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            return key
        seen.add(key)
    raise AssertionError("no key is repeated")


def _steps_to(document: Any, wanted: Members) -> list[str | int]:
    """Returns the keys and places that lead to the object. Uses no recursion and stores no path for each value, since a
    document may be deep.
    """
    waiting: list[tuple[Any, Any]] = [(document, None)]
    while waiting:
        here, path = waiting.pop()
        if here is wanted:
            return _as_list(path)
        inside = here.items() if isinstance(here, dict) else enumerate(here)
        waiting += [(value, (path, step)) for step, value in inside if isinstance(value, dict | list)]
    raise AssertionError("the object is not in the document")


def _as_list(path: Any) -> list[str | int]:
    """Returns the steps from the root. `path` is a linked list: a pair of the parent's path and the last step; the
    root's path is None.
    """
    steps: list[str | int] = []
    while path is not None:
        path, step = path
        steps.append(step)
    return steps[::-1]
