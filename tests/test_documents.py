"""What the documents say is true: their SQL runs, and their links lead somewhere."""

import re
from pathlib import Path
from uuid import uuid4

import pytest

from fanout import FanOut, done
from plant import Plant

ROOT = Path(__file__).parents[1]
STATEMENTS = re.findall(r"```sql\n(.*?);\n```", (ROOT / "docs/troubleshooting.md").read_text(), re.DOTALL)
DOCUMENTS = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda statement: statement.split("FROM")[0][:40])
async def test_statements_of_the_troubleshooting_page_run(plant: Plant, statement: str) -> None:
    values = {"job_id": uuid4(), "batch_id": uuid4(), "code": "SKA000001"}
    wanted = {name: value for name, value in values.items() if f":{name}" in statement}
    await plant.sql(statement, **wanted)


async def test_the_check_of_a_batch_finds_a_hundred_of_a_hundred(plant: Plant) -> None:
    batch = await plant.batch(100)
    statement = next(statement for statement in STATEMENTS if "AS whole" in statement)
    (row,) = await plant.sql(statement, batch_id=batch.batch_id)
    assert row == (100, 100, 100, 100, 0, 1, True)


async def test_the_question_why_a_code_will_not_link_is_answered(plant: Plant) -> None:
    batch = await plant.prepared(100, exclude=["SKA000007"])
    statement = next(statement for statement in STATEMENTS if "is_excluded" in statement)
    (row,) = await plant.sql(statement, batch_id=batch.batch_id, code="SKA000007")
    assert row.is_excluded
    assert row.in_queue is None


async def test_a_fan_out_that_hangs_is_told_from_one_that_waits(plant: Plant) -> None:
    fan_out = await FanOut.announce(plant.runtime.database, plant.caller, 10)
    await fan_out.report(done(1, 2, 3))
    statement = next(statement for statement in STATEMENTS if "sync_batch_records" in statement)
    (row,) = await plant.sql(statement, batch_id=fan_out.batch_id)
    assert (row.status, row.processed_records, row.total_records, row.recorded) == ("processing", 3, 10, 3)


async def test_the_history_of_a_unit_is_found(plant: Plant) -> None:
    batch = await plant.prepared(100)
    await plant.pack(batch)
    statement = next(statement for statement in STATEMENTS if "trace_events" in statement)
    rows = await plant.sql(statement, code="SKA000007")
    assert [row.action for row in rows] == ["batch.created", "case.packed"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_of_the_documents_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text())
    missing = [target for target in targets if not (document.parent / target).exists()]
    assert missing == []
