"""Every page of the console, found by itself: the navigation (`PAGES`) and all GET routes of `ROUTERS`. A page that is
added later is found without an edit here, or fails with a message that says what to add.
"""

import re
from collections.abc import Mapping
from typing import Final

import httpx2
from fastapi.routing import APIRoute
from pydantic import BaseModel

from qrtrack.console.access import PAGES
from qrtrack.console.routing import ROUTERS

# What a page shows if its address asks for it: `{name}` is filled as in a path.
VARIANTS: Final = (
    "/console?wall=1",
    "/console/batches?name=Gold",
    "/console/batches/{batch_id}/codes?status=void",
    "/console/jobs?status=failed",
    "/console/packing?batch={batch_id}",
    "/console/search?q=Gold",
    "/console/settings/new-format?kind=roll",
    "/console/settlements?outcome=unknown",
    "/console/sign-in?ended=1",
    "/console/trace?code={code}",
    "/console/trace?code={master_code}",
    "/console/verification?show=reports",
    "/console/webhooks?status=dead",
)
NO_PAGE: Final = re.compile(r"/static/|/now$")
# Pages that say what went wrong.
FAILURES: Final = ("/console/batches/00000000-0000-7000-8000-000000000000",)


def addresses(seeds: Mapping[str, str], *, is_empty: bool = False) -> list[str]:
    """What a browser may open: pages and parts of pages, each parameter filled from the seeds.

    A seed is named as the parameter, or more exactly `section.parameter`, the section being the part of the path behind
    `/console/`. Raises AssertionError for a parameter that has no seed. An empty plant has no seeds but `q`: only pages
    that need no other are listed.
    """
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    paths = {route.path: route for route in routes if "GET" in (route.methods or ()) and not NO_PAGE.search(route.path)}
    found = [_with_query(route) for route in paths.values()]
    found += [variant for variant in VARIANTS if variant.partition("?")[0] in paths]
    found += [*FAILURES, *(address for _, address, _ in PAGES)]
    if is_empty:
        found = [address for address in found if _parameters(address) <= set(seeds)]
    return list(dict.fromkeys(_filled(address, seeds) for address in found))


async def pages(client: httpx2.AsyncClient, seeds: Mapping[str, str], *, is_empty: bool = False) -> list[str]:
    """The addresses that answer a whole document. `client` is signed in as somebody who may see everything.

    Raises AssertionError for a page that does not answer, which a seed of another organisation or a failure causes.
    """
    whole = []
    for address in addresses(seeds, is_empty=is_empty):
        answer = await client.get(address)
        if answer.is_redirect:
            continue  # What a search finds alone is opened at once: another page.
        if answer.status_code == 204:
            continue  # A part of a page that has nothing to say yet.
        if answer.status_code == 422 and any(other.startswith(f"{address}?") for other in VARIANTS):
            continue  # It shows nothing without a query, and is among the variants with one.
        # A report of a day without payments is not there.
        expected = {404} if address in FAILURES else {200, 404} if is_empty else {200}
        assert answer.status_code in expected, (
            f"{address} answered {answer.status_code}. If its parameters name something that the seeded plant lacks, "
            "let fill_plant in tests/console/full_plant.py make it and return its id. If it needs a query, add one to "
            "VARIANTS in tests/console/every_page.py."
        )
        if answer.text.startswith("<!doctype html>"):
            whole.append(address)
    assert {address for _, address, _ in PAGES} <= set(whole)
    return whole


def _with_query(route: APIRoute) -> str:
    """With the parameters without which the route refuses."""
    fields = [field for field in route.dependant.query_params if field.field_info.is_required()]
    needed = [field.alias for field in fields if not _is_model(field.field_info.annotation)]
    query = "&".join(f"{name}={{{name}}}" for name in needed)
    return f"{route.path}?{query}" if query else route.path


def _is_model(annotation: object) -> bool:
    """All query parameters in one model. Those of the console have defaults."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _filled(address: str, seeds: Mapping[str, str]) -> str:
    section = (address.partition("?")[0] + "///").split("/")[2]
    for name in _parameters(address):
        value = seeds.get(f"{section}.{name}", seeds.get(name))
        assert value is not None, (
            f"Nothing fills {{{name}}} of the page {address}. Let fill_plant in tests/console/full_plant.py return "
            f'"{section}.{name}" or "{name}": the id of something that is worth looking at.'
        )
        address = address.replace(f"{{{name}}}", value)
    return address


def _parameters(address: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", address))
