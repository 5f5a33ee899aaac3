"""The addresses of an application: those without parameters, the methods at each, and the part of an address that may
be logged.
"""

from typing import Any, Final, NamedTuple

from fastapi.routing import iter_route_contexts
from starlette._utils import get_route_path
from starlette.types import Scope

REST: Final = "…"


class Addresses(NamedTuple):
    """The paths of the routes. `literal` has the paths without a parameter, `words` every beginning of a path up to its
    first parameter.
    """

    literal: frozenset[str]
    words: frozenset[str]


def addresses_of(app: Any) -> Addresses:
    """Returns the application's addresses. Collects them at the first request, when all routes exist."""
    known = getattr(app.state, "addresses", None)
    if not isinstance(known, Addresses):
        paths = {path for context in iter_route_contexts(app.routes) if (path := getattr(context, "path", None))}
        beginnings = {path.partition("/{")[0] for path in paths}
        words = {beginning[:end] for beginning in beginnings for end in _ends_of_words(beginning)}
        known = app.state.addresses = Addresses(frozenset(path for path in paths if "{" not in path), frozenset(words))
    return known


def _ends_of_words(path: str) -> list[int]:
    return [place for place, sign in enumerate(path) if sign == "/" and place] + [len(path)]


def is_literal(scope: Scope) -> bool:
    """Returns whether the path belongs to a route without parameters. Then its last part is not a value of another
    route's parameter.
    """
    return get_route_path(scope) in addresses_of(scope["app"]).literal


def methods_at(scope: Scope) -> list[str]:
    """Returns the methods of every route at this address. The framework itself names only those of the first route."""
    path, literally = get_route_path(scope), is_literal(scope)
    routes = iter_route_contexts(scope["app"].routes)
    here = [route for route in routes if (route.path == path if literally else route.path_regex.match(path))]
    return sorted({method for route in here for method in route.methods or ()})


def loggable(scope: Scope) -> str:
    """Returns the part of an unknown address that may be logged: the words that it shares with our routes. The
    remaining part may be a secret, however short.
    """
    if "app" not in scope:
        return REST
    words, shown = addresses_of(scope["app"]).words, ""
    path = get_route_path(scope)
    for end in _ends_of_words(path):
        if path[:end] not in words:
            return f"{shown}/{REST}"
        shown = path[:end]
    return shown
