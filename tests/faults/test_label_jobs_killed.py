"""Label jobs whose workers are killed or stopped, as processes of their own: the file is the one of a single run."""

import signal
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from faults.processes import ended, kill_now, until, workers
from plant import BASE_URL, Plant, ska
from printed_labels import symbols_of
from process import PRINTED_HOST
from qrtrack.domain.qr import printed, unit_payload

PATIENCE = 240
LABELS = 2000


async def part_count(plant: Plant, job_id: UUID) -> int:
    return int((await plant.row("label_jobs", job_id)).part_count)


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_a_job_whose_worker_goes_between_parts_draws_each_label_once(
    plant: Plant, migrated_url: str, tmp_path: Path, how: str
) -> None:
    batch = await plant.batch(LABELS)
    job_id = await plant.label(batch)
    seen = 0

    async def has_stored_more() -> bool:
        return await part_count(plant, job_id) > seen

    async def has_completed() -> bool:
        return bool((await plant.row("label_jobs", job_id)).status == "completed")

    settings = {"lease_seconds": 3, "poll_seconds": 0.2, "hash_threads": 0, "retired_public_hosts": PRINTED_HOST}
    with workers(migrated_url, tmp_path, **settings) as started:
        for _ in range(2):
            process = started.start()
            await until(has_stored_more, seconds=PATIENCE)
            if how == "kill":
                await kill_now([process])
            else:
                process.send_signal(signal.SIGTERM)
                assert await ended(process) == 0
            job: Any = await plant.row("label_jobs", job_id)
            assert job.status == ("running" if how == "kill" else "queued"), "the job ended before: give it more labels"
            seen = job.part_count
        started.start()
        await until(has_completed, seconds=PATIENCE)
    found = Counter(payload for _, payload in symbols_of(await plant.label_file(job_id)))
    codes = ska(*range(1, LABELS + 1))
    assert found == Counter(printed(unit_payload(BASE_URL, batch.uniq_code, code)) for code in codes)
    assert set((await plant.states(batch)).values()) == {"printed"}
