"""The composition root: opens everything that a process needs, and closes it in order."""

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import httpx2
import structlog

from qrtrack.chosen_database import open_database
from qrtrack.database import Database, DatabaseUnavailable
from qrtrack.domain.akselgate.callbacks import CallbackTokens
from qrtrack.domain.errors import Unavailable
from qrtrack.domain.notifications import Channels
from qrtrack.domain.root_keys import Hasher, KeyRing, make_hasher
from qrtrack.domain.verification.networks import HashKeys
from qrtrack.exports import Exports
from qrtrack.integrations.akselgate import Akselgate
from qrtrack.integrations.forwarding import Forwarder
from qrtrack.integrations.hooks import HookSender
from qrtrack.integrations.http import http_client
from qrtrack.integrations.smtp import Mailer
from qrtrack.integrations.tokens import TokenVerifier
from qrtrack.limits.body_budget import BodyBudget
from qrtrack.limits.fair_starts import FairStarts
from qrtrack.limits.heavy_work import HeavyWork
from qrtrack.limits.long_polls import LongPolls
from qrtrack.postgresql import schema_revision
from qrtrack.services.accurate.intake import WakeUpThrottle
from qrtrack.services.akselgate.dispatches import Dispatcher
from qrtrack.services.gauges import GaugeCache
from qrtrack.services.notifications import Messenger
from qrtrack.services.printed_hosts import check_printed_hosts
from qrtrack.services.progress.sync_records import ReportGroups
from qrtrack.services.secret_key import check_secret_key
from qrtrack.services.shielded_tasks import ShieldedTasks
from qrtrack.services.verification.admission import Admission
from qrtrack.services.verification.checks import Verifier
from qrtrack.services.workers import ProcessActivity
from qrtrack.settings import Settings

# Requests and the database on the same cores have priority over bcrypt and labels in the background.
BACKGROUND_NICENESS: Final = 19
# The priority of bcrypt in consumers' checks: below requests and the database, above background work.
VERIFYING_NICENESS: Final = 10
# So many public pages may read the database at a time. Each takes a millisecond.
PAGE_LOOKUPS: Final = 2
# One organisation uses one of them at a time. They have normal priority, since they run Python all the time: a thread
# of low priority that is preempted while it holds the interpreter lock stops the event loop. On a busy machine it was
# stopped for up to 680 ms, with threads of normal priority for up to 90 ms.
EXPORT_THREADS: Final = 2
# How often a starting process tries to reach its database.
LOOK_SECONDS: Final = 0.5

# The path of callbacks. The gateway receives it with every batch.
AKSELGATE_CALLBACKS: Final = "/webhook/akselgate/callback"
# The path that an e-mail links to, by the kind of its subject.
LINKS: Final = {
    "reverse_job": "/api/manufacturer/reverse-job/status?job_id={}",
    "batch": "/api/manufacturer/batches/{}",
    "verification_alert": "/api/manufacturer/batches/{}/verifications?show=alerts",
    "verification_report": "/api/manufacturer/batches/{}/verifications?show=reports",
}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Runtime:
    """All that use cases need. `stopping` is set when the process shuts down: then long polls end, and no new ones
    begin.
    """

    settings: Settings
    database: Database
    tokens: TokenVerifier
    keys: KeyRing
    hasher: Hasher
    hash_threads: Executor
    label_threads: Executor
    dispatcher: Dispatcher
    shielded_tasks: ShieldedTasks
    http: httpx2.AsyncClient
    forwarder: Forwarder | None
    gauges: GaugeCache
    messenger: Messenger
    heavy_work: HeavyWork
    exports: Exports
    stopping: asyncio.Event
    verifier: Verifier
    webhook_wake_ups: WakeUpThrottle = field(default_factory=WakeUpThrottle)
    long_polls: LongPolls = field(default_factory=LongPolls)
    bodies: BodyBudget = field(default_factory=BodyBudget)
    starts: FairStarts = field(default_factory=FairStarts)
    report_groups: ReportGroups = field(default_factory=ReportGroups)
    activity: ProcessActivity = field(default_factory=ProcessActivity)


@asynccontextmanager
async def open_runtime(settings: Settings) -> AsyncIterator[Runtime]:
    """Waits for the database to answer and to be migrated. Raises what only a person can fix, with what to do:
    EmbeddedFailed, DatabaseRefused, DatabaseUnfit, SchemaNewer, TenantRoleUnusable, SecretKeyChanged or
    PrintedHostDropped.
    """
    async with (
        open_database(settings) as database,
        http_client(timeout=5) as http,
        open_messenger(settings) as messenger,
    ):
        keys = KeyRing(_secret_key(settings))
        await _prepare(database, settings, keys)
        threads = _make_threads(settings)
        shielded_tasks, stopping = ShieldedTasks(), asyncio.Event()
        heavy_work = HeavyWork(stopping)
        gauges = GaugeCache(database, ZoneInfo(settings.accurate_timezone))
        try:
            yield Runtime(
                settings=settings,
                database=database,
                tokens=TokenVerifier(settings, http),
                http=http,
                forwarder=_forwarder(settings, http),
                gauges=gauges,
                messenger=messenger,
                keys=keys,
                hasher=make_hasher(settings.bcrypt_cost),
                hash_threads=threads.hashing,
                label_threads=threads.labels,
                heavy_work=heavy_work,
                stopping=stopping,
                exports=Exports(threads.exports),
                dispatcher=_dispatcher(settings, heavy_work),
                shielded_tasks=shielded_tasks,
                verifier=_verifier(settings, database, keys, threads.verifying),
            )
        finally:
            await shielded_tasks.finish()
            await gauges.close()
            threads.shutdown()


