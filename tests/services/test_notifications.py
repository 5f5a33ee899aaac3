"""Notifications: told once the end is committed, at least once, and by nothing that did not end."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from standardwebhooks.webhooks import Webhook
from structlog.testing import capture_logs

from certificates import Authority
from endpoint import Endpoint, answer, open_endpoint
from mail_server import Mailbox, open_mailbox
from plant import BY_KIND, Plant, killed_at
from qrtrack.domain.claims import LeaseLost
from qrtrack.domain.identity import Caller
from qrtrack.domain.notifications import Channels, Notify, Target
from qrtrack.domain.stopping import StopSignal
from qrtrack.integrations import hooks
from qrtrack.integrations.hooks import HookSender
from qrtrack.integrations.smtp import Mailer
from qrtrack.repositories.leased import LeasedRepository
from qrtrack.repositories.packing.reverse_jobs import ReverseJobRepository
from qrtrack.repositories.queues import REVERSE_JOBS
from qrtrack.runtime import LINKS, Runtime, open_messenger
from qrtrack.services.claims import claim_work
from qrtrack.services.notifications import Messenger
from qrtrack.services.packing.batches import close_batch, retry_batch
from qrtrack.services.packing.preparation import fail_reverse_job, run_reverse_job
from qrtrack.services.packing.reverse_jobs import cancel_reverse_job, retry_reverse_job
from qrtrack.services.retention import prune
from qrtrack.worker.execution import End, WorkOutcome, run_next

HOST = "hooks.test"
SECRET = "whsec_bm90aWZpY2F0aW9ucy1mb3ItdGhlLXBsYW50LTEyMw=="
MAIL = "shift@plant.example"
BY_MAIL = Notify(email=MAIL)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    async with open_mailbox() as mailbox:
        yield mailbox


@pytest.fixture
async def endpoint(authority: Authority) -> AsyncIterator[Endpoint]:
    async with open_endpoint(authority.server(HOST)) as endpoint:
        yield endpoint


class Names:
    """What names point at, in place of the DNS; and which addresses count as public, since tests have none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.addresses = ["127.0.0.1"]
        monkeypatch.setattr(hooks, "resolve", self.resolve)
        monkeypatch.setattr(hooks, "is_public", lambda address: address.is_loopback)

    async def resolve(self, host: str, _port: int) -> Sequence[hooks.Address]:
        self.asked.append(host)
        return [ip_address(address) for address in self.addresses]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    return Names(monkeypatch)


@pytest.fixture
async def runtime(
    runtime: Runtime, mailbox: Mailbox, endpoint: Endpoint, authority: Authority
) -> AsyncIterator[Runtime]:
    """A process that is set up for both ways."""
    sender = HookSender(SECRET, authority.trusting())
    messenger = Messenger(
        channels=Channels(mail=True, hosts=frozenset({(HOST, endpoint.port)})),
        mailer=Mailer(f"smtp://127.0.0.1:{mailbox.port}", "qrtrack <no-reply@plant.example>"),
        hooks=sender,
        links={subject: f"https://qr.plant.example{path}" for subject, path in LINKS.items()},
    )
    yield replace(runtime, messenger=messenger)
    await sender.close()


@pytest.fixture
def hook(endpoint: Endpoint) -> Notify:
    return Notify(url=f"https://{HOST}:{endpoint.port}/sms?to=line-3")


async def notify(runtime: Runtime) -> WorkOutcome | None:
    return await run_next(runtime, BY_KIND["notification"], StopSignal())


async def rows(plant: Plant) -> Sequence[Any]:
    return await plant.sql("SELECT * FROM notifications ORDER BY id")


async def due(plant: Plant) -> None:
    await plant.sql("UPDATE notifications SET run_at = now() WHERE status = 'queued'")


async def ended(plant: Plant, told: Notify | None = BY_MAIL) -> UUID:
    """A job that is completed."""
    batch = await plant.batch(10)
    job_id = await plant.submit(batch, [str(batch.first_code)], notify=told)
    await plant.work("reverse_job")
    return job_id


