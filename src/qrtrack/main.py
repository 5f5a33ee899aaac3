"""The web application: only routers, problem handlers, middleware and lifespan."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version
from typing import Any, Final

from fastapi import APIRouter, FastAPI

from qrtrack.console import routing as console
from qrtrack.domain.requests import AlreadyAnswered
from qrtrack.metrics import observe_request
from qrtrack.routers import health, metrics, pages, recalculation, recalls, searches, trace, worker
from qrtrack.routers.accurate import documents, intake, replays
from qrtrack.routers.akselgate import attempts, callbacks, dispatches, reports
from qrtrack.routers.body_limits import body_limits
from qrtrack.routers.contract import complete
from qrtrack.routers.cors import Cors
from qrtrack.routers.idempotency import answer_again
from qrtrack.routers.labels import label_formats, label_jobs, print_jobs, printers, symbols
from qrtrack.routers.middleware import BodyLimit, RequestContext
from qrtrack.routers.packing import batches, codes, exports, gtin_owners, job_groups, links, reverse_jobs
from qrtrack.routers.problems import install_problem_handlers
from qrtrack.routers.progress import sync_batches, sync_records
from qrtrack.routers.public_hosts import VerificationHosts
from qrtrack.routers.verification import checks, records, releases
from qrtrack.routers.verification import pages as public_pages
from qrtrack.runtime import Runtime, open_runtime
from qrtrack.settings import Settings

# Routes are tried in this order, so the most frequent ones come first.
ROUTERS: Final[tuple[APIRouter, ...]] = (
    intake.router,
    links.router,
    reverse_jobs.router,
    job_groups.router,
    batches.router,
    codes.router,
    gtin_owners.router,
    exports.router,
    label_jobs.router,
    symbols.router,
    label_formats.router,
    releases.router,
    records.router,
    recalls.router,
    printers.router,
    print_jobs.router,
    trace.router,
    searches.router,
    checks.router,
    public_pages.router,
    worker.router,
    sync_batches.router,
    sync_records.router,
    recalculation.router,
    documents.router,
    replays.router,
    dispatches.router,
    attempts.router,
    reports.router,
    callbacks.router,
    health.router,
    metrics.router,
    pages.router,
    *console.ROUTERS,
)
# The routes of a process without an API, for monitoring.
WATCHED: Final[tuple[APIRouter, ...]] = (health.router, metrics.router)

DESCRIPTION: Final = """Numbers goods, packs them into master cases, takes in webhooks once, pays once.

Every refusal is `application/problem+json`: `type` names it for programs, `detail` tells a person what to do, and
`errors` points at the bad fields. Every answer carries `X-Request-ID`. JSON answers of a signed-in user's GET carry an
`ETag`: sent back as `If-None-Match` it makes an unchanged answer a 304 without a body."""
OpenRuntime = Callable[[Settings], AbstractAsyncContextManager[Runtime]]


class Application(FastAPI):
    """FastAPI whose OpenAPI document is the whole contract: see routers/contract.py."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            complete(super().openapi(), self)
        return super().openapi()


def create_app(settings: Settings, open_runtime: OpenRuntime = open_runtime, *, with_api: bool = True) -> FastAPI:
    """Creates the application of one process. Its lifespan opens the runtime, and closes it when the server stops."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Runtime]]:
        async with open_runtime(settings) as runtime:
            yield {"runtime": runtime}

    app = Application(
        title="qrtrack",
        version=version("qrtrack"),
        description=DESCRIPTION,
        lifespan=lifespan,
        # A redirect that adds or removes a slash would lose the body, and behind a proxy also the host.
        redirect_slashes=False,
        # FastAPI's own pages load their scripts from the internet: see routers/pages.py.
        docs_url=None,
        redoc_url=None,
        # The name of the endpoint's function: generated clients keep their method names when an address changes.
        generate_unique_id_function=lambda route: route.name,
    )
    install_problem_handlers(app)
    app.add_exception_handler(AlreadyAnswered, answer_again)
    for router in ROUTERS if with_api else WATCHED:
        app.include_router(router)
    _add_middleware(app, settings)
    return app


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    """Adds the middleware. Each one surrounds the earlier ones, so that refused bodies also get CORS headers and the
    request id.
    """
    app.add_middleware(BodyLimit, limits=body_limits(app))
    app.add_middleware(
        Cors,
        origins=settings.cors_origins,
        headers=settings.cors_headers,
        own_origin=settings.public_origin,
        pages=public_pages.PREFIXES,
    )
    app.add_middleware(VerificationHosts, hosts=settings.public_addresses.verification_hosts)
    app.add_middleware(RequestContext, observe=observe_request)