def _secret_key(settings: Settings) -> str:
    assert settings.secret_key is not None
    return settings.secret_key.get_secret_value()


async def _prepare(database: Database, settings: Settings, keys: KeyRing) -> None:
    _log_database(settings, database)
    if settings.database_url is None:
        await database.migrate()
    await _wait_for(database, keys)
    await check_printed_hosts(database, settings.public_addresses)
    await _log_limits(database)


class _Threads(NamedTuple):
    hashing: Executor
    labels: Executor
    verifying: Executor
    exports: Executor

    def shutdown(self) -> None:
        for each in self:
            each.shutdown(wait=False, cancel_futures=True)


def _make_threads(settings: Settings) -> _Threads:
    return _Threads(
        hashing=ThreadPoolExecutor(max(settings.hash_threads, 1), "hashing", _give_way),
        labels=ThreadPoolExecutor(max(settings.label_slots, 1), "labels", _give_way),
        verifying=ThreadPoolExecutor(settings.verify_slots, "verifying", _give_way, (VERIFYING_NICENESS,)),
        exports=ThreadPoolExecutor(EXPORT_THREADS, "exports"),
    )


def _log_database(settings: Settings, database: Database) -> None:
    if settings.database_url is None:
        log.info("using the embedded PostgreSQL", folder=str(settings.qrtrack_data_dir.absolute()))
        return
    address = database.connector.address
    user = address.options.get("user")
    log.info("using the database of DATABASE_URL", host=address.where, database=address.database, user=user)


async def _wait_for(database: Database, keys: KeyRing) -> None:
    """Waits without a limit: after a reboot everything starts at once, and an exit would only cause a restart. During
    an upgrade, the new processes continue as soon as the migration has committed.
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


async def _log_limits(database: Database) -> None:
    """Warns about server settings that the program cannot override."""
    limits, most = await database.limits(), database.most_connections
    if not limits.is_durable:
        log.warning("the server has fsync = off: a crash of its machine loses committed data. Switch it on")
    if database.connector.behind_pooler:
        return
    counts = {
        "max_connections": limits.max_connections,
        "allowed_for_us": limits.allowed,
        "this_process_may_open": most,
        "processes_that_fit": limits.allowed // most,
    }
    if limits.allowed < most:
        log.warning(
            "too few connections: lower DATABASE_POOL_SIZE, or raise max_connections or the limit of user or database",
            **counts,
        )
    else:
        log.info("connections of the database", **counts)


def _forwarder(settings: Settings, http: httpx2.AsyncClient) -> Forwarder | None:
    secret = settings.accurate_forward_secret
    if settings.accurate_forward_url is None or secret is None:
        return None
    return Forwarder(http, settings.accurate_forward_url, secret.get_secret_value())


def _dispatcher(settings: Settings, heavy_work: HeavyWork) -> Dispatcher:
    callbacks = f"{settings.public_base_url}{AKSELGATE_CALLBACKS}"
    return Dispatcher(Akselgate(settings), CallbackTokens(_secret_key(settings)), callbacks, heavy_work)


def _verifier(settings: Settings, database: Database, keys: KeyRing, threads: Executor) -> Verifier:
    return Verifier(
        database=database,
        keys=keys,
        hashes=HashKeys(_secret_key(settings)),
        hasher=make_hasher(settings.bcrypt_cost),
        threads=threads,
        admission=Admission(settings.verify_slots),
        lookups=Admission(PAGE_LOOKUPS),
        zone=ZoneInfo(settings.report_timezone),
    )


@asynccontextmanager
async def open_messenger(settings: Settings) -> AsyncIterator[Messenger]:
    url, secret = settings.smtp_url, settings.notify_secret
    hooks = HookSender(secret.get_secret_value()) if secret and settings.notify_hosts else None
    try:
        yield Messenger(
            channels=Channels(mail=url is not None, hosts=settings.notify_hosts),
            mailer=Mailer(url.get_secret_value(), settings.smtp_from or "") if url else None,
            hooks=hooks,
            links={subject: settings.public_base_url + path for subject, path in LINKS.items()},
        )
    finally:
        if hooks is not None:
            await hooks.close()


def _give_way(niceness: int = BACKGROUND_NICENESS) -> None:
    # On Linux, niceness is a property of the thread.
    os.setpriority(os.PRIO_PROCESS, 0, niceness)