async def test_an_email_tells_that_a_job_is_completed(plant: Plant, runtime: Runtime, mailbox: Mailbox) -> None:
    job_id = await ended(plant)
    outcome = await notify(runtime)
    assert outcome is not None
    assert outcome.end is End.COMPLETED
    [message] = mailbox.received
    [row] = await rows(plant)
    assert message["To"] == MAIL
    assert message["From"] == "qrtrack <no-reply@plant.example>"
    assert message["Subject"] == "Reverse job completed"
    assert message["Message-ID"] == f"<notification-{row.id}@plant.example>"
    assert message["Auto-Submitted"] == "auto-generated"
    text = message.get_content()
    assert "9 prepared, 1 excluded, 0 already in the queue, 0 no longer available" in text
    assert f"https://qr.plant.example/api/manufacturer/reverse-job/status?job_id={job_id}" in text
    assert row.status == "completed"
    assert await notify(runtime) is None


@pytest.mark.usefixtures("names")
async def test_a_call_tells_it_signed_at_the_address_with_its_query(
    plant: Plant, runtime: Runtime, endpoint: Endpoint, hook: Notify
) -> None:
    job_id = await ended(plant, hook)
    await notify(runtime)
    [request] = endpoint.received
    [row] = await rows(plant)
    Webhook(SECRET).verify(request.body, request.headers)
    assert request.path == "/sms?to=line-3"
    assert request.headers["host"] == f"{HOST}:{endpoint.port}"
    assert request.headers["webhook-id"] == f"notification-{row.id}"
    told = json.loads(request.body)
    assert told["type"] == "reverse_job.completed"
    assert told["data"]["job_id"] == str(job_id)
    assert told["data"]["result_summary"]["prepared"] == 9
    assert told["data"]["text"].startswith("Reverse job completed: 9 prepared")
    assert row.status == "completed"


@pytest.mark.usefixtures("names")
async def test_an_alert_and_a_report_are_sent_by_e_mail_and_by_webhook(
    plant: Plant, runtime: Runtime, mailbox: Mailbox, endpoint: Endpoint, hook: Notify
) -> None:
    batch = await plant.batch(2, notify=replace(hook, email=MAIL))
    await plant.sql(
        "INSERT INTO verification_alerts (manufacturer_org_id, batch_id, kind, sequence_number)"
        " SELECT manufacturer_org_id, id, 'recalled', 2 FROM qr_batches"
    )
    await plant.sql(
        "INSERT INTO verification_reports (manufacturer_org_id, batch_id, code, reason, message, network)"
        " SELECT manufacturer_org_id, id, 'any text', 'not_me', 'any text', '' FROM qr_batches"
    )
    while await notify(runtime):
        pass
    assert [message["Subject"] for message in mailbox.received] == [
        "Verification alert: Gold 1 g", "Verification report: Gold 1 g",
    ]  # fmt: skip
    alert, report = [message.get_content() for message in mailbox.received]
    assert alert.startswith("Gold 1 g, SKA000002: a recalled unit was checked.")
    assert report.startswith("Gold 1 g: a consumer reports that somebody else checked the unit before.")
    assert f"/api/manufacturer/batches/{batch.batch_id}/verifications?show=reports" in report
    assert "any text" not in report, "what anybody may type stays out of messages"
    told = [json.loads(request.body) for request in endpoint.received]
    assert [each["type"] for each in told] == ["verification_alert.recalled", "verification_report.not_me"]
    assert told[0]["data"]["batch_id"] == str(batch.batch_id)
    assert (told[0]["data"]["kind"], told[0]["data"]["code"]) == ("recalled", "SKA000002")


@pytest.mark.usefixtures("names")
async def test_both_ways_go_each_by_itself(
    plant: Plant, runtime: Runtime, mailbox: Mailbox, endpoint: Endpoint, hook: Notify
) -> None:
    mailbox.refusal = "450 later"
    await ended(plant, Notify(MAIL, hook.url))
    assert {(await notify(runtime)).end, (await notify(runtime)).end} == {End.COMPLETED, End.RETRIED}  # type: ignore[union-attr]
    assert len(endpoint.received) == 1
    assert [(row.channel, row.status) for row in await rows(plant)] == [("email", "queued"), ("url", "completed")]


