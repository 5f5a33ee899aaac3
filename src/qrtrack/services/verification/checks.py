"""Checking a unit by its root key: proving the key, counting failures, recording the check, redeeming."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import structlog
from prometheus_client import Counter

from qrtrack.database import Database
from qrtrack.domain.errors import NotFound
from qrtrack.domain.identity import Caller
from qrtrack.domain.root_keys import Hasher, KeyRing
from qrtrack.domain.scans import read_code, read_uniq_code
from qrtrack.domain.verification.checks import (
    COUNTED,
    Purpose,
    Result,
    UnitState,
    alerts_of,
    decide,
    is_new_look,
    refuse_redemption,
)
from qrtrack.domain.verification.keys import readings
from qrtrack.domain.verification.limits import TooManyFailures
from qrtrack.domain.verification.networks import HashKeys, Network
from qrtrack.repositories import Repositories
from qrtrack.repositories.verification.checks import Check, History
from qrtrack.repositories.verification.failures import Try
from qrtrack.repositories.verification.units import FoundBatch, KeyedUnit, LockedUnit
from qrtrack.services.verification.admission import Admission

CHECKS: Final = Counter("qrtrack_verifications", "Checks of units by their result", ["result"])
REFUSED: Final = Counter("qrtrack_verifications_refused", "Checks that were refused after too many wrong keys")
ALERTS: Final = Counter("qrtrack_verification_alerts", "Alerts that checks have raised")

# A digest is looked up also for a batch that does not exist, so that an unknown uniq code takes as long as a known one.
NO_BATCH: Final = FoundBatch(UUID(int=0), UUID(int=0))

log = structlog.get_logger()


class KeyNotProven(NotFound):
    """The root key belongs to no unit of this uniq code, or not to the code that was sent with it."""

    slug = "key-not-proven"
    title = "The key does not fit"


class Visitor(NamedTuple):
    """The person who checks a unit. `browser` is the value of the cookie. `staff` is the signed-in user of a `qc`
    check; it is None for a consumer.
    """

    network: Network
    browser: str
    staff: Caller | None = None


class Claimed(NamedTuple):
    """What the person typed. It is neither stored nor logged."""

    uniq_code: str
    root_key: str
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of a check with the right key. `check_count` includes this check if it counts."""

    result: Result
    unit: LockedUnit
    check_count: int
    first_checked_on: date | None
    redeemed_on: date | None


