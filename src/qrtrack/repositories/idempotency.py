"""Idempotency keys: a request's key is committed together with its effect, and usually with its answer."""

import json
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from qrtrack.domain.requests import (
    MOST_ANSWER_CHARACTERS,
    AlreadyAnswered,
    AnswerTooLong,
    KeyReused,
    RepeatableRequest,
    StillRunning,
    StoredAnswer,
    Unanswered,
)
from qrtrack.repositories.base import Repository

LOCK_KEY: Final = "SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))"
FIND_KEY: Final = """
SELECT body_hash, status_code, headers, answer, so_far
FROM idempotency_keys
WHERE manufacturer_org_id = :organisation AND route = :route AND key = :key
"""
STORE_KEY: Final = """
INSERT INTO idempotency_keys (manufacturer_org_id, route, key, body_hash, status_code, headers, answer, so_far)
VALUES (:organisation, :route, :key, :body_hash, :status_code, CAST(:headers AS jsonb), :answer,
        CAST(:so_far AS jsonb))
ON CONFLICT (manufacturer_org_id, route, key) DO UPDATE
SET status_code = EXCLUDED.status_code, headers = EXCLUDED.headers, answer = EXCLUDED.answer, so_far = EXCLUDED.so_far
"""


class StoredKey(NamedTuple):
    """The columns of the answer are NULL until the answer is known, and `so_far` is NULL from then on."""

    body_hash: bytes
    status_code: int
    headers: Mapping[str, str] | None
    answer: str | None
    so_far: Sequence[int | str] | None


class IdempotencyRepository(Repository):
    async def open(self, request: RepeatableRequest) -> None:
        """Takes the key for this transaction. Raises AlreadyAnswered, KeyReused or StillRunning.

        The lock does not wait, and is held until the transaction ends. A later statement reads the key, so it sees what
        an earlier holder of the lock committed. A request of several transactions takes the key in
        each of them. If two requests with the same key run at once, each continues where the other has stopped.
        """
        if request.opened:
            return
        name = f"idempotency {request.organisation_id} {request.route} {request.key}"
        if not await self._fetch_value(bool, LOCK_KEY, name=name):
            raise StillRunning
        stored = await self._fetch_optional(
            StoredKey, FIND_KEY, organisation=request.organisation_id, route=request.route, key=request.key
        )
        if stored is None:
            return
        if bytes(stored.body_hash) != request.body_hash:
            raise KeyReused
        if stored.so_far is not None:
            request.so_far = stored.so_far
            return
        if stored.answer is None:
            raise Unanswered
        raise AlreadyAnswered(StoredAnswer(stored.status_code, stored.headers or {}, stored.answer))

    async def keep(self, request: RepeatableRequest) -> None:
        """Stores the key, with the answer if it is known. A later transaction of the request may add the answer.

        Raises AnswerTooLong, which rolls the effect back: a key without its answer could not repeat the answer.
        """
        answer = request.answer
        so_far = None if answer else request.so_far
        if answer and not request.opened and len(answer.body) > MOST_ANSWER_CHARACTERS:
            raise AnswerTooLong
        await self._execute(
            STORE_KEY,
            organisation=request.organisation_id,
            route=request.route,
            key=request.key,
            body_hash=request.body_hash,
            status_code=answer and answer.status_code,
            headers=answer and json.dumps(dict(answer.headers)),
            answer=answer and answer.body,
            so_far=so_far and json.dumps(so_far),
        )
        request.opened = so_far is None