async def test_a_batch_tells_when_it_is_ready(plant: Plant, runtime: Runtime, mailbox: Mailbox) -> None:
    created = await plant.order(5, notify=BY_MAIL)
    await plant.work("creating")
    assert await rows(plant) == []
    await plant.work("hashing")
    await notify(runtime)
    [message] = mailbox.received
    assert message["Subject"] == "Batch ready"
    assert str(created.batch_id) in message.get_content()


async def test_a_batch_that_fails_and_is_retried_tells_both(plant: Plant, runtime: Runtime, mailbox: Mailbox) -> None:
    created = await plant.order(5, notify=BY_MAIL)
    await plant.sql("UPDATE qr_batches SET status = 'failed', error_message = 'no numbers left'")
    await plant.sql("UPDATE qr_batches SET error_message = 'the same, from another chunk', status = 'failed'")
    await retry_batch(plant.runtime.database, caller=plant.caller, batch_id=created.batch_id)
    for kind in ("creating", "hashing"):
        await plant.work(kind)
    while await notify(runtime):
        pass
    assert sorted(message["Subject"] for message in mailbox.received) == ["Batch failed", "Batch ready"]
    assert "no numbers left" in mailbox.received[0].get_content()


async def test_a_job_that_fails_for_good_tells_why_and_after_a_retry_how_it_went(
    plant: Plant, runtime: Runtime, mailbox: Mailbox
) -> None:
    job_id = await plant.submit(await plant.batch(10), notify=BY_MAIL)
    [claim] = await claim_work(plant.runtime.database, REVERSE_JOBS, 1, lease_seconds=30)
    assert await fail_reverse_job(plant.runtime.database, claim, "not yet", permanent=False) is not None
    assert await rows(plant) == []
    await plant.sql("UPDATE qr_reverse_jobs SET run_at = now()")
    [claim] = await claim_work(plant.runtime.database, REVERSE_JOBS, 1, lease_seconds=30)
    assert await fail_reverse_job(plant.runtime.database, claim, "the disk is full", permanent=True) is None
    await notify(runtime)
    assert "Reverse job failed: the disk is full" in mailbox.received[0].get_content()
    await retry_reverse_job(plant.runtime.database, caller=plant.caller, job_id=job_id)
    await plant.work("reverse_job")
    await notify(runtime)
    assert [message["Subject"] for message in mailbox.received] == ["Reverse job failed", "Reverse job completed"]


async def test_a_cancelled_job_sends_a_notification_whoever_cancelled_it(
    plant: Plant, runtime: Runtime, mailbox: Mailbox
) -> None:
    batch = await plant.batch(10)
    job_id = await plant.submit(batch, notify=BY_MAIL)
    await cancel_reverse_job(plant.runtime.database, caller=plant.caller, job_id=job_id)
    await plant.submit(batch, notify=BY_MAIL)
    await close_batch(plant.runtime.database, caller=plant.caller, batch_id=batch.batch_id, reason="mistake")
    while await notify(runtime):
        pass
    assert [message["Subject"] for message in mailbox.received] == ["Reverse job cancelled"] * 2


async def test_without_a_request_nothing_is_sent(plant: Plant) -> None:
    await ended(plant, None)
    await plant.work("hashing")
    assert await rows(plant) == []


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(("owner", "step"), [(ReverseJobRepository, "complete"), (ReverseJobRepository, "log")])
async def test_an_end_that_is_rolled_back_tells_nothing_and_the_real_one_once(
    plant: Plant, owner: type, step: str, moment: str
) -> None:
    await plant.submit(await plant.batch(10), notify=BY_MAIL)
    call = 1 if step == "complete" else 2
    with killed_at(owner, step, call=call, moment=moment) as kill:
        await run_next(plant.runtime, BY_KIND["reverse_job"], StopSignal())
    assert kill.done
    assert await rows(plant) == []
    await plant.sql("UPDATE qr_reverse_jobs SET run_at = now()")
    await plant.work("reverse_job")
    assert len(await rows(plant)) == 1


async def test_a_worker_with_a_lost_lease_sends_nothing(plant: Plant) -> None:
    await plant.submit(await plant.batch(10), notify=BY_MAIL)
    [late] = await claim_work(plant.runtime.database, REVERSE_JOBS, 1, lease_seconds=30)
    await plant.expire("qr_reverse_jobs")
    await plant.work("reverse_job")
    with pytest.raises(LeaseLost):
        await run_reverse_job(plant.runtime.database, late, StopSignal())
    assert len(await rows(plant)) == 1


