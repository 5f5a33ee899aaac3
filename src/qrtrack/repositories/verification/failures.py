"""Failed checks. One statement decides whether the limits allow a check, and counts the failure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from qrtrack.domain.verification.limits import (
    ALARMING_FAILURES,
    FAILURES_OF_BATCH,
    FAILURES_OF_CODE,
    FAILURES_OF_NETWORK,
    FAILURES_OF_WIDE_NETWORK,
    LONGEST_WAIT_MINUTES,
)
from qrtrack.repositories.base import DriverRepository

# Advisory locks serialise the checks of one code and those from one network, across all processes. LOCK is a statement
# of its own: the snapshot of TRY, which follows, then contains what the previous holder of the lock has committed. The
# locks are sorted, so that two checks that share two locks cannot deadlock.
LOCK: Final = """
SELECT pg_advisory_xact_lock(lock)
FROM (SELECT DISTINCT lock FROM unnest(CAST(:locks AS bigint[])) AS wanted (lock) ORDER BY lock) AS sorted
"""


def _full(key: str, most: int, window: str) -> str:
    """Returns SQL for the time when this limit allows a check again: when the oldest of the last `most` failures leaves
    the window. NULL if the window contains fewer failures.
    """
    return f"""
    SELECT failed_at + interval '{window}'
    FROM verification_failures
    WHERE {key} AND failed_at > now() - interval '{window}'
    ORDER BY failed_at DESC
    OFFSET {most - 1} LIMIT 1
    """


# GREATEST ignores NULLs, so the longest wait of all scopes applies. A refused check is not counted as a failure.
TRY: Final = f"""
WITH waits AS (
    SELECT GREATEST(
        ({_full("network_key = ANY(CAST(:networks AS bytea[]))", FAILURES_OF_NETWORK, "1 hour")}),
        ({_full("wide_network_key = ANY(CAST(:wide_networks AS bytea[]))", FAILURES_OF_WIDE_NETWORK, "1 hour")}),
        (SELECT max(failed_at)
             + interval '1 minute' * LEAST({LONGEST_WAIT_MINUTES}, power(2, LEAST(count(*), 20) - {FAILURES_OF_CODE}))
         FROM verification_failures
         WHERE code_key = CAST(:code_key AS bytea) AND failed_at > now() - interval '1 day'
         HAVING count(*) >= {FAILURES_OF_CODE}),
        (SELECT full_batch.until
         FROM ({_full("batch_key = CAST(:batch_key AS bytea)", FAILURES_OF_BATCH, "1 day")}) AS full_batch (until)
         WHERE EXISTS (SELECT FROM verification_failures
                       WHERE network_key = ANY(CAST(:networks AS bytea[]))
                         AND batch_key = CAST(:batch_key AS bytea)
                         AND failed_at > now() - interval '1 day'))
    ) AS until
), verdict AS (
    SELECT CASE WHEN until > clock_timestamp() THEN until END AS retry_at FROM waits
), counted AS (
    INSERT INTO verification_failures (batch_key, code_key, network_key, wide_network_key)
    SELECT CAST(:batch_key AS bytea), CAST(:code_key AS bytea),
           (CAST(:networks AS bytea[]))[1], (CAST(:wide_networks AS bytea[]))[1]
    FROM verdict
    WHERE retry_at IS NULL AND NOT CAST(:proven AS boolean)
    RETURNING batch_key
), given_back AS (
    DELETE FROM verification_failures
    WHERE CAST(:proven AS boolean)
      AND (SELECT retry_at IS NULL FROM verdict)
      AND code_key = CAST(:code_key AS bytea)
      AND network_key = ANY(CAST(:networks AS bytea[]))
), alarmed AS (
    INSERT INTO verification_alerts (manufacturer_org_id, batch_id, kind)
    SELECT CAST(:organisation_id AS uuid), CAST(:batch_id AS uuid), 'guessing'
    FROM counted
    WHERE CAST(:batch_id AS uuid) IS NOT NULL
      AND (SELECT count(*) FROM (
               SELECT FROM verification_failures AS failure
               WHERE failure.batch_key = CAST(:batch_key AS bytea) AND failure.failed_at > now() - interval '1 day'
               LIMIT {ALARMING_FAILURES}) AS failures) >= {ALARMING_FAILURES - 1}
    ON CONFLICT DO NOTHING
    RETURNING 1
)
SELECT retry_at, EXTRACT(epoch FROM retry_at - clock_timestamp())::float AS seconds,
       EXISTS (SELECT FROM alarmed) AS is_alarmed
FROM verdict
"""


class Try(NamedTuple):
    """The keyed hashes of one check, by which the limits count. `networks` and `wide_networks` hold the hashes of today
    and of yesterday; `wide_networks` is empty for IPv4. `code_key` is None if the check named no code, `batch_id` if no
    batch has the uniq code.
    """

    batch_key: bytes
    code_key: bytes | None
    networks: Sequence[bytes]
    wide_networks: Sequence[bytes]
    organisation_id: UUID | None
    batch_id: UUID | None


class Verdict(NamedTuple):
    """If `retry_at` is set, the check is refused, also with a right key. `is_alarmed`: the check raised the alert of
    its batch.
    """

    retry_at: datetime | None
    seconds: float | None
    is_alarmed: bool


class FailureRepository(DriverRepository):
    async def judge(self, attempt: Try, *, proven: bool) -> Verdict:
        """Decides whether the limits allow the check. If they do, a wrong key is stored as a failure. A right key
        (`proven`) deletes the earlier failures of this network on this code.
        """
        keys = [attempt.networks[0], *([attempt.code_key] if attempt.code_key else [])]
        await self._execute(LOCK, locks=[int.from_bytes(key[:8], signed=True) for key in keys])
        return await self._fetch_one(Verdict, TRY, proven=proven, **attempt._asdict())
