"""Checks the documents against the program: SQL, links, settings, addresses, examples, and the names of tests."""

import json
import re
from pathlib import Path
from uuid import uuid4

import pytest

import promised
from fanout import FanOut, done
from plant import Plant
from qrtrack.domain.errors import InvalidInput
from qrtrack.domain.notifications import Notify
from qrtrack.domain.packing.code_lists import parse_code
from qrtrack.domain.scans import read_master_code
from qrtrack.schemas.searches import SearchAnswer
from qrtrack.services.searches import search
from qrtrack.settings import Settings
from routers.test_examples import shape_of
from scripts.settings_page import PAGE, page

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


async def test_only_failed_notifications_are_sent_again(plant: Plant) -> None:
    job_ids = [await plant.submit(await plant.batch(10), notify=Notify(email="shift@plant.example")) for _ in range(2)]
    await plant.work("reverse_job")
    await plant.sql("UPDATE notifications SET status = 'completed', finished_at = now()")
    await plant.sql(
        "INSERT INTO notifications (manufacturer_org_id, status, subject, subject_id, channel, address, content,"
        " finished_at) SELECT manufacturer_org_id, 'failed', subject, subject_id, channel, address, content, now()"
        " FROM notifications"
    )
    statement = next(statement for statement in STATEMENTS if "UPDATE notifications" in statement)
    await plant.sql(statement, job_id=job_ids[0])
    rows = await plant.sql("SELECT subject_id, status FROM notifications ORDER BY id")
    assert [row.status for row in rows if row.subject_id == job_ids[0]] == ["completed", "queued"]
    assert [row.status for row in rows if row.subject_id == job_ids[1]] == ["completed", "failed"]


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


def test_tests_that_the_page_of_proof_names_exist() -> None:
    page = (ROOT / "docs/proof.md").read_text()
    tests = "".join(path.read_text() for path in ROOT.glob("tests/**/test_*.py") if "node_modules" not in path.parts)
    named = set(re.findall(r"`(test_\w+)`", page))
    assert {name for name in named if not re.search(rf"def {name}\(", tests)} == set()
    cases = {case["name"] for case in json.loads((ROOT / "tests/console/scans.json").read_text())["cases"]}
    table = "".join(re.findall(r"`scans.json`: (.*?)[;|]", page))
    quoted = set(re.findall(r'"([^"]+)"', table))
    assert quoted
    assert quoted <= cases


def test_the_page_of_settings_is_what_the_program_writes() -> None:
    assert PAGE.read_text() == page(), "run: make docs"
    assert set(re.findall(r"^\| `(\w+)`", PAGE.read_text(), re.MULTILINE)) == {
        field.upper() for field in Settings.model_fields
    }


# Words in capitals that are no settings of ours.
OTHER_WORDS = {
    "POSTGRES_PASSWORD", "CAP_DAC_OVERRIDE", "CA_ESCROW", "ESCROW_BILLER_PL", "TEST_DATABASE_URL", "CONTRACT_SEED",
    "HANG_SECONDS",
}  # fmt: skip


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_settings_that_a_document_names_exist(document: Path) -> None:
    named = set(re.findall(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=[^`]*)?`", document.read_text()))
    assert named - {field.upper() for field in Settings.model_fields} - OTHER_WORDS == set()


def test_the_addresses_that_cron_calls_are_there_for_it() -> None:
    deploying = (ROOT / "docs/deploying.md").read_text()
    [platform] = re.findall(r"```json\n(.*?)\n```", deploying, re.DOTALL)
    [line] = re.findall(r"```crontab\n(.*?)\n```", deploying, re.DOTALL)
    [job] = json.loads(platform)["crons"]
    called = {("get", job["path"]), ("post", re.findall(r"https://[^/]+(/[^\"]+)", line)[0])}
    for method, address in called:
        path, _, query = address.partition("?")
        operation = promised.document()["paths"][path][method]
        assert query.partition("=")[0] in [parameter["name"] for parameter in operation["parameters"]]
        assert operation["security"] == [{"MachineSecret": []}]
    assert job["schedule"] == " ".join(line.split()[:5]) == "* * * * *"


SEARCH_PAGE = (ROOT / "docs/search.md").read_text()
SEARCHES = re.findall(r"--data-urlencode 'q=(.*?)'\n```\n\n```json\n(.*?)\n```", SEARCH_PAGE, re.DOTALL)
SCANS = re.findall(r"^\| (`.*?`) \| (?:`(.*?)` \| )?[^|]*\|$", SEARCH_PAGE, re.MULTILINE)


@pytest.mark.parametrize(("text", "promised"), SEARCHES)
async def test_the_page_of_searching_shows_what_is_answered(plant: Plant, text: str, promised: str) -> None:
    made = await plant.batch(2)
    await plant.sql("UPDATE qr_batches SET product_name = 'Soap' WHERE id = :id", id=made.batch_id)
    found = await search(plant.runtime.database, caller=plant.caller, text=text)
    answer = json.loads(SearchAnswer.of(found).model_dump_json())
    assert shape_of(answer, json.loads(promised)) == json.loads(promised)


@pytest.mark.parametrize(("cell", "code"), SCANS)
def test_the_page_of_searching_says_which_scans_are_read(cell: str, code: str) -> None:
    scan = cell.strip("`").encode().decode("unicode_escape")
    if code.isdigit():
        assert read_master_code(scan) == code
    elif code:
        assert parse_code(scan, field="first_code").codes == [code]
    else:
        with pytest.raises(InvalidInput):
            parse_code(scan, field="first_code")


def test_the_page_of_searching_has_examples() -> None:
    assert (len(SEARCHES), len([code for _, code in SCANS if code]), len([code for _, code in SCANS if not code])) == (
        2,
        15,
        6,
    )