async def test_one_of_many_workers_sends_each_message(plant: Plant, runtime: Runtime, mailbox: Mailbox) -> None:
    batch = await plant.batch(10)
    for _ in range(20):
        await plant.submit(batch, notify=BY_MAIL)
    await plant.work("reverse_job")

    async def drain() -> None:
        while await notify(runtime):
            pass

    await asyncio.gather(*(drain() for _ in range(5)))
    assert len({message["Message-ID"] for message in mailbox.received}) == len(mailbox.received) == 20


async def test_killed_between_sending_and_recording_it_is_sent_again_under_the_same_id(
    plant: Plant, runtime: Runtime, mailbox: Mailbox
) -> None:
    await ended(plant)
    with killed_at(LeasedRepository, "finish", call=1, moment="before") as kill:
        await notify(runtime)
    assert kill.done
    await due(plant)
    await notify(runtime)
    first, second = mailbox.received
    assert first["Message-ID"] == second["Message-ID"]
    assert [row.status for row in await rows(plant)] == ["completed"]


async def test_an_unreachable_mail_server_is_retried(plant: Plant, runtime: Runtime, mailbox: Mailbox) -> None:
    await ended(plant)
    away = replace(runtime, messenger=replace(runtime.messenger, mailer=Mailer("smtp://127.0.0.1:9", "a@b.example")))
    outcome = await notify(away)
    assert outcome is not None
    assert (outcome.end, outcome.error) == (End.RETRIED, "the mail server cannot be reached (SMTPConnectError)")
    await due(plant)
    await notify(runtime)
    assert len(mailbox.received) == 1


@pytest.mark.parametrize(
    ("refusal", "end"), [("550 no such mailbox", End.FAILED), ("451 greylisted, come again", End.RETRIED)]
)
async def test_a_recipient_who_does_not_exist_is_given_up_and_a_busy_one_is_not(
    plant: Plant, runtime: Runtime, mailbox: Mailbox, refusal: str, end: End
) -> None:
    mailbox.refusal = refusal
    await ended(plant)
    outcome = await notify(runtime)
    assert outcome is not None
    assert outcome.end is end
    [row] = await rows(plant)
    assert refusal[:3] in row.error_message


async def test_after_eight_attempts_the_notification_fails_with_the_reason(
    plant: Plant, runtime: Runtime, mailbox: Mailbox
) -> None:
    mailbox.refusal = "451 later"
    await ended(plant)
    ends = []
    while outcome := await notify(runtime):
        ends.append(outcome.end)
        await due(plant)
    assert ends == [End.RETRIED] * 7 + [End.FAILED]
    [row] = await rows(plant)
    assert (row.status, row.attempts) == ("failed", 8)
    assert "451" in row.error_message


