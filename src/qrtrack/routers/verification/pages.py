"""The public pages that QR symbols lead to: server-rendered, for phones, without script.

A GET or HEAD writes nothing: link previews, mail scanners and prefetching browsers send them.
"""

import hashlib
import re
from importlib import resources
from typing import Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from qrtrack.domain.errors import Unavailable
from qrtrack.domain.root_keys import ALPHABET
from qrtrack.domain.verification.limits import TooManyFailures
from qrtrack.routers.languages import LANGUAGES
from qrtrack.routers.verification.forms import Form, read_form
from qrtrack.routers.verification.notices import Notice, notice_named, notice_of, notice_of_recall, notice_of_wait
from qrtrack.routers.verification.texts import catalogue, language_of
from qrtrack.routers.verification.visitors import keep_look, visitor_of
from qrtrack.runtime import Runtime
from qrtrack.services.verification.checks import Claimed, Visitor
from qrtrack.services.verification.pages import Product, describe_linked, describe_product
from qrtrack.services.verification.reports import TooManyReports, report

router = APIRouter(include_in_schema=False)

PREFIXES: Final = ("/q/", "/Q/", "/01/")
"""The paths of the public pages begin with these: `/q/…`, `/Q/…` (small symbols are printed in upper case), and GS1
Digital Links.
"""

