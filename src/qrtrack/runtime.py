"""The one composition root: everything a process is made of, opened once and closed in order."""

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

import httpx2
import structlog

from qrtrack import embedded, schema_revision
from qrtrack.database import Database, DatabaseUnavailable
from qrtrack.domain.akselgate.callbacks import CallbackTokens
from qrtrack.domain.errors import Unavailable
from qrtrack.domain.notifications import Channels
from qrtrack.domain.root_keys import Hasher, KeyRing, make_hasher
from qrtrack.heavy_work import HeavyWork
from qrtrack.integrations.akselgate import Akselgate
from qrtrack.integrations.forwarding import Forwarder
from qrtrack.integrations.hooks import HookSender
from qrtrack.integrations.http import http_client
from qrtrack.integrations.smtp import Mailer
from qrtrack.integrations.tokens import TokenVerifier
from qrtrack.long_polls import LongPolls
from qrtrack.services.accurate.intake import HintThrottle
from qrtrack.services.akselgate.dispatches import Post
from qrtrack.services.gauges import FigureDesk
from qrtrack.services.notifications import Messenger
from qrtrack.services.progress.sync_records import ReportGroups
from qrtrack.services.secret_key import check_secret_key
from qrtrack.services.shielded_tasks import InFlight
from qrtrack.services.workers import Pulse
from qrtrack.settings import Settings
from qrtrack.settings.postgresql import parse_address

# bcrypt in the background gives way to requests and to the database on the same cores.
HASHING_NICENESS = 19
# How often a process that starts looks for its database.
LOOK_SECONDS = 0.5
EMBEDDED_LOOK_SECONDS = 5.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Runtime:
    """What use cases are given. `stopping`: the process has been asked to end, and nobody begins to wait any more."""

    settings: Settings
    database: Database
    tokens: TokenVerifier
    keys: KeyRing
    hasher: Hasher
    hash_threads: Executor
    post: Post
    in_flight: InFlight
    http: httpx2.AsyncClient
    forwarder: Forwarder | None
    figures: FigureDesk
    messenger: Messenger
    heavy_work: HeavyWork
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    webhook_hints: HintThrottle = field(default_factory=HintThrottle)
    long_polls: LongPolls = field(default_factory=LongPolls)
    report_groups: ReportGroups = field(default_factory=ReportGroups)
    pulse: Pulse = field(default_factory=Pulse)


@asynccontextmanager
async def open_runtime(settings: Settings) -> AsyncIterator[Runtime]:
    """Waits for a database that does not answer yet, and for its migration. Raises what a person has to put right, with
    what to do: EmbeddedFailed, DatabaseRefused, DatabaseUnfit, SchemaNewer, TenantRoleUnusable or SecretKeyChanged.
    """
    async with (
        open_database(settings) as database,
        http_client(timeout=5) as http,
        open_messenger(settings) as messenger,
    ):
        _tell_database(settings, database)
        assert settings.secret_key is not None
        secret_key = settings.secret_key.get_secret_value()
        keys = KeyRing(secret_key)
        if settings.database_url is None:
            await database.migrate()
        await _wait_for(database, keys)
        await _tell_limits(database)
        threads = ThreadPoolExecutor(max(settings.hash_threads, 1), "hashing", _give_way)
        in_flight, heavy_work = InFlight(), HeavyWork()
        figures = FigureDesk(database, ZoneInfo(settings.accurate_timezone))
        try:
            yield Runtime(
                settings=settings,
                database=database,
                tokens=TokenVerifier(settings, http),
                http=http,
                forwarder=_forwarder(settings, http),
                figures=figures,
                messenger=messenger,
                keys=keys,
                hasher=make_hasher(settings.bcrypt_cost),
                hash_threads=threads,
                heavy_work=heavy_work,
                post=Post(Akselgate(settings), CallbackTokens(secret_key), settings.public_base_url, heavy_work),
                in_flight=in_flight,
            )
        finally:
            await in_flight.finish()
            await figures.close()
            threads.shutdown(wait=False, cancel_futures=True)


def _tell_database(settings: Settings, database: Database) -> None:
    if settings.database_url is None:
        log.info("using the embedded PostgreSQL", folder=str(settings.qrtrack_data_dir.absolute()))
        return
    address = database.connector.address
    user = address.options.get("user")
    log.info("using the database of DATABASE_URL", host=address.where, database=address.database, user=user)


