"""Finds the units, cases, jobs and batches that a scanned or typed text names, with one query."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from qrtrack.repositories.base import Repository

NEWEST_BATCHES: Final = 10_000
"""A search by GTIN or product name reads only this many of the newest batches: product names have no index."""

# Each kind is looked up in a separate subquery: a plain join may read all codes while statistics are missing or old.
# Without statistics PostgreSQL may still read the organisation's batches, which takes 2 ms for 15,000. For EXISTS it
# may hash a whole table; for a subquery with LIMIT it cannot. `rank` orders the kinds, and batches by the better match.
SEARCH: Final = """
WITH name AS (
    SELECT * FROM unnest(CAST(:names AS text[])) AS listed(name)
), newest AS NOT MATERIALIZED (
    SELECT id, gtin, lot, lower(product_name) AS product_name
    FROM qr_batches
    ORDER BY id DESC
    LIMIT :newest
), unit AS (
    SELECT 'unit' AS kind, 0 AS rank, code.*
    FROM name
    CROSS JOIN LATERAL (SELECT * FROM qr_codes WHERE code = name.name LIMIT 1) AS code
), box AS (
    SELECT 'case' AS kind, 1 AS rank, box.*
    FROM name
    CROSS JOIN LATERAL (SELECT * FROM qr_master_codes WHERE master_code = name.name LIMIT 1) AS box
), job AS (
    SELECT 'reverse_job' AS kind, 2 AS rank, batch_id, id, status, progress FROM qr_reverse_jobs WHERE id = :id
    UNION ALL
    SELECT 'label_job', 2, batch_id, id, status, progress FROM label_jobs WHERE id = :id
), batch AS (
    SELECT id, min(rank) AS rank
    FROM (SELECT batch.id, 3 AS rank
          FROM name CROSS JOIN LATERAL (SELECT id FROM qr_batches WHERE uniq_code = name.name LIMIT 1) AS batch
          UNION ALL
          SELECT id, 3 FROM qr_batches WHERE id = :id
          UNION ALL
          (SELECT id, 4 FROM qr_batches WHERE order_id = :id ORDER BY id DESC LIMIT :limit)
          UNION ALL
          (SELECT id, 5 FROM newest
           WHERE gtin = CAST(:gtin AS text) AND (CAST(:lot AS text) IS NULL OR upper(lot) = upper(:lot))
           ORDER BY id DESC LIMIT :limit)
          UNION ALL
          (SELECT id,
                  CASE WHEN product_name = :product THEN 6 WHEN starts_with(product_name, :product) THEN 7 ELSE 8 END
           FROM newest
           WHERE strpos(product_name, CAST(:product AS text)) > 0
           ORDER BY 2, id DESC LIMIT :limit)) AS matching
    GROUP BY id
), found AS (
    SELECT kind, rank, batch_id, id AS code_id, code, sequence_number, variant, status, master_code_id AS case_id,
           CAST(NULL AS uuid) AS job_id, CAST(NULL AS smallint) AS progress
    FROM unit
    UNION ALL
    SELECT kind, rank, batch_id, NULL, NULL, NULL, variant, status, id, NULL, NULL FROM box
    UNION ALL
    SELECT kind, rank, batch_id, NULL, NULL, NULL, NULL, status, NULL, id, progress FROM job
    UNION ALL
    SELECT 'batch', rank, id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM batch
)
SELECT found.kind, found.batch_id, batch.order_id, batch.product_name, batch.uniq_code, batch.gtin, batch.lot,
       batch.serial_mode, batch.quantity, batch.created_at, batch.closed_at, found.code, found.variant,
       COALESCE(found.status, batch.status) AS status,
       COALESCE((SELECT true FROM qr_excluded_codes AS excluded
                 WHERE excluded.batch_id = found.batch_id AND excluded.sequence_number = found.sequence_number
                 LIMIT 1), false) AS is_excluded,
       COALESCE((SELECT true FROM qr_prepared_codes AS prepared
                 WHERE prepared.batch_id = found.batch_id AND prepared.sequence_number = found.sequence_number
                   AND prepared.status = 'prepared'
                 LIMIT 1), false) AS is_prepared,
       box.master_code, box.case_number, box.expected_units, box.actual_units, box.packed_at, box.station,
       found.job_id, found.progress
FROM found
CROSS JOIN LATERAL (SELECT * FROM qr_batches WHERE id = found.batch_id LIMIT 1) AS batch
LEFT JOIN LATERAL (SELECT * FROM qr_master_codes WHERE id = found.case_id LIMIT 1) AS box ON true
ORDER BY found.rank, found.batch_id DESC
LIMIT :limit
"""


class FoundThing(NamedTuple):
    """A unit, a case, a job or a batch. Columns that do not apply to the kind are None; a unit also has the columns of
    its case.
    """

    kind: str
    batch_id: UUID
    order_id: UUID
    product_name: str
    uniq_code: str
    gtin: str | None
    lot: str | None
    serial_mode: str
    quantity: int
    created_at: datetime
    closed_at: datetime | None
    code: str | None
    variant: str | None
    status: str
    is_excluded: bool
    is_prepared: bool
    master_code: str | None
    case_number: int | None
    expected_units: int | None
    actual_units: int | None
    packed_at: datetime | None
    station: str | None
    job_id: UUID | None
    progress: int | None


class SearchRepository(Repository):
    async def find(
        self,
        *,
        names: Sequence[str],
        id_: UUID | None,
        gtin: str | None,
        lot: str | None,
        product: str | None,
        limit: int,
    ) -> list[FoundThing]:
        """Returns the results, best first. `names` are possible codes, master codes or uniq codes; `id_` is the id of a
        job, batch or order; `product` is a part of a product's name.
        """
        return await self._fetch_all(
            FoundThing,
            SEARCH,
            names=names,
            id=id_,
            gtin=gtin,
            lot=lot,
            product=product and product.lower(),
            newest=NEWEST_BATCHES,
            limit=limit,
        )

    async def find_codes(self, names: Sequence[str], *, limit: int) -> list[FoundThing]:
        """Returns units, cases and batches with exactly these codes, master codes or uniq codes."""
        if not names:
            return []
        return await self.find(names=names, id_=None, gtin=None, lot=None, product=None, limit=limit)