UNIQ_CODE: Final = re.compile(rf"[{ALPHABET}]{{12}}", re.ASCII | re.IGNORECASE)
# Codes, lots and GTINs consist of printable ASCII. Other text cannot match any of them, and PostgreSQL refuses some of
# it.
VISIBLE: Final = re.compile(r"[!-~]{1,64}", re.ASCII)
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
    "X-Content-Type-Options": "nosniff",
    "Vary": "Accept-Language",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none';"
        " frame-ancestors 'none'"
    ),
}
FOR_EVER: Final = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
ENVIRONMENT: Final = Environment(
    loader=PackageLoader(__package__ or "", "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)


def _asset(name: str) -> tuple[str, bytes]:
    """Returns the path and the content of a file. The path contains a hash of the content, so browsers may cache the
    file for ever.
    """
    content = resources.files(__package__).joinpath("assets", name).read_bytes()
    stem, _, kind = name.rpartition(".")
    return f"q/assets/{stem}.{hashlib.sha256(content).hexdigest()[:12]}.{kind}", content


STYLE_PATH, STYLE = _asset("page.css")
MARK_PATH, MARK = _asset("mark.svg")


@router.api_route(f"/{STYLE_PATH}", methods=["GET", "HEAD"])
async def get_style() -> Response:
    return Response(STYLE, media_type="text/css", headers=FOR_EVER)


@router.api_route(f"/{MARK_PATH}", methods=["GET", "HEAD"])
async def get_mark() -> Response:
    return Response(MARK, media_type="image/svg+xml", headers=FOR_EVER)


async def show_page(request: Request) -> Response:
    """Answers GET and HEAD with the page."""
    runtime, visitor = _of(request)
    try:
        product = await _find(request, runtime, visitor)
    except Unavailable:
        return _render(request, runtime, visitor, None, notice_named("busy", language_of(request)), status=503)
    if product is None:
        return _not_found(request, runtime, visitor)
    recall = None if product.recall is None else notice_of_recall(product.recall, language_of(request))
    return _render(request, runtime, visitor, product, recall)


async def take_form(request: Request) -> Response:
    """Handles the POST of the page's forms: a check or a report."""
    runtime, visitor = _of(request)
    language, form, product = language_of(request), await read_form(request), None
    try:
        product = await _find(request, runtime, visitor)
        if product is None:
            return _not_found(request, runtime, visitor)
        status, notice = await _act(runtime, visitor, product, form, language)
    except TooManyFailures as refusal:
        notice = notice_of_wait(refusal, language, runtime.verifier.zone)
        return _render(
            request, runtime, visitor, product, notice, status=429, retry_after=refusal.members["retry_after"]
        )
    except Unavailable:
        return _render(request, runtime, visitor, product, notice_named("busy", language), status=503)
    return _render(request, runtime, visitor, product, notice, status=status)


# `{lot:path}`: a lot may contain a slash, which the server has already decoded from %2F. `{code:path}`: an address with
# more text after the code gets a page that helps, not a 404 of the framework.
for _path in (
    "/q/{uniq_code}",
    "/q/{uniq_code}/{code:path}",
    "/Q/{uniq_code}",
    "/Q/{uniq_code}/{code:path}",
    "/01/{gtin}/21/{code:path}",
    "/01/{gtin}/10/{lot:path}/21/{code:path}",
):
    router.add_api_route(_path, show_page, methods=["GET", "HEAD"])
    router.add_api_route(_path, take_form, methods=["POST"])


def _of(request: Request) -> tuple[Runtime, Visitor]:
    runtime: Runtime = request.state.runtime
    return runtime, visitor_of(request, runtime)


async def _find(request: Request, runtime: Runtime, visitor: Visitor) -> Product | None:
    """Returns None if the address names no product. Raises Unavailable."""
    named = {name: value for name, value in request.path_params.items() if value}
    if not all(VISIBLE.fullmatch(value) for value in named.values()):
        return None
    await runtime.starts.wait(("verification", visitor.network.name))
    async with runtime.verifier.lookups.slot(visitor.network.name):
        if "gtin" in named:
            return await describe_linked(
                runtime.database, gtin=named["gtin"], lot=named.get("lot"), code=named.get("code", "")
            )
        if not UNIQ_CODE.fullmatch(named["uniq_code"]):
            return None
        return await describe_product(runtime.database, uniq_code=named["uniq_code"], code=named.get("code"))


async def _act(runtime: Runtime, visitor: Visitor, product: Product, form: Form, language: str) -> tuple[int, Notice]:
    """Executes the check or report. Returns the HTTP status and the notice. Raises TooManyFailures and Unavailable."""
    if form.reason is not None:
        return await _report(runtime, visitor, product, form, language)
    if form.root_key is None:
        return 422, notice_named("bad_form", language)
    checked = await runtime.verifier.verify(Claimed(product.uniq_code, form.root_key, product.code), visitor)
    return 200, notice_of(checked, language)


async def _report(
    runtime: Runtime, visitor: Visitor, product: Product, form: Form, language: str
) -> tuple[int, Notice]:
    assert form.reason is not None
    try:
        await report(
            runtime.database,
            hashes=runtime.verifier.hashes,
            network=visitor.network,
            uniq_code=product.uniq_code,
            code=product.code or form.code,
            reason=form.reason,
            message=form.message,
        )
    except TooManyReports:
        return 429, notice_named("reports_full", language)
    return 200, notice_named("reported", language)


def _not_found(request: Request, runtime: Runtime, visitor: Visitor) -> Response:
    return _render(request, runtime, visitor, None, notice_named("not_found", language_of(request)), status=404)


def _render(
    request: Request,
    runtime: Runtime,
    visitor: Visitor,
    product: Product | None,
    notice: Notice | None,
    *,
    status: int = 200,
    retry_after: float | None = None,
) -> Response:
    language = language_of(request)
    words, settings = catalogue(language), runtime.settings
    printed = settings.public_base_url
    if product is not None:
        printed = settings.public_addresses.base_url_of(product.organisation_id)
    host = urlsplit(printed).netloc
    page = ENVIRONMENT.get_template("page.html").render(
        language=language,
        languages=LANGUAGES,
        names={other: catalogue(other)["language"] for other in LANGUAGES},
        words=words,
        product=product,
        organisation=None if product is None else settings.names_of_organisations.get(product.organisation_id),
        notice=notice,
        host=host,
        host_text=words["page"]["host_text"].format(host=host),
        # The links are relative, because a proxy may serve the service below a path. Slashes are counted in the
        # undecoded path, as browsers do: an encoded slash of a lot does not end a segment.
        root="../" * (request.scope["raw_path"].count(b"/") - 1),
        style=STYLE_PATH,
        mark=MARK_PATH,
    )
    headers = HEADERS | {"Content-Language": language}
    if retry_after is not None or status == 503:
        headers["Retry-After"] = str(int(retry_after or 5) + 1)
    answer = HTMLResponse(page, status_code=status, headers=headers)
    keep_look(request, answer, visitor, proxies=settings.trusted_proxies)
    return answer
