"""Idempotency keys: a request's effect, its key and its answer commit together, or not at all."""

import json

from qrtrack.domain.requests import (
    AlreadyAnswered,
    KeyReused,
    RepeatableRequest,
    StillRunning,
    StoredAnswer,
    Unanswered,
)
from qrtrack.repositories.base import Repository


class IdempotencyRepository(Repository):
    async def open(self, request: RepeatableRequest) -> None:
        """Takes the key for this transaction; raises AlreadyAnswered, KeyReused or StillRunning.

        The lock is taken without waiting, and lives as long as the transaction. The look for the key is a statement
        of its own after it: it sees what an earlier holder has committed.
        """
        if request.opened:
            return
        name = f"idempotency {request.organisation_id} {request.route} {request.key}"
        if not await self._scalar("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))", name=name):
            raise StillRunning
        kept = await self._row_or_none(
            "SELECT body_hash, status_code, headers, answer FROM idempotency_keys"
            " WHERE manufacturer_org_id = :organisation AND route = :route AND key = :key",
            organisation=request.organisation_id,
            route=request.route,
            key=request.key,
        )
        if kept is None:
            return
        if bytes(kept.body_hash) != request.body_hash:
            raise KeyReused
        if kept.answer is None:
            raise Unanswered
        raise AlreadyAnswered(StoredAnswer(kept.status_code, kept.headers or {}, kept.answer))

    async def keep(self, request: RepeatableRequest) -> None:
        """Writes the key with the answer as far as it is known; a later transaction of the request may complete it."""
        answer = request.answer
        await self._run(
            "INSERT INTO idempotency_keys (manufacturer_org_id, route, key, body_hash, status_code, headers, answer)"
            " VALUES (:organisation, :route, :key, :body_hash, :status_code, CAST(:headers AS jsonb), :answer)"
            " ON CONFLICT (manufacturer_org_id, route, key)"
            " DO UPDATE SET status_code = EXCLUDED.status_code, headers = EXCLUDED.headers, answer = EXCLUDED.answer",
            organisation=request.organisation_id,
            route=request.route,
            key=request.key,
            body_hash=request.body_hash,
            status_code=answer and answer.status_code,
            headers=answer and json.dumps(dict(answer.headers)),
            answer=answer and answer.body,
        )
        request.opened = True
