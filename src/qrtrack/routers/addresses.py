"""The addresses of an application: those without parameters, the methods at each, and what of one may be logged."""

from typing import Any, Final, NamedTuple

from fastapi.routing import iter_route_contexts
from starlette._utils import get_route_path
from starlette.types import Scope

REST: Final = "…"


class Addresses(NamedTuple):
    """`literal`: paths without a parameter. `words`: every beginning of a path up to its first parameter."""

    literal: frozenset[str]
    words: frozenset[str]


def addresses_of(app: Any) -> Addresses:
    """Collected with the first request, when all routes are there."""
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
    """Whether the path is that of a route without parameters: then it is no value of another route's parameter."""
    return get_route_path(scope) in addresses_of(scope["app"]).literal


def methods_at(scope: Scope) -> list[str]:
    """Those of every route at this address; the framework names those of the first alone."""
    path, literally = get_route_path(scope), is_literal(scope)
    routes = iter_route_contexts(scope["app"].routes)
    here = [route for route in routes if (route.path == path if literally else route.path_regex.match(path))]
    return sorted({method for route in here for method in route.methods or ()})


def loggable(scope: Scope) -> str:
    """An address that is no route: the words that it shares with ours. The rest may be a secret, however short."""
    if "app" not in scope:
        return REST
    words, shown = addresses_of(scope["app"]).words, ""
    path = get_route_path(scope)
    for end in _ends_of_words(path):
        if path[:end] not in words:
            return f"{shown}/{REST}"
        shown = path[:end]
    return shown
