"""Batches put into the tables by set-based SQL, as finished work of the service would have left them."""

import itertools
from dataclasses import dataclass
from uuid import UUID, uuid4

from uuid_utils.compat import uuid7

from benchmarks.ground import Connection
from qrtrack.domain.packing.numbering import uniq_code

# Only serial prefixes of the same length, so that all batches cost the same.
PREFIXES = ("".join(letters) for letters in itertools.product("ABCDEFGHJKLMNPQRSTUVWXYZ", repeat=4))

BATCH = """
INSERT INTO qr_batches (id, order_id, manufacturer_org_id, uniq_code, product_name, quantity, items_created,
    units_per_case, serial_mode, serial_prefix, first_number, key_length, status, keys_to_hash, keys_hashed,
    created_by, codes_created_at)
VALUES ($1, $2, $3, $4, 'Gold 1 g', $5, $5, 100, 'sequential', $6, 1, 7,
    CASE WHEN $7 THEN 'ready' ELSE 'hashing' END, $5, CASE WHEN $7 THEN $5 ELSE 0 END, 'benchmark', now())
"""
VARIANT = """
INSERT INTO qr_batch_variants (batch_id, manufacturer_org_id, first_sequence, last_sequence, queue_head)
VALUES ($1, $2, 1, $3, CASE WHEN $4 THEN $3 + 1 ELSE 1 END)
"""
CASES = """
INSERT INTO qr_master_codes (batch_id, manufacturer_org_id, master_code, case_number, expected_units, actual_units,
    status, completeness, packed_at, packed_by, first_sequence, last_sequence)
SELECT $1, $2, $3 || '-C' || number, number, 100, CASE WHEN $5 THEN 100 ELSE 0 END,
    CASE WHEN $5 THEN 'packed' ELSE 'open' END, CASE WHEN $5 THEN 'inferred' END, CASE WHEN $5 THEN now() END,
    CASE WHEN $5 THEN 'benchmark' END, CASE WHEN $5 THEN number * 100 - 99 END, CASE WHEN $5 THEN number * 100 END
FROM generate_series(1, $4::int / 100) AS number
"""
CODES = """
INSERT INTO qr_codes (batch_id, manufacturer_org_id, sequence_number, code, root_key_digest, root_key_sealed,
    root_key_hash, status, master_code_id)
SELECT $1, $2, number, $3 || lpad(number::text, GREATEST(6, length(number::text)), '0'), uuid_send(gen_random_uuid()),
    uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()), CASE WHEN $5 THEN repeat('h', 60) END,
    CASE WHEN $5 THEN 'packed' ELSE 'generated' END, box.id
FROM generate_series(1, $4::int) AS number
LEFT JOIN qr_master_codes AS box ON $5 AND box.batch_id = $1 AND box.case_number = (number + 99) / 100
ORDER BY number
"""
JOB = """
INSERT INTO qr_reverse_jobs (id, batch_id, order_id, manufacturer_org_id, exclude_codes, first_sequence, last_sequence,
    next_sequence, counted_at, total_available_in_batch, remaining_to_prepare, prepared_count, progress,
    result_summary, created_by, status, started_at, finished_at)
VALUES ($1, $2, $3, $4, '{}', 1, $5, $5 + 1, now(), $5, 0, $5, 100, '{}', 'benchmark', 'completed', now(), now())
"""
PREPARED = """
INSERT INTO qr_prepared_codes (job_id, batch_id, order_id, manufacturer_org_id, sequence_number, code, status,
    consumed_at)
SELECT $1, batch_id, $2, manufacturer_org_id, sequence_number, code,
    CASE WHEN $4 THEN 'consumed' ELSE 'prepared' END, CASE WHEN $4 THEN now() END
FROM qr_codes WHERE batch_id = $3 ORDER BY sequence_number
"""
STAGES = """
INSERT INTO qr_batch_stages (batch_id, manufacturer_org_id, stage, status, first_sequence, last_sequence, attempts,
    started_at, finished_at)
SELECT $1, $2, 'hashing', 'completed', first, first + 99, 1, now(), now()
FROM generate_series(1, $3::int, 100) AS first
"""
TRACE = """
INSERT INTO trace_events (manufacturer_org_id, action, actor, batch_id, master_code_id, sequences, unit_count)
SELECT manufacturer_org_id, 'case.packed', 'benchmark', batch_id, id,
    int4multirange(int4range(case_number * 100 - 99, case_number * 100, '[]')), 100
FROM qr_master_codes WHERE batch_id = $1
"""


@dataclass(frozen=True)
class Seeded:
    """A batch; `master_code(n)` is the code of its n-th case."""

    batch_id: UUID
    order_id: UUID
    quantity: int
    uniq_code: str
    prefix: str

    @property
    def cases(self) -> int:
        return self.quantity // 100

    def master_code(self, number: int) -> str:
        return f"{self.uniq_code}-C{number}"

    def code(self, number: int) -> str:
        return f"{self.prefix}{number:06d}"


async def seed_batch(
    bare: Connection, organisation: UUID, quantity: int, *, prepared: bool = False, packed: bool = False
) -> Seeded:
    """A batch whose codes exist; `prepared` waits in the queue, `packed` is done with all its history.

    Foreign keys are not checked on the way, which only makes the filling faster.
    """
    batch = Seeded(uuid7(), uuid4(), quantity, uniq_code(), next(PREFIXES))
    async with bare.transaction():
        await bare.execute("SET LOCAL session_replication_role = replica")
        await bare.execute(
            BATCH, batch.batch_id, batch.order_id, organisation, batch.uniq_code, quantity, batch.prefix, packed
        )
        await bare.execute(VARIANT, batch.batch_id, organisation, quantity, packed)
        await bare.execute(CASES, batch.batch_id, organisation, batch.uniq_code, quantity, packed)
        await bare.execute(CODES, batch.batch_id, organisation, batch.prefix, quantity, packed)
        if prepared or packed:
            job_id = uuid7()
            await bare.execute(JOB, job_id, batch.batch_id, batch.order_id, organisation, quantity)
            await bare.execute(PREPARED, job_id, batch.order_id, batch.batch_id, packed)
        if packed:
            await bare.execute(STAGES, batch.batch_id, organisation, quantity)
            await bare.execute(TRACE, batch.batch_id)
    return batch


async def tidy(bare: Connection) -> None:
    """Statistics and visibility as the autovacuum of a long-running plant leaves them."""
    for table in ("qr_batches", "qr_batch_variants", "qr_master_codes", "qr_codes", "qr_reverse_jobs",
                  "qr_prepared_codes", "qr_batch_stages", "trace_events"):  # fmt: skip
        await bare.execute(f"VACUUM (ANALYZE) {table}")
