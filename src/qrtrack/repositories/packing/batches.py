"""Batches, their variants, and the numbers handed out to them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select

from qrtrack.domain.errors import NotFound
from qrtrack.domain.packing.batches import BatchClosed, BatchNotReady
from qrtrack.domain.packing.case_packing import OrderMismatch
from qrtrack.models import Batch, BatchVariant
from qrtrack.repositories.base import Repository


def check_packable(status: str, codes_created_at: datetime | None, closed_at: datetime | None) -> None:
    """Raises BatchNotReady, BatchClosed."""
    if codes_created_at is None:
        raise BatchNotReady(status)
    if closed_at is not None:
        raise BatchClosed(closed_at)


def no_such_batch(batch_id: UUID) -> NotFound:
    return NotFound(f"There is no batch {batch_id} in your organisation.")


class BatchRepository(Repository):
    async def get(self, batch_id: UUID) -> Batch:
        """Raises NotFound."""
        batch = await self._session.scalar(select(Batch).where(Batch.id == batch_id))
        if batch is None:
            raise no_such_batch(batch_id)
        return batch

    async def get_packable(self, batch_id: UUID, order_id: UUID | None) -> Batch:
        """A batch whose codes exist and may be packed. Raises NotFound, OrderMismatch, BatchNotReady, BatchClosed."""
        batch = await self.get(batch_id)
        if order_id is not None and batch.order_id != order_id:
            raise OrderMismatch
        check_packable(batch.status, batch.codes_created_at, batch.closed_at)
        return batch

    async def take_numbers(self, organisation_id: UUID, prefix: str, quantity: int) -> int:
        """Hands out a contiguous range in one atomic step, and returns its first number. Racing batches queue here."""
        last = await self._scalar(
            "INSERT INTO qr_serial_counters AS counter (manufacturer_org_id, prefix, last_number)"
            " VALUES (:organisation, :prefix, :quantity) ON CONFLICT (manufacturer_org_id, prefix)"
            " DO UPDATE SET last_number = counter.last_number + EXCLUDED.last_number RETURNING last_number",
            organisation=organisation_id,
            prefix=prefix,
            quantity=quantity,
        )
        return int(last) - quantity + 1

    async def take_random(self, organisation_id: UUID, prefix: str, quantity: int) -> int:
        """Counts the random codes of the prefix, these included: the tail must be long enough for all of them."""
        total = await self._scalar(
            "INSERT INTO qr_serial_counters AS counter (manufacturer_org_id, prefix, random_codes)"
            " VALUES (:organisation, :prefix, :quantity) ON CONFLICT (manufacturer_org_id, prefix)"
            " DO UPDATE SET random_codes = counter.random_codes + EXCLUDED.random_codes RETURNING random_codes",
            organisation=organisation_id,
            prefix=prefix,
            quantity=quantity,
        )
        return int(total)

    async def pass_numbers(self, organisation_id: UUID, used: dict[str, int]) -> None:
        """Moves each prefix's counter to its highest imported number, if it is not past it."""
        await self._run(
            "INSERT INTO qr_serial_counters AS counter (manufacturer_org_id, prefix, last_number)"
            " SELECT :organisation, prefix, number"
            " FROM unnest(CAST(:prefixes AS text[]), CAST(:numbers AS bigint[])) AS used(prefix, number)"
            " ORDER BY prefix ON CONFLICT (manufacturer_org_id, prefix)"
            " DO UPDATE SET last_number = GREATEST(counter.last_number, EXCLUDED.last_number)",
            organisation=organisation_id,
            prefixes=list(used),
            numbers=list(used.values()),
        )

    async def add(self, batch: Batch, variants: Sequence[tuple[str | None, int]]) -> None:
        """`variants`: name and quantity, in the order of their sequence numbers."""
        self._session.add(batch)
        first = 1
        for variant, quantity in variants:
            last = first + quantity - 1
            self._session.add(
                BatchVariant(
                    batch_id=batch.id,
                    manufacturer_org_id=batch.manufacturer_org_id,
                    variant=variant,
                    first_sequence=first,
                    last_sequence=last,
                    queue_head=first,
                )
            )
            first = last + 1
        await self._session.flush()

    async def add_cases(self, batch_id: UUID) -> None:
        """All cases of the batch, variant by variant; the last of each holds what is left."""
        await self._run(
            "INSERT INTO qr_master_codes"
            " (batch_id, manufacturer_org_id, master_code, case_number, variant, expected_units)"
            " SELECT batch_id, manufacturer_org_id,"
            " uniq_code || '-C' || lpad(number::text, GREATEST(4, length(number::text)), '0'), number, variant, units"
            " FROM (SELECT batch.id AS batch_id, batch.manufacturer_org_id, batch.uniq_code, run.variant,"
            " row_number() OVER (ORDER BY first) AS number,"
            " LEAST(batch.units_per_case, run.last_sequence - first + 1) AS units"
            " FROM qr_batches AS batch JOIN qr_batch_variants AS run ON run.batch_id = batch.id"
            " CROSS JOIN LATERAL generate_series(run.first_sequence, run.last_sequence, batch.units_per_case) AS first"
            " WHERE batch.id = :batch_id) AS boxes ORDER BY number",
            batch_id=batch_id,
        )

    async def count_created(self, batch_id: UUID, created: int) -> Row[Any] | None:
        """Adds to the batch's progress; None when it is no longer being created (it has failed)."""
        return await self._row_or_none(
            "UPDATE qr_batches SET items_created = items_created + :created, updated_at = now(),"
            " codes_created_at = CASE WHEN items_created + :created = quantity THEN clock_timestamp() END,"
            " status = CASE WHEN items_created + :created = quantity THEN 'hashing' ELSE status END"
            " WHERE id = :batch_id AND status = 'creating'"
            " RETURNING items_created, quantity, codes_created_at IS NOT NULL AS complete",
            batch_id=batch_id,
            created=created,
        )

    async def count_hashed(self, batch_id: UUID, hashed: int) -> Row[Any]:
        """Adds to the batch's progress; the chunk that completes it makes the batch ready."""
        return await self._row(
            "UPDATE qr_batches SET keys_hashed = keys_hashed + :hashed, updated_at = now(),"
            " ready_at = CASE WHEN keys_hashed + :hashed = keys_to_hash THEN COALESCE(ready_at, clock_timestamp()) END,"
            " error_message = CASE WHEN keys_hashed + :hashed = keys_to_hash THEN NULL ELSE error_message END,"
            " status = CASE WHEN keys_hashed + :hashed = keys_to_hash THEN 'ready' ELSE status END"
            " WHERE id = :batch_id RETURNING keys_hashed, keys_to_hash",
            batch_id=batch_id,
            hashed=hashed,
        )

    async def lock(self, batch_id: UUID) -> None:
        """Nobody else moves the batch's progress before this transaction ends. Codes may still be inserted: a lock that
        forbade it would wait for those who insert some and then want to count them.
        """
        await self._run("SELECT 1 FROM qr_batches WHERE id = :batch_id FOR NO KEY UPDATE", batch_id=batch_id)

    async def fail(self, batch_id: UUID, reason: str) -> bool:
        """Marks the batch failed. In `creating` it keeps no codes: True when they were taken away. Needs the lock."""
        was_creating = await self._scalar(
            "SELECT codes_created_at IS NULL FROM qr_batches WHERE id = :batch_id", batch_id=batch_id
        )
        if was_creating:
            await self._run("DELETE FROM qr_codes WHERE batch_id = :batch_id", batch_id=batch_id)
        await self._run(
            "UPDATE qr_batches SET status = 'failed', error_message = :reason, updated_at = now(),"
            " items_created = CASE WHEN codes_created_at IS NULL THEN 0 ELSE items_created END WHERE id = :batch_id",
            batch_id=batch_id,
            reason=reason,
        )
        return bool(was_creating)

    async def resume(self, batch_id: UUID) -> bool:
        """Back from failed to the stage it failed in; False if it has not failed."""
        return bool(
            await self._run(
                "UPDATE qr_batches SET error_message = NULL, updated_at = now(),"
                " status = CASE WHEN codes_created_at IS NULL THEN 'creating' ELSE 'hashing' END"
                " WHERE id = :batch_id AND status = 'failed'",
                batch_id=batch_id,
            )
        )

    async def variant_runs(self, batch_id: UUID) -> Sequence[Row[Any]]:
        return await self._rows(
            "SELECT variant, first_sequence, last_sequence FROM qr_batch_variants WHERE batch_id = :batch_id"
            " ORDER BY first_sequence",
            batch_id=batch_id,
        )

    async def counts(self, batch_id: UUID) -> Row[Any]:
        """What the batch holds: codes by status, distinct root keys and uniq codes, cases.

        Digests are unique in the batch by constraint, so counting them counts distinct root keys. A code has its uniq
        code from its batch, so that all codes together have the batch's, and none has one.
        """
        return await self._row(
            "SELECT codes.*, cases.*, (SELECT count(DISTINCT uniq_code) FROM qr_batches AS batch WHERE id = :batch_id"
            "  AND EXISTS (SELECT FROM qr_codes WHERE batch_id = batch.id)) AS unique_uniq_codes FROM"
            " (SELECT count(*) AS total_items, count(root_key_digest) AS unique_root_keys,"
            "  count(*) FILTER (WHERE status = 'generated') AS generated,"
            "  count(*) FILTER (WHERE status = 'printed') AS printed,"
            "  count(*) FILTER (WHERE status = 'packed') AS packed,"
            "  count(*) FILTER (WHERE status = 'scanned') AS scanned,"
            "  count(*) FILTER (WHERE status = 'redeemed') AS redeemed,"
            "  count(*) FILTER (WHERE status = 'void') AS void"
            "  FROM qr_codes WHERE batch_id = :batch_id) AS codes,"
            " (SELECT count(*) AS cases_total, count(*) FILTER (WHERE status = 'packed') AS cases_packed"
            "  FROM qr_master_codes WHERE batch_id = :batch_id) AS cases",
            batch_id=batch_id,
        )

    async def hashing_rate(self, batch_id: UUID) -> float | None:
        """Keys hashed a second of late: the last chunks of the batch, over the time from the first of them to now."""
        rate = await self._scalar(
            "SELECT sum(last_sequence - first_sequence + 1)"
            " / NULLIF(EXTRACT(EPOCH FROM clock_timestamp() - min(started_at)), 0) FROM"
            " (SELECT * FROM qr_batch_stages WHERE batch_id = :batch_id AND stage = 'hashing'"
            "  AND status = 'completed' AND finished_at > now() - interval '2 minutes') AS recent",
            batch_id=batch_id,
        )
        return None if rate is None else float(rate)

    async def close(self, batch_id: UUID, reason: str) -> None:
        await self._run(
            "UPDATE qr_batches SET closed_at = clock_timestamp(), close_reason = :reason, updated_at = now()"
            " WHERE id = :batch_id",
            batch_id=batch_id,
            reason=reason,
        )

    async def forget_keys(self, batch_id: UUID) -> int:
        """Wipes the sealed keys; how many. The hashes stay."""
        await self._run(
            "UPDATE qr_batches SET keys_forgotten_at = COALESCE(keys_forgotten_at, clock_timestamp())"
            " WHERE id = :batch_id",
            batch_id=batch_id,
        )
        return await self._run(
            "UPDATE qr_codes SET root_key_sealed = NULL WHERE batch_id = :batch_id AND root_key_sealed IS NOT NULL",
            batch_id=batch_id,
        )

    async def reconcile(self, batch_id: UUID) -> Row[Any]:
        """Counts every code once, by the first description that fits it; what fits none is listed by its number.

        `missing` are numbers of the batch that have no code, `unaccounted` codes too many or that fit no description.
        """
        return await self._row(
            "WITH placed AS (SELECT code.sequence_number, code.code, CASE WHEN code.sequence_number NOT BETWEEN 1 AND"
            " (SELECT quantity FROM qr_batches WHERE id = :batch_id) THEN 'unaccounted'"
            " WHEN code.status = 'void' AND NOT code.voided_by_closing THEN 'void'"
            " WHEN code.master_code_id IS NOT NULL THEN 'in_case'"
            " WHEN code.status IN ('scanned', 'redeemed') THEN 'scanned'"
            " WHEN code.status NOT IN ('generated', 'printed', 'void') THEN 'unaccounted'"
            " WHEN code.sequence_number IN (SELECT sequence_number FROM qr_prepared_codes"
            "  WHERE batch_id = :batch_id AND status = 'prepared') THEN 'prepared'"
            " WHEN code.sequence_number IN (SELECT sequence_number FROM qr_excluded_codes"
            "  WHERE batch_id = :batch_id) THEN 'excluded'"
            " WHEN code.status = 'void' THEN 'voided_by_closing' ELSE 'remaining' END AS place"
            " FROM qr_codes AS code WHERE code.batch_id = :batch_id)"
            " SELECT count(*) FILTER (WHERE place = 'void') AS void,"
            " count(*) FILTER (WHERE place = 'in_case') AS in_case,"
            " count(*) FILTER (WHERE place = 'scanned') AS scanned,"
            " count(*) FILTER (WHERE place = 'prepared') AS prepared,"
            " count(*) FILTER (WHERE place = 'excluded') AS excluded,"
            " count(*) FILTER (WHERE place = 'voided_by_closing') AS voided_by_closing,"
            " count(*) FILTER (WHERE place = 'remaining') AS remaining,"
            " COALESCE(array_agg(code) FILTER (WHERE place = 'unaccounted'), '{}') AS unaccounted,"
            " ARRAY(SELECT number FROM generate_series(1, (SELECT quantity FROM qr_batches WHERE id = :batch_id))"
            "  AS number EXCEPT SELECT sequence_number FROM placed) AS missing FROM placed",
            batch_id=batch_id,
        )
