"""The chunks in which a batch's codes are created and hashed, and the codes that they write."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from qrtrack.repositories.base import KEEP_PLANS, Repository
from qrtrack.repositories.queues import CREATING

QUEUE_CHUNKS = """
INSERT INTO qr_batch_stages (batch_id, manufacturer_org_id, stage, status, first_sequence, last_sequence)
SELECT :batch_id, :organisation_id, :stage, 'queued', first, LEAST(first + :chunk_size - 1, :quantity)
FROM generate_series(1, :quantity, :chunk_size) AS first
"""

GET_CHUNK = """
SELECT stage.first_sequence, stage.last_sequence, batch.id AS batch_id, batch.manufacturer_org_id,
       batch.serial_mode, batch.serial_prefix, batch.first_number, batch.random_tail_length, batch.key_length
FROM qr_batch_stages AS stage
JOIN qr_batches AS batch ON batch.id = stage.batch_id
WHERE stage.id = :chunk_id
"""

# A batch that failed in creating has no codes left, so all its chunks of that stage are queued again.
REQUEUE_CHUNKS = f"""
UPDATE qr_batch_stages AS stage
SET {CREATING.requeued}
FROM qr_batches AS batch
WHERE stage.batch_id = :batch_id AND batch.id = stage.batch_id
  AND (stage.status = 'failed' OR stage.stage = 'creating' AND batch.status = 'creating')
"""

FAIL_LIVE_CHUNKS = f"""
UPDATE qr_batch_stages
SET {CREATING.ended("failed")}, error_message = :reason
WHERE batch_id = :batch_id AND status IN ('queued', 'running')
"""

INSERT_CODES = """
INSERT INTO qr_codes (batch_id, manufacturer_org_id, sequence_number, code, variant, root_key_digest, root_key_sealed)
SELECT :batch_id, :organisation_id, made.number,
       CAST(:prefix AS text) || COALESCE(made.tail,
           lpad((CAST(:first_number AS bigint) + made.number - 1)::text,
                GREATEST(6, length((CAST(:first_number AS bigint) + made.number - 1)::text)), '0')),
       run.variant, made.digest, made.sealed
FROM unnest(CAST(:sequences AS int[]), CAST(:digests AS bytea[]), CAST(:sealed AS bytea[]), CAST(:tails AS text[]))
     AS made(number, digest, sealed, tail)
JOIN qr_batch_variants AS run
  ON run.batch_id = :batch_id AND made.number BETWEEN run.first_sequence AND run.last_sequence
ORDER BY made.number
ON CONFLICT DO NOTHING
"""

# The inner query repeats the chunk's bounds: without them, the planner reads all codes that the batch has so far.
MISSING = """
SELECT number
FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS number
WHERE NOT EXISTS (SELECT FROM qr_codes
                  WHERE batch_id = :batch_id AND sequence_number = number
                    AND sequence_number BETWEEN :first AND :last)
ORDER BY number
"""

KEYS_TO_HASH = """
SELECT sequence_number, root_key_sealed
FROM qr_codes
WHERE batch_id = :batch_id AND sequence_number BETWEEN :first AND :last
  AND root_key_hash IS NULL AND root_key_sealed IS NOT NULL
ORDER BY sequence_number
"""

STORE_HASHES = """
UPDATE qr_codes AS code
SET root_key_hash = made.hash
FROM unnest(CAST(:sequences AS int[]), CAST(:hashes AS text[])) AS made(number, hash)
WHERE code.batch_id = :batch_id AND code.sequence_number = made.number AND code.root_key_hash IS NULL
"""

# Codes that exist, and codes whose numbers a batch has reserved.
TAKEN = """
SELECT listed.code
FROM unnest(CAST(:codes AS text[])) AS listed(code)
JOIN qr_codes AS code ON code.code = listed.code
UNION
SELECT listed.code
FROM qr_batches AS batch
JOIN (SELECT code, substring(code FROM '^(.*[A-Z])[0-9]+$') AS prefix,
             substring(code FROM '[A-Z]([0-9]{6}|[1-9][0-9]{6,11})$')::bigint AS number
      FROM unnest(CAST(:codes AS text[])) AS code) AS listed
  ON batch.serial_prefix = listed.prefix
 AND listed.number BETWEEN batch.first_number AND batch.first_number + batch.quantity - 1