async def _wait_for(database: Database, keys: KeyRing) -> None:
    """On a machine that starts anew, everything starts at once: a process that gave up would only be started again.
    During an upgrade the new processes stand ready when the migration commits.
    """
    address, told = database.connector.address, ""
    while True:
        try:
            await database.ready(quietly=True)
            await check_secret_key(database, keys)
        except (DatabaseUnavailable, schema_revision.SchemaBehind) as error:
            reason = error.reason if isinstance(error, DatabaseUnavailable) else str(error)
            if reason != told:
                told = reason
                log.warning(_waiting(error), host=address.where, database=address.database, reason=told)
            await asyncio.sleep(LOOK_SECONDS)
        else:
            return


def _waiting(error: Unavailable) -> str:
    if isinstance(error, schema_revision.SchemaBehind):
        return "the database is not migrated yet: waiting for it"
    return "the database cannot be reached: waiting for it"


async def _tell_limits(database: Database) -> None:
    """Warns about server settings that the program cannot override."""
    limits, most = await database.limits(), database.most_connections
    if not limits.is_durable:
        log.warning("the server has fsync = off: a crash of its machine loses what was answered. Switch it on")
    if database.connector.behind_pooler:
        return
    counts = {
        "max_connections": limits.max_connections,
        "allowed_for_us": limits.allowed,
        "this_process_may_open": most,
        "processes_that_fit": limits.allowed // most,
    }
    if limits.allowed < most:
        log.warning("too few connections: raise max_connections or lower DATABASE_POOL_SIZE", **counts)
    else:
        log.info("connections of the database", **counts)


def _forwarder(settings: Settings, http: httpx2.AsyncClient) -> Forwarder | None:
    secret = settings.accurate_forward_secret
    if settings.accurate_forward_url is None or secret is None:
        return None
    return Forwarder(http, settings.accurate_forward_url, secret.get_secret_value())


@asynccontextmanager
async def open_messenger(settings: Settings) -> AsyncIterator[Messenger]:
    url, secret = settings.smtp_url, settings.notify_secret
    hooks = HookSender(secret.get_secret_value()) if secret and settings.notify_hosts else None
    try:
        yield Messenger(
            channels=Channels(mail=url is not None, hosts=settings.notify_hosts),
            mailer=Mailer(url.get_secret_value(), settings.smtp_from or "") if url else None,
            hooks=hooks,
            public_base_url=settings.public_base_url,
        )
    finally:
        if hooks is not None:
            await hooks.close()


@asynccontextmanager
async def open_database(settings: Settings, *, must_exist: bool = False) -> AsyncIterator[Database]:
    """The database of DATABASE_URL, or the program's own, which runs as long as somebody uses it.

    `must_exist`: raises EmbeddedFailed in a folder without a database of the program, where others make one.
    """
    async with address_of_database(settings, must_exist=must_exist) as url:
        database = Database.connect(
            url,
            pool_size=settings.database_pool_size,
            behind_pooler=settings.database_pooler == "transaction",
            tenant_role=settings.database_tenant_role,
        )
        try:
            yield database
        finally:
            await database.close()


@asynccontextmanager
async def address_of_database(settings: Settings, *, must_exist: bool = False) -> AsyncIterator[str]:
    """The address as the driver wants it; the program's own server runs until the end of the block."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    if must_exist and not (settings.qrtrack_data_dir / "postgresql/data").is_dir():
        raise embedded.EmbeddedFailed(
            f"There is no database in {settings.qrtrack_data_dir.absolute()}. Run the command in the folder of the"
            " installation, or set QRTRACK_DATA_DIR or DATABASE_URL as the service has it."
        )
    server = await asyncio.to_thread(embedded.start, settings.qrtrack_data_dir)
    ending = asyncio.Event()
    keeper = asyncio.create_task(_keep_running(server, ending))
    try:
        yield await asyncio.to_thread(server.url)
    finally:
        ending.set()
        # It must not start again what is being stopped.
        await keeper
        await asyncio.to_thread(server.close)


async def _keep_running(server: embedded.EmbeddedPostgres, ending: asyncio.Event) -> None:
    """Nobody else would start it again when somebody killed it, the system for want of memory, say."""
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(EMBEDDED_LOOK_SECONDS):
                await ending.wait()
                return
        try:
            await asyncio.to_thread(server.ensure_running)
        except embedded.EmbeddedFailed:
            log.exception("the embedded PostgreSQL cannot be started again")


def name_of_database(settings: Settings) -> str:
    """Which database these settings lead to, for a person, without its password."""
    if settings.database_url is None:
        return f"the embedded PostgreSQL in {settings.qrtrack_data_dir.absolute()}"
    address = parse_address(settings.database_url)
    return f"{address.database} on {address.where} (DATABASE_URL)"


def _give_way() -> None:
    # On Linux a niceness belongs to the thread.
    os.setpriority(os.PRIO_PROCESS, 0, HASHING_NICENESS)
