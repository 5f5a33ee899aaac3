"""The least that stores a webhook: FastAPI, asyncpg, one row an event. Run by uvicorn; DATABASE_DSN says where."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from fastapi import FastAPI, Request

INSERT = (
    "INSERT INTO bare_webhook_queue (type, database_id, uuid, payload, content_hash, manufacturer_org_id, status)"
    " SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bytea[], $6::uuid[], $7::text[])"
    " RETURNING id"
)
OWNER = "5e1d8a4e-9d0c-4a52-8a53-0a4a4c8d0c11"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["DATABASE_DSN"], min_size=20, max_size=20) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/webhook/accurate")
async def receive(request: Request) -> dict[str, Any]:
    events = await request.json()
    body = (await request.body()).decode()
    rows = await request.app.state.pool.fetch(
        INSERT,
        [event["type"] for event in events],
        [event["databaseId"] for event in events],
        [event["uuid"] for event in events],
        [body] * len(events),
        [b"\0" * 32] * len(events),
        [OWNER] * len(events),
        ["pending"] * len(events),
    )
    return {"success": True, "queue_ids": [row["id"] for row in rows]}
