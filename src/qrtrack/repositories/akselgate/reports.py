"""The report of a day: attempts, callbacks and money of each settlement."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from qrtrack.repositories.base import Repository

# The last row is the total of the day. sum_in adds up the amounts of the requested rows, sum_out those of the sent
# bytes. Both leave out rejected and unsent attempts, since no money was sent with them. The bytes of an imported
# attempt may have any form: sum_out takes its rows.
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
    FROM attempts JOIN t_akselgate_transaction_rows AS line ON line.attempt_id = attempts.id
    GROUP BY attempts.id
), sent AS (
    SELECT attempts.id, sum((entry ->> 'amount')::numeric) AS sum_out
    FROM attempts CROSS JOIN LATERAL json_array_elements(attempts.request_payload::json -> 'data') AS entry
    WHERE NOT attempts.imported
    GROUP BY attempts.id
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
       COALESCE(sum(CASE WHEN imported THEN lines.sum_in ELSE sent.sum_out END)
                FILTER (WHERE outcome IN ('sending', 'accepted', 'unknown')), 0) AS sum_out,
       COALESCE(sum(lines.sum_in) FILTER (WHERE outcome = 'accepted'), 0) AS sum_accepted,
       COALESCE(sum(lines.sum_in) FILTER (WHERE outcome = 'unknown'), 0) AS sum_unknown,
       COALESCE(sum(lines.sum_in) FILTER (WHERE outcome = 'sending'), 0) AS sum_sending,
       COALESCE(sum(lines.sum_in) FILTER (WHERE outcome = 'rejected'), 0) AS sum_rejected,
       COALESCE(sum(lines.sum_in) FILTER (WHERE outcome = 'not_sent'), 0) AS sum_not_sent,
       COALESCE(sum(lines.sum_ok), 0) AS sum_paid
FROM attempts LEFT JOIN lines USING (id) LEFT JOIN sent USING (id)
GROUP BY GROUPING SETS ((settlement_key, transaction_type), ())
ORDER BY GROUPING(settlement_key), settlement_key, transaction_type
"""


class UnknownByAge(NamedTuple):
    under_1_hour: int
    under_1_day: int
    older: int


class DayFigures(NamedTuple):
    """Figures of one settlement and type. In the total of a day, `kd_settle` and `transaction_type` have no meaning."""

    kd_settle: str
    transaction_type: str
    sent: int
    accepted: int
    rejected: int
    not_sent: int
    sending: int
    unknown: int
    unknown_hour: int
    unknown_day: int
    unknown_older: int
    callbacks_ok: int
    callbacks_failed: int
    callbacks_conflict: int
    callbacks_missing: int
    sum_in: Decimal
    sum_out: Decimal
    sum_accepted: Decimal
    sum_unknown: Decimal
    sum_sending: Decimal
    sum_rejected: Decimal
    sum_not_sent: Decimal
    sum_paid: Decimal

    @property
    def unknown_by_age(self) -> UnknownByAge:
        return UnknownByAge(self.unknown_hour, self.unknown_day, self.unknown_older)

    @property
    def sums_agree(self) -> bool:
        return self.sum_in == self.sum_out


class ReportRepository(Repository):
    async def report_day(self, day: date, timezone: str) -> Sequence[DayFigures]:
        """Returns a row for each settlement and type, and then the total."""
        return await self._fetch_all(DayFigures, REPORT, day=day, timezone=timezone)
