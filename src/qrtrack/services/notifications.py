"""Telling those who asked that a job or a batch has ended: at least once, under an id that tells repeats apart."""

from dataclasses import dataclass

import structlog

from qrtrack.database import Database
from qrtrack.domain.claims import Claim, PermanentFailure
from qrtrack.domain.errors import Unavailable
from qrtrack.domain.notifications import Channel, Channels, Ending
from qrtrack.integrations.hooks import HookSender
from qrtrack.integrations.smtp import Mailer, MailNotSent
from qrtrack.repositories.queues import NOTIFICATIONS

LINKS = {
    "reverse_job": "/api/manufacturer/reverse-job/status?job_id={}",
    "batch": "/api/manufacturer/batches/{}",
}

log = structlog.get_logger()


class NotSent(Unavailable):
    """Another attempt may succeed, after so many seconds if the receiver has named them."""

    slug = "notification-not-sent"
    title = "The notification could not be sent"

    def __init__(self, detail: str, *, wait: float | None = None) -> None:
        super().__init__(detail)
        self.wait = wait


@dataclass(frozen=True, slots=True)
class Messenger:
    """By what messages go out. None: not set up, or not any more."""

    channels: Channels
    mailer: Mailer | None
    hooks: HookSender | None
    public_base_url: str


async def send_notification(database: Database, claim: Claim, *, messenger: Messenger) -> None:
    """Killed between sending and recording, it is sent again under the same id. Raises NotSent, PermanentFailure."""
    async with database.read() as repositories:
        row = await repositories.notifications.get(claim.number)
    ending = Ending(row.id, row.subject, row.subject_id, row.content, row.created_at)
    send = {Channel.EMAIL: _mail, Channel.URL: _call}[Channel(row.channel)]
    try:
        await send(messenger, ending, row.address)
    except NotSent as error:
        await _heed(database, claim, error)
        raise
    async with database.write() as repositories:
        await repositories.leased(NOTIFICATIONS).finish(claim)
    log.info("notification sent", channel=row.channel, subject=row.subject, subject_id=str(row.subject_id))


async def _heed(database: Database, claim: Claim, error: NotSent) -> None:
    """A receiver that asked for time gets it. It was an attempt all the same: eight of them are the end."""
    if error.wait is not None:
        async with database.write() as repositories:
            await repositories.leased(NOTIFICATIONS).postpone(claim, error.wait)


async def _mail(messenger: Messenger, ending: Ending, address: str) -> None:
    if messenger.mailer is None:
        raise NotSent("SMTP_URL is not set any more")
    link = messenger.public_base_url + LINKS[ending.subject].format(ending.subject_id)
    try:
        await messenger.mailer.send(ending.message_id, to=address, subject=ending.title, text=ending.text(link))
    except MailNotSent as error:
        raise (PermanentFailure if error.for_good else NotSent)(str(error)) from error


async def _call(messenger: Messenger, ending: Ending, address: str) -> None:
    """The host must be allowed now, not only when the caller named it."""
    target = messenger.channels.target(address)
    if target is None or messenger.hooks is None:
        raise NotSent("the host is not on NOTIFY_ALLOWED_HOSTS any more")
    delivery = await messenger.hooks.send(ending.message_id, target, ending.payload())
    if delivery.error is not None:
        raise NotSent(delivery.error, wait=delivery.wait)


async def fail_notification(database: Database, claim: Claim, error: str, *, permanent: bool) -> float | None:
    """Another try in so many seconds; a row that has failed for good (None) stays, with the reason."""
    async with database.write() as repositories:
        retry_in = await repositories.leased(NOTIFICATIONS).fail(claim, error, permanent=permanent)
    if retry_in is None:
        log.error("a notification could not be sent", notification_id=claim.number, reason=error)
    return retry_in