WHERE batch.serial_mode = 'sequential'
"""

INSERT_IMPORTED = """
INSERT INTO qr_codes (batch_id, manufacturer_org_id, sequence_number, code, variant, root_key_digest, root_key_sealed)
SELECT :batch_id, :organisation_id, made.place + :offset, made.code, run.variant, made.digest, made.sealed
FROM unnest(CAST(:codes AS text[]), CAST(:digests AS bytea[]), CAST(:sealed AS bytea[]))
     WITH ORDINALITY AS made(code, digest, sealed, place)
JOIN qr_batch_variants AS run
  ON run.batch_id = :batch_id AND made.place + :offset BETWEEN run.first_sequence AND run.last_sequence
ORDER BY made.place
"""


class Chunk(NamedTuple):
    """One chunk of a batch's codes, with the data of the batch that its work needs."""

    first_sequence: int
    last_sequence: int
    batch_id: UUID
    manufacturer_org_id: UUID
    serial_mode: str
    serial_prefix: str | None
    first_number: int | None
    random_tail_length: int | None
    key_length: int


class SealedKey(NamedTuple):
    sequence_number: int
    root_key_sealed: bytes


class NewCodes(NamedTuple):
    """New codes, one element each: the digest of the key, the sealed key, and the tail (in a random batch)."""

    sequences: Sequence[int]
    digests: Sequence[bytes]
    sealed: Sequence[bytes]
    tails: Sequence[str] | None


class CodeCreationRepository(Repository):
    async def queue_chunks(
        self, batch_id: UUID, organisation_id: UUID, stage: str, *, quantity: int, chunk_size: int
    ) -> None:
        await self._execute(
            QUEUE_CHUNKS,
            batch_id=batch_id,
            organisation_id=organisation_id,
            stage=stage,
            quantity=quantity,
            chunk_size=chunk_size,
        )

    async def get_chunk(self, chunk_id: int) -> Chunk:
        return await self._fetch_one(Chunk, GET_CHUNK, chunk_id=chunk_id)

    async def requeue_chunks(self, batch_id: UUID) -> None:
        """Queues the failed chunks again, with all attempts. If the batch failed in creating, queues all chunks of that
        stage.
        """
        await self._execute(REQUEUE_CHUNKS, batch_id=batch_id)

    async def fail_live_chunks(self, batch_id: UUID, reason: str) -> None:
        """Ends the other chunks of a batch that failed in creating. A worker that runs one of them gets LeaseLost."""
        await self._execute(FAIL_LIVE_CHUNKS, batch_id=batch_id, reason=reason)

    async def insert_codes(self, chunk: Chunk, new: NewCodes) -> int:
        """Inserts the codes whose root key and code are still free. Returns how many."""
        await self._execute(f"SELECT {KEEP_PLANS}")
        return await self._execute(
            INSERT_CODES,
            batch_id=chunk.batch_id,
            organisation_id=chunk.manufacturer_org_id,
            prefix=chunk.serial_prefix,
            first_number=chunk.first_number,
            **new._asdict(),
        )

    async def missing(self, chunk: Chunk) -> Sequence[int]:
        """Returns the sequence numbers of the chunk that have no code yet."""
        return await self._fetch_values(
            int, MISSING, batch_id=chunk.batch_id, first=chunk.first_sequence, last=chunk.last_sequence
        )

    async def keys_to_hash(self, chunk: Chunk) -> Sequence[SealedKey]:
        """Returns the keys of the chunk that have no hash yet."""
        return await self._fetch_all(
            SealedKey, KEYS_TO_HASH, batch_id=chunk.batch_id, first=chunk.first_sequence, last=chunk.last_sequence
        )

    async def store_hashes(self, batch_id: UUID, sequences: Sequence[int], hashes: Sequence[str]) -> int:
        return await self._execute(STORE_HASHES, batch_id=batch_id, sequences=sequences, hashes=hashes)

    async def lock_imports(self, organisation_id: UUID) -> None:
        """Makes the organisation's imports run one after the other, so that of two files with the same code the second
        one sees it.
        """
        await self._lock(f"import {organisation_id}")

    async def taken(self, codes: Sequence[str]) -> Sequence[str]:
        """Returns the listed codes that exist, or whose numbers a batch of this service has reserved."""
        return await self._fetch_values(str, TAKEN, codes=codes)

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
        """Inserts codes that were made elsewhere, numbered from `first_sequence` on."""
        await self._execute(f"SELECT {KEEP_PLANS}")
        await self._execute(
            INSERT_IMPORTED,
            batch_id=batch_id,
            organisation_id=organisation_id,
            offset=first_sequence - 1,
            codes=codes,
            digests=digests,
            sealed=sealed,
        )
