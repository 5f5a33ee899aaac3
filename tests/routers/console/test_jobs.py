"""The page Jobs without a browser: filters, actions on all that match, and long logs."""

import pytest

from plant import Plant
from qrtrack.console.views import jobs
from qrtrack.domain.identity import Caller, Role
from routers.console.conftest import Visit

PAGE = "/console/jobs"


async def test_the_batch_in_the_address_filters_the_list_and_its_actions(plant: Plant, visit: Visit) -> None:
    one, other = [await plant.batch(5, product_name=name) for name in ("Gold", "Silver")]
    mine, theirs = await plant.submit(one), await plant.submit(other)
    visitor = await visit(plant.caller)
    for address in (PAGE, f"{PAGE}/now"):
        page = (await visitor.get(address, params={"batch": str(one.batch_id)})).text
        assert (str(mine) in page, str(theirs) in page) == (True, False)
        assert ("Gold</td>" in page, "Silver" in page) == (True, False), "a job is known by its product"
    assert "<h1>Gold</h1>" in (await visitor.get(f"{PAGE}/{mine}")).text
    page = (await visitor.get(PAGE, params={"batch": str(one.batch_id), "status": "queued"})).text
    assert "Only jobs of the batch Gold" in page
    assert f'data-body=\'{{"batch_id": "{one.batch_id}", "status": "queued"}}\'' in page
    assert str(theirs) in (await visitor.get(PAGE, params={"batch": "", "status": ""})).text


@pytest.mark.parametrize(
    ("status", "actions"),
    [
        ("", {"cancel", "retry"}),
        ("queued", {"cancel"}),
        ("running", {"cancel"}),
        ("failed", {"retry"}),
        ("completed", set()),
    ],
)
async def test_only_what_the_filter_can_match_is_offered(
    plant: Plant, visit: Visit, status: str, actions: set[str]
) -> None:
    batch = await plant.batch(5)
    for state in ("queued", "failed"):
        await plant.submit(batch)
        await plant.sql(
            "UPDATE qr_reverse_jobs SET status = 'failed', error_message = 'x', finished_at = now()"
            " WHERE :state = 'failed' AND id = (SELECT max(id::text)::uuid FROM qr_reverse_jobs)",
            state=state,
        )
    await plant.sql(
        "INSERT INTO qr_reverse_jobs (id, batch_id, order_id, manufacturer_org_id, exclude_codes, first_sequence,"
        " last_sequence, next_sequence, status, lease_token, lease_expires_at, started_at, attempts, created_by)"
        " SELECT gen_random_uuid(), batch_id, order_id, manufacturer_org_id, '{}', 1, 5, 1, 'running',"
        " gen_random_uuid(), now() + interval '1 hour', now(), 1, created_by FROM qr_reverse_jobs LIMIT 1"
    )
    visitor = await visit(plant.caller)
    page = (await visitor.get(PAGE, params={"status": status})).text
    assert {action for action in ("cancel", "retry") if f"{action}-matching" in page} == actions
    operator = await visit(Caller("operator", plant.caller.organisation_id, frozenset({Role.OPERATOR})))
    assert "-matching" not in (await operator.get(PAGE, params={"status": status})).text


async def test_a_long_log_goes_on_on_the_next_page(plant: Plant, visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "LOG_LINES", 2)
    job_id = await plant.submit(await plant.batch(5))
    await plant.sql(
        "INSERT INTO qr_reverse_job_logs (job_id, manufacturer_org_id, level, message)"
        " SELECT :job, :org, 'info', 'line ' || number FROM generate_series(1, 3) AS number",
        job=job_id, org=plant.caller.organisation_id,
    )  # fmt: skip
    visitor = await visit(plant.caller)
    first = (await visitor.get(f"{PAGE}/{job_id}")).text
    assert ("line 1" in first, "line 2" in first) == (True, False)
    address = first.partition('id="next-page" href="')[2].partition('"')[0]
    rest = (await visitor.get(address)).text
    assert ("line 1" in rest, "line 2" in rest, "line 3" in rest) == (False, True, True)
    assert 'id="next-page"' not in rest
    assert 'id="first-page"' in rest