async def test_a_password_is_sent_over_tls_only(plant: Plant, runtime: Runtime, authority: Authority) -> None:
    async def through(mailbox: Mailbox, password: str) -> WorkOutcome:
        mailer = Mailer(f"smtp://qr%40plant:{password}@localhost:{mailbox.port}", "a@b.example", authority.trusting())
        await due(plant)
        with capture_logs() as lines:
            outcome = await notify(replace(runtime, messenger=replace(runtime.messenger, mailer=mailer)))
        assert password not in str(lines)
        assert outcome is not None
        return outcome

    await ended(plant)
    async with open_mailbox(login=True) as plain:
        plain.password = b"pass%2Fword"
        refused = await through(plain, "pass%2Fword")
        assert refused.end is End.RETRIED
        assert "STARTTLS" in str(refused.error)
        assert (plain.seen, plain.received) == ([], [])
    async with open_mailbox(tls=authority.server("localhost"), login=True) as safe:
        safe.password = b"pass/word"
        wrong = await through(safe, "wrong-word")
        assert wrong.end is End.RETRIED
        assert wrong.error == "the mail server answered 535"
        assert (await through(safe, "pass%2Fword")).end is End.COMPLETED
        assert len(safe.received) == 1


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("status", [301, 302, 307, 400, 410, 429, 500])
async def test_other_statuses_are_retried_and_redirects_are_not_followed(
    plant: Plant, runtime: Runtime, endpoint: Endpoint, hook: Notify, status: int
) -> None:
    endpoint.reply = lambda _: answer(status, location=f"{endpoint.url}/inside")
    await ended(plant, hook)
    for _ in range(2):
        outcome = await notify(runtime)
        assert outcome is not None
        assert (outcome.end, outcome.error) == (End.RETRIED, f"the endpoint answered {status}")
        await due(plant)
    assert [request.path for request in endpoint.received] == ["/sms?to=line-3"] * 2
    assert len({request.headers["webhook-id"] for request in endpoint.received}) == 1


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize(("asked", "seconds"), [("1800", 1800), ("1", 5), ("999999999", 86400), ("soon", 5)])
async def test_retry_after_is_respected_up_to_a_day(
    plant: Plant, runtime: Runtime, endpoint: Endpoint, hook: Notify, *, asked: str, seconds: int
) -> None:
    endpoint.reply = lambda _: answer(429, retry_after=asked)
    await ended(plant, hook)
    outcome = await notify(runtime)
    assert outcome is not None
    assert outcome.end is End.RETRIED
    [row] = await plant.sql(
        "SELECT status, attempts, extract(epoch FROM run_at - now())::float8 AS wait FROM notifications"
    )
    assert (row.status, row.attempts) == ("queued", 1)
    assert 0.7 * seconds < row.wait < 1.3 * seconds + 1


async def test_the_name_is_resolved_once_and_the_checked_address_is_the_one_called(
    plant: Plant, runtime: Runtime, endpoint: Endpoint, hook: Notify, names: Names
) -> None:
    """The name is none that this machine could resolve: whoever connects has the address from the check."""
    await ended(plant, hook)
    await notify(runtime)
    assert names.asked == [HOST]
    assert len(endpoint.received) == 1


async def test_an_address_that_does_not_answer_is_passed_over(
    plant: Plant, runtime: Runtime, endpoint: Endpoint, hook: Notify, names: Names
) -> None:
    names.addresses = ["127.0.0.2", "127.0.0.1"]
    await ended(plant, hook)
    await notify(runtime)
    assert len(endpoint.received) == 1


