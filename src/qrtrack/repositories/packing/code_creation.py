"""The chunks of a batch's codes that are created and hashed, and the rows of codes that they write."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from qrtrack.repositories.base import KEEP_PLANS, Repository


class StageRepository(Repository):
    async def add(self, batch_id: UUID, organisation_id: UUID, stage: str, *, quantity: int, chunk: int) -> None:
        await self._run(
            "INSERT INTO qr_batch_stages"
            " (batch_id, manufacturer_org_id, stage, status, first_sequence, last_sequence)"
            " SELECT :batch_id, :organisation, :stage, 'queued', first, LEAST(first + :chunk - 1, :quantity)"
            " FROM generate_series(1, :quantity, :chunk) AS first",
            batch_id=batch_id,
            organisation=organisation_id,
            stage=stage,
            quantity=quantity,
            chunk=chunk,
        )

    async def get(self, stage_id: int) -> Row[Any]:
        """The chunk with what is needed of its batch."""
        return await self._row(
            "SELECT stage.first_sequence, stage.last_sequence, batch.id AS batch_id, batch.manufacturer_org_id,"
            " batch.serial_mode, batch.serial_prefix, batch.first_number, batch.random_tail_length, batch.key_length"
            " FROM qr_batch_stages AS stage JOIN qr_batches AS batch ON batch.id = stage.batch_id"
            " WHERE stage.id = :stage_id",
            stage_id=stage_id,
        )

    async def requeue(self, batch_id: UUID) -> None:
        """Everything of the failed stage that is not done goes back to the queue with fresh attempts.

        A batch that failed in creating has no codes left, so that all its chunks of that stage are to be done again.
        """
        await self._run(
            "UPDATE qr_batch_stages AS stage SET status = 'queued', attempts = 0, run_at = now(), updated_at = now(),"
            " finished_at = NULL, lease_token = NULL, lease_expires_at = NULL FROM qr_batches AS batch"
            " WHERE stage.batch_id = :batch_id AND batch.id = stage.batch_id"
            " AND (stage.status = 'failed' OR stage.stage = 'creating' AND batch.status = 'creating')",
            batch_id=batch_id,
        )

    async def drop_unfinished(self, batch_id: UUID, reason: str) -> None:
        """The other chunks of a batch that failed in creating have nothing left to do: who holds one loses it."""
        await self._run(
            "UPDATE qr_batch_stages SET status = 'failed', error_message = :reason, finished_at = clock_timestamp(),"
            " lease_token = NULL, lease_expires_at = NULL, updated_at = now()"
            " WHERE batch_id = :batch_id AND status IN ('queued', 'running')",
            batch_id=batch_id,
            reason=reason,
        )

    async def insert_codes(
        self,
        batch: Row[Any],
        sequences: Sequence[int],
        digests: Sequence[bytes],
        sealed: Sequence[bytes],
        tails: Sequence[str] | None,
    ) -> int:
        """Inserts the codes whose root key and code are free; how many. `tails` make random codes, None serial ones."""
        await self._run(f"SELECT {KEEP_PLANS}")
        return await self._run(
            "INSERT INTO qr_codes (batch_id, manufacturer_org_id, sequence_number, code, variant,"
            " root_key_digest, root_key_sealed)"
            " SELECT :batch_id, :organisation, made.number, CAST(:prefix AS text) || COALESCE(made.tail,"
            "  lpad((CAST(:first_number AS bigint) + made.number - 1)::text,"
            "   GREATEST(6, length((CAST(:first_number AS bigint) + made.number - 1)::text)), '0')),"
            " run.variant, made.digest, made.sealed"
            " FROM unnest(CAST(:sequences AS int[]), CAST(:digests AS bytea[]), CAST(:sealed AS bytea[]),"
            "  CAST(:tails AS text[])) AS made(number, digest, sealed, tail)"
            " JOIN qr_batch_variants AS run ON run.batch_id = :batch_id"
            "  AND made.number BETWEEN run.first_sequence AND run.last_sequence"
            " ORDER BY made.number ON CONFLICT DO NOTHING",
            batch_id=batch.batch_id,
            organisation=batch.manufacturer_org_id,
            prefix=batch.serial_prefix,
            first_number=batch.first_number,
            sequences=sequences,
            digests=digests,
            sealed=sealed,
            tails=tails,
        )

    async def missing(self, batch_id: UUID, first: int, last: int) -> list[int]:
        """The sequence numbers of the chunk that have no code yet."""
        rows = await self._rows(
            "SELECT number FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS number"
            # The chunk's bounds once more: without them the planner reads all that the batch has so far.
            " WHERE NOT EXISTS (SELECT FROM qr_codes WHERE batch_id = :batch_id AND sequence_number = number"
            "  AND sequence_number BETWEEN :first AND :last) ORDER BY number",
            batch_id=batch_id,
            first=first,
            last=last,
        )
        return [row.number for row in rows]

    async def keys_to_hash(self, batch_id: UUID, first: int, last: int) -> list[tuple[int, bytes]]:
        """Sequence number and sealed key of the codes of the chunk that have no hash yet."""
        rows = await self._rows(
            "SELECT sequence_number, root_key_sealed FROM qr_codes WHERE batch_id = :batch_id"
            " AND sequence_number BETWEEN :first AND :last AND root_key_hash IS NULL AND root_key_sealed IS NOT NULL"
            " ORDER BY sequence_number",
            batch_id=batch_id,
            first=first,
            last=last,
        )
        return [(row.sequence_number, bytes(row.root_key_sealed)) for row in rows]

    async def store_hashes(self, batch_id: UUID, sequences: Sequence[int], hashes: Sequence[str]) -> int:
        return await self._run(
            "UPDATE qr_codes AS code SET root_key_hash = made.hash"
            " FROM unnest(CAST(:sequences AS int[]), CAST(:hashes AS text[])) AS made(number, hash)"
            " WHERE code.batch_id = :batch_id AND code.sequence_number = made.number AND code.root_key_hash IS NULL",
            batch_id=batch_id,
            sequences=sequences,
            hashes=hashes,
        )

    async def lock_imports(self, organisation_id: UUID) -> None:
        """Of two files with some of the same codes, in whatever order, the second waits and then sees the first's."""
        await self._run("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))", name=f"import {organisation_id}")

    async def taken(self, codes: Sequence[str]) -> list[str]:
        """Those of the codes that exist, or that a batch of this service has reserved the number of."""
        rows = await self._rows(
            "SELECT listed.code FROM unnest(CAST(:codes AS text[])) AS listed(code)"
            " JOIN qr_codes AS code ON code.code = listed.code"
            " UNION SELECT listed.code FROM qr_batches AS batch"
            " JOIN (SELECT code, substring(code FROM '^(.*[A-Z])[0-9]+$') AS prefix,"
            "   substring(code FROM '[A-Z]([0-9]{6}|[1-9][0-9]{6,11})$')::bigint AS number"
            "  FROM unnest(CAST(:codes AS text[])) AS code) AS listed"
            " ON batch.serial_prefix = listed.prefix"
            "  AND listed.number BETWEEN batch.first_number AND batch.first_number + batch.quantity - 1"
            " WHERE batch.serial_mode = 'sequential'",
            codes=codes,
        )
        return [row.code for row in rows]

    async def insert_imported(
        self,
        batch_id: UUID,
        organisation_id: UUID,
        *,
        first_sequence: int,
        codes: Sequence[str],
        digests: Sequence[bytes | None],
        sealed: Sequence[bytes | None],
    ) -> None:
        """Inserts codes that were made elsewhere, numbered on from `first_sequence`."""
        await self._run(f"SELECT {KEEP_PLANS}")
        await self._run(
            "INSERT INTO qr_codes (batch_id, manufacturer_org_id, sequence_number, code, variant,"
            " root_key_digest, root_key_sealed)"
            " SELECT :batch_id, :organisation, made.place + :offset, made.code, run.variant, made.digest, made.sealed"
            " FROM unnest(CAST(:codes AS text[]), CAST(:digests AS bytea[]), CAST(:sealed AS bytea[]))"
            "  WITH ORDINALITY AS made(code, digest, sealed, place)"
            " JOIN qr_batch_variants AS run ON run.batch_id = :batch_id"
            "  AND made.place + :offset BETWEEN run.first_sequence AND run.last_sequence ORDER BY made.place",
            batch_id=batch_id,
            organisation=organisation_id,
            offset=first_sequence - 1,
            codes=codes,
            digests=digests,
            sealed=sealed,
        )