@dataclass(frozen=True, slots=True)
class Verifier:
    """Runs checks. A process has one Verifier, because it limits how many checks the process runs at a time.

    `admission` limits checks, each of which computes one bcrypt. `lookups` limits the pages that only read.
    """

    database: Database
    keys: KeyRing
    hashes: HashKeys
    hasher: Hasher
    threads: Executor
    admission: Admission
    lookups: Admission
    zone: ZoneInfo
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    async def verify(self, claimed: Claimed, visitor: Visitor) -> Checked | None:
        """Returns None for a wrong key and for an unknown code. Raises TooManyFailures and VerificationBusy."""
        async with self.admission.slot(visitor.network.name):
            unit = await self._prove(claimed, visitor)
            checked = None if unit is None else await self._check(unit, visitor)
        CHECKS.labels(Result.UNKNOWN if checked is None else checked.result).inc()
        return checked

    async def redeem(self, claimed: Claimed, visitor: Visitor) -> Checked:
        """Redeems the unit, once. Raises KeyNotProven, NotRedeemable, TooManyFailures and VerificationBusy."""
        async with self.admission.slot(visitor.network.name):
            unit = await self._prove(claimed, visitor)
            if unit is None:
                raise KeyNotProven("The key does not fit: compare each character with the label and try again.")
            return await self._redeem(unit, visitor)

    async def _prove(self, claimed: Claimed, visitor: Visitor) -> "Proven | None":
        """Returns the unit that has this key. A wrong key and an unknown code run the same statements and one bcrypt,
        so that the response time does not reveal which codes exist.
        """
        uniq_code = read_uniq_code(claimed.uniq_code)
        code = None if claimed.code is None else read_code(claimed.code)
        typed = readings(claimed.root_key)
        async with self.database.autocommit() as repositories:
            found = await repositories.verified_units.find_batch(uniq_code)
            if visitor.staff is not None and found and found.manufacturer_org_id != visitor.staff.organisation_id:
                found = None
            batch = found or NO_BATCH
            digests = {self.keys.digest(batch.id, key): key for key in typed}
            unit = await repositories.verified_units.find_by_key(batch.id, list(digests), code)
        await self._count(self._try(uniq_code, code, visitor, found), proven=unit is not None)
        if unit is None:
            await self._compare("", self.hasher.of_no_key)
            return None
        return await self._confirm(batch, unit, digests[unit.root_key_digest])

    def _try(self, uniq_code: str, code: str | None, visitor: Visitor, found: FoundBatch | None) -> Try:
        """Returns the hashes by which the limits count this check. A failure of a `qc` check counts for its user only:
        it must not lock consumers out.
        """
        today, network, staff = self.clock().date(), visitor.network, visitor.staff
        if staff is not None:
            own = self.hashes.of("staff", str(staff.organisation_id), staff.user_id)
            return Try(own, None, [own], [], None, None)
        return Try(
            batch_key=self.hashes.of("batch", uniq_code),
            code_key=None if code is None else self.hashes.of("code", uniq_code, code),
            networks=self.hashes.of_two_days(network.name, today),
            wide_networks=[] if network.wide is None else self.hashes.of_two_days(network.wide, today),
            organisation_id=None if found is None else found.manufacturer_org_id,
            batch_id=None if found is None else found.id,
        )

    async def _count(self, attempt: Try, *, proven: bool) -> None:
        """Raises TooManyFailures. A failure is committed before the answer, so that a client that hangs up early is
        counted as well.
        """
        async with self.database.write() as repositories:
            verdict = await repositories.verification_failures.judge(attempt, proven=proven)
        if verdict.is_alarmed:
            ALERTS.inc()
            log.warning("many wrong root keys for one batch", batch=str(attempt.batch_id))
        if verdict.retry_at is not None:
            REFUSED.inc()
            raise TooManyFailures(verdict.retry_at, verdict.seconds or 0)

    async def _confirm(self, batch: FoundBatch, unit: KeyedUnit, key: str) -> "Proven | None":
        """Returns None if the unit's bcrypt hash does not match the key. A unit whose key is not hashed yet is proven
        by the digest alone; one bcrypt is computed all the same, so that the response takes as long.
        """
        peppered = self.keys.peppered(batch.id, unit.sequence_number, key)
        agrees = await self._compare(peppered, unit.root_key_hash or self.hasher.of_no_key)
        if unit.root_key_hash is not None and not agrees:
            log.error(
                "a root key's digest and hash disagree: checks of this unit answer `unknown`",
                batch=str(batch.id),
                unit=unit.sequence_number,
            )
            return None
        return Proven(batch.manufacturer_org_id, batch.id, unit.sequence_number)

    async def _compare(self, peppered: str, root_key_hash: str) -> bool:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.threads, self.hasher.verify, peppered, root_key_hash)

    async def _check(self, proven: "Proven", visitor: Visitor) -> Checked:
        check = self._check_of(visitor)
        async with self.database.write(tenant=proven.organisation_id) as repositories:
            unit, history, result = await self._judge(repositories, proven, check)
            if visitor.staff is None:
                return await self._record(repositories, unit, check, history, result)
            await self._record_staff(repositories, unit, check, result, visitor.staff)
            return self._checked(result, unit, history, counts=False)

    async def _redeem(self, proven: "Proven", visitor: Visitor) -> Checked:
        check = self._check_of(visitor)
        async with self.database.write(tenant=proven.organisation_id) as repositories:
            unit, history, result = await self._judge(repositories, proven, check)
            refuse_redemption(result, unit.redeemed_at, self._day(unit.redeemed_at))
            checked = await self._record(repositories, unit, check, history, result)
            await repositories.verified_units.mark_redeemed(proven.batch_id, proven.sequence_number)
            await repositories.trace.add("codes.redeemed", caller=_consumer_of(unit), **_place_of(unit))
            return replace(checked, redeemed_on=self._today())

    def _check_of(self, visitor: Visitor) -> Check:
        if visitor.staff is not None:
            return Check(Purpose.QC, actor=visitor.staff.user_id)
        return Check(
            Purpose.CONSUMER,
            browser=self.hashes.of("browser", visitor.browser),
            network=self.hashes.of_today(visitor.network.name, self.clock().date()),
        )

    async def _judge(
        self, repositories: Repositories, proven: "Proven", check: Check
    ) -> tuple[LockedUnit, History, Result]:
        """Locks the unit and returns it with its history and the result. Concurrent checks wait for the lock, so only
        one of them is the first.
        """
        unit = await repositories.verified_units.lock(proven.batch_id, proven.sequence_number)
        history = await repositories.verification_checks.history(proven.batch_id, proven.sequence_number, check)
        state = UnitState(
            is_recalled=unit.text_en is not None,
            is_void=unit.status == "void",
            is_released=unit.is_released,
            is_redeemed=unit.redeemed_at is not None,
            is_checked=unit.scanned_at is not None,
            same_look=history.look,
        )
        return unit, history, decide(state)

    async def _record(
        self, repositories: Repositories, unit: LockedUnit, check: Check, history: History, result: Result
    ) -> Checked:
        """Writes nothing if the check belongs to an earlier look. Otherwise a reload of the page would count as a
        second check, and a genuine unit would look like a copy.
        """
        if not is_new_look(result, history.look):
            return self._checked(result, unit, history, counts=False)
        if not history.is_full:
            await repositories.verification_checks.record(
                unit.manufacturer_org_id, unit.batch_id, unit.sequence_number, check, result
            )
        if result is Result.GENUINE and await repositories.verified_units.mark_scanned(
            unit.batch_id, unit.sequence_number
        ):
            await repositories.trace.add("codes.scanned", caller=_consumer_of(unit), **_place_of(unit))
        networks = history.networks + (not history.is_known_network)
        alerts = alerts_of(result, expires_on=unit.expires_on, today=self._today(), networks=networks)
        if alerts:
            raised = await repositories.verification_alerts.raise_alerts(
                unit.manufacturer_org_id, unit.batch_id, unit.sequence_number, alerts
            )
            ALERTS.inc(raised)
        return self._checked(result, unit, history, counts=result in COUNTED)

    async def _record_staff(
        self, repositories: Repositories, unit: LockedUnit, check: Check, result: Result, staff: Caller
    ) -> None:
        await repositories.verification_checks.record(
            unit.manufacturer_org_id, unit.batch_id, unit.sequence_number, check, result
        )
        await repositories.trace.add("codes.quality_checked", caller=staff, **_place_of(unit))

    def _checked(self, result: Result, unit: LockedUnit, history: History, *, counts: bool) -> Checked:
        first = unit.scanned_at or (self.clock() if counts else None)
        return Checked(
            result=result,
            unit=unit,
            check_count=history.check_count + counts,
            first_checked_on=self._day(first),
            redeemed_on=self._day(unit.redeemed_at),
        )

    def _day(self, instant: datetime | None) -> date | None:
        return None if instant is None else instant.astimezone(self.zone).date()

    def _today(self) -> date:
        return self.clock().astimezone(self.zone).date()


class Proven(NamedTuple):
    """A unit whose root key was entered."""

    organisation_id: UUID
    batch_id: UUID
    sequence_number: int


def _consumer_of(unit: LockedUnit) -> Caller:
    """Returns the actor for trace events. A consumer has no account, so the actor is `consumer`."""
    return Caller("consumer", unit.manufacturer_org_id)


def _place_of(unit: LockedUnit) -> dict[str, Any]:
    return {"batch_id": unit.batch_id, "ranges": [(unit.sequence_number, unit.sequence_number)]}
