"""What became of a day's money."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from sqlalchemy import Row

from qrtrack.repositories.base import Repository

REPORT = """
WITH attempts AS (
    SELECT * FROM t_akselgate_transaction_log
    WHERE sent_at >= CAST(:day AS date)::timestamp AT TIME ZONE :timezone
      AND sent_at < (CAST(:day AS date) + 1)::timestamp AT TIME ZONE :timezone
), lines AS (
    SELECT attempts.id, sum(line.amount) AS sum_in,
           count(*) FILTER (WHERE line.callback_state = 'ok') AS ok,
           count(*) FILTER (WHERE line.callback_state = 'failed') AS failed,
           count(*) FILTER (WHERE line.callback_state = 'conflict') AS conflicts,
           count(*) FILTER (WHERE line.callback_state = 'missing') AS missing,
           sum(line.amount) FILTER (WHERE line.callback_state = 'ok') AS sum_ok
    FROM attempts JOIN t_akselgate_transaction_rows AS line ON line.attempt_id = attempts.id GROUP BY attempts.id
), sent AS (
    SELECT attempts.id, sum((entry ->> 'amount')::numeric) AS sum_out
    FROM attempts CROSS JOIN LATERAL json_array_elements(attempts.request_payload::json -> 'data') AS entry
    WHERE NOT attempts.imported GROUP BY attempts.id
)
SELECT (array_agg(kd_settle ORDER BY id DESC))[1] AS kd_settle, transaction_type, count(*) AS sent,
       count(*) FILTER (WHERE outcome = 'accepted') AS accepted,
       count(*) FILTER (WHERE outcome = 'rejected') AS rejected,
       count(*) FILTER (WHERE outcome = 'not_sent') AS not_sent,
       count(*) FILTER (WHERE outcome = 'sending') AS sending,
       count(*) FILTER (WHERE outcome = 'unknown') AS unknown,
       count(*) FILTER (WHERE outcome = 'unknown' AND sent_at > now() - interval '1 hour') AS unknown_hour,
       count(*) FILTER (WHERE outcome = 'unknown' AND sent_at <= now() - interval '1 hour'
                        AND sent_at > now() - interval '1 day') AS unknown_day,
       count(*) FILTER (WHERE outcome = 'unknown' AND sent_at <= now() - interval '1 day') AS unknown_older,
       COALESCE(sum(lines.ok), 0) AS callbacks_ok,
       COALESCE(sum(lines.failed), 0) AS callbacks_failed,
       COALESCE(sum(lines.conflicts), 0) AS callbacks_conflict,
       COALESCE(sum(lines.missing) FILTER (WHERE outcome IN ('accepted', 'unknown')), 0) AS callbacks_missing,
       COALESCE(sum(lines.sum_in) FILTER (WHERE outcome IN ('sending', 'accepted', 'unknown')), 0) AS sum_in,
       COALESCE(sum(sent.sum_out) FILTER (WHERE outcome IN ('sending', 'accepted', 'unknown')), 0) AS sum_out,
       COALESCE(sum(lines.sum_in) FILTER (WHERE outcome = 'accepted'), 0) AS sum_accepted,
       COALESCE(sum(lines.sum_in) FILTER (WHERE outcome = 'unknown'), 0) AS sum_unknown,
       COALESCE(sum(lines.sum_in) FILTER (WHERE outcome = 'sending'), 0) AS sum_sending,
       COALESCE(sum(lines.sum_in) FILTER (WHERE outcome = 'rejected'), 0) AS sum_rejected,
       COALESCE(sum(lines.sum_in) FILTER (WHERE outcome = 'not_sent'), 0) AS sum_not_sent,
       COALESCE(sum(lines.sum_ok), 0) AS sum_paid
FROM attempts LEFT JOIN lines USING (id) LEFT JOIN sent USING (id)
GROUP BY settlement_key, transaction_type ORDER BY settlement_key, transaction_type
"""


class DispatchReportRepository(Repository):
    async def of_day(self, day: date, timezone: str) -> Sequence[Row[Any]]:
        """One row a settlement. `sum_out` is read from the bytes that were sent, `sum_in` from the rows asked for; both
        leave out what was rejected or not sent, since no money went out for it.
        """
        return await self._rows(REPORT, day=day, timezone=timezone)