@pytest.mark.parametrize(
    "addresses",
    [
        ["10.0.0.5"], ["127.0.0.1"], ["169.254.169.254"], ["192.168.1.1"], ["172.16.0.1"], ["100.64.0.1"], ["0.0.0.0"],
        ["224.0.0.1"], ["255.255.255.255"], ["::1"], ["::"], ["fe80::1"], ["fd00::1"], ["ff02::1"],
        ["::ffff:10.0.0.1"], ["64:ff9b::a00:1"], ["2002:a00:1::"], ["2001::1"], ["203.0.113.7"],
        ["::127.0.0.1"], ["::ffff:0:10.0.0.1"], ["64:ff9b:1::a00:1"], ["fec0::1"], ["3fff::1"], ["5f00::1"],
        ["8.8.8.8", "10.0.0.5"], [],
    ],
)  # fmt: skip
async def test_no_private_address_is_called_nor_one_beside_a_public_one(
    runtime: Runtime, endpoint: Endpoint, addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(_host: str, _port: int) -> Sequence[hooks.Address]:
        return [ip_address(address) for address in addresses]

    monkeypatch.setattr(hooks, "resolve", resolve)
    assert runtime.messenger.hooks is not None
    delivery = await runtime.messenger.hooks.send("id", Target(HOST, endpoint.port, "/"), "{}")
    assert delivery.error == "the host's address is not public"
    assert endpoint.received == []


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_a_public_address_is_one(address: str) -> None:
    assert hooks.is_public(ip_address(address))


async def test_names_are_resolved_by_the_system() -> None:
    assert ip_address("127.0.0.1") in await hooks.resolve("localhost", 443)


async def test_a_name_that_nobody_knows_is_tried_again(
    plant: Plant, runtime: Runtime, hook: Notify, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(_host: str, _port: int) -> Sequence[hooks.Address]:
        raise OSError

    monkeypatch.setattr(hooks, "resolve", resolve)
    await ended(plant, hook)
    outcome = await notify(runtime)
    assert outcome is not None
    assert (outcome.end, outcome.error) == (End.RETRIED, "the host's name cannot be resolved")


@pytest.mark.usefixtures("names")
async def test_a_certificate_of_another_name_is_not_taken(plant: Plant, runtime: Runtime, authority: Authority) -> None:
    async with open_endpoint(authority.server("evil.test")) as evil:
        channels = Channels(mail=True, hosts=frozenset({(HOST, evil.port)}))
        await ended(plant, Notify(url=f"https://{HOST}:{evil.port}/"))
        outcome = await notify(replace(runtime, messenger=replace(runtime.messenger, channels=channels)))
    assert outcome is not None
    assert outcome.end is End.RETRIED
    assert evil.received == []


@pytest.mark.usefixtures("names")
async def test_a_host_that_is_no_longer_allowed_is_not_called(
    plant: Plant, runtime: Runtime, endpoint: Endpoint, hook: Notify
) -> None:
    await ended(plant, hook)
    closed = replace(runtime.messenger, channels=Channels(mail=True, hosts=frozenset()))
    outcome = await notify(replace(runtime, messenger=closed))
    assert outcome is not None
    assert outcome.end is End.RETRIED
    assert endpoint.received == []


async def test_a_notification_on_a_channel_no_longer_set_up_is_retried(plant: Plant, runtime: Runtime) -> None:
    await ended(plant)
    async with open_messenger(runtime.settings) as nothing:
        outcome = await notify(replace(runtime, messenger=nothing))
    assert outcome is not None
    assert (outcome.end, outcome.error) == (End.RETRIED, "SMTP_URL is no longer set")


async def test_the_settings_make_the_messenger(runtime: Runtime) -> None:
    changed = runtime.settings.model_copy(
        update={
            "notify_allowed_hosts": "Hooks.Example.com, sms.example.com:8443",
            "notify_secret": runtime.settings.secret_key,
            "smtp_from": "a@b.example",
        }
    )
    changed = changed.model_validate(changed.model_dump() | {"notify_secret": SECRET, "smtp_url": "smtps://u:p@mail"})
    async with open_messenger(changed) as messenger:
        assert messenger.mailer is not None
        assert messenger.hooks is not None
        assert messenger.channels.target("https://hooks.example.com/x") is not None
        assert messenger.channels.target("https://sms.example.com:8443") is not None
        assert messenger.channels.target("https://sms.example.com/") is None


async def test_an_organisation_reads_its_own_and_writes_none(plant: Plant) -> None:
    other = Plant(plant.runtime, Caller("neighbour", uuid4(), plant.caller.roles))
    for each in (plant, other):
        batch = await each.batch(10)
        job_id = await each.submit(batch, notify=BY_MAIL)
        await cancel_reverse_job(each.runtime.database, caller=each.caller, job_id=job_id)
    assert len(await rows(plant)) == 2

    async def as_request(statement: str) -> Sequence[Any]:
        async with plant.runtime.database.write(tenant=plant.caller.organisation_id) as repositories:
            result = await repositories._session.execute(text(statement))
            return result.all()

    seen = await as_request("SELECT manufacturer_org_id FROM notifications")
    assert [row.manufacturer_org_id for row in seen] == [plant.caller.organisation_id]
    for forbidden in (
        "INSERT INTO notifications (status) VALUES ('queued') RETURNING 1",
        "UPDATE notifications SET address = 'me@evil.example' RETURNING 1",
        "SELECT announce_end(manufacturer_org_id, 'batch', id, '{\"email\": \"a@b.example\"}', '{}') FROM qr_batches",
    ):
        with pytest.raises(DBAPIError, match="permission denied"):
            await as_request(forbidden)


async def test_sent_ones_are_cleaned_up_when_they_are_old(plant: Plant, runtime: Runtime) -> None:
    await ended(plant)
    await ended(plant)
    await notify(runtime)
    await plant.sql("UPDATE notifications SET finished_at = finished_at - interval '91 days'")
    assert (await prune(plant.runtime.database, days=90))["notifications"] == 1
    assert [row.status for row in await rows(plant)] == ["queued"]
