"""The page Progress without a browser."""

from uuid import uuid4

import pytest

from fanout import FanOut, done, failed
from qrtrack.domain.identity import Caller, Role
from qrtrack.routers.languages import LANGUAGES
from qrtrack.runtime import Runtime
from routers.console.conftest import Visit

PAGE = "/console/progress"


@pytest.mark.parametrize("language", LANGUAGES)
async def test_batches_of_every_state_are_shown_in_every_language(
    runtime: Runtime, visit: Visit, caller: Caller, language: str
) -> None:
    visitor = await visit(caller)
    visitor.cookies.set("qrtrack_language", language)
    assert (await visitor.get(PAGE)).status_code == 200
    batches = [await FanOut.announce(runtime.database, caller, total=4) for _ in range(5)]
    await batches[1].report(done("a"))
    await batches[2].report(done("a", "b", "c", "d"))
    await batches[3].report(failed("a", "b", "c", "d"))
    await batches[4].cancel()
    for state in ("", "pending", "processing", "completed", "failed", "cancelled"):
        for part in ("", "/now"):
            assert (await visitor.get(f"{PAGE}{part}", params={"status": state})).status_code == 200
    for batch in batches:
        for part in ("", "/now"):
            assert (await visitor.get(f"{PAGE}/{batch.batch_id}{part}")).status_code == 200


async def test_a_batch_shows_its_counts_and_pages_through_its_failures(
    runtime: Runtime, visit: Visit, caller: Caller
) -> None:
    batch = await FanOut.announce(runtime.database, caller, total=1037)
    await batch.report([*done(*range(600)), *failed(*(f"key-{number:03d}" for number in range(60)), error="<timeout>")])
    visitor = await visit(caller)
    page = (await visitor.get(f"{PAGE}/{batch.batch_id}")).text
    assert "660 of 1,037 records" in page
    assert "&lt;timeout&gt;" in page
    assert f"/api/progress/batches/{batch.batch_id}/cancel" in page
    assert ("key-049" in page, "key-050" in page) == (True, False)
    cursor = page.partition("?cursor=")[2].partition('"')[0]
    rest = (await visitor.get(f"{PAGE}/{batch.batch_id}?cursor={cursor}")).text
    assert ("key-049" in rest, "key-050" in rest, "key-059" in rest) == (False, True, True)
    await batch.cancel()
    assert "/cancel" not in (await visitor.get(f"{PAGE}/{batch.batch_id}")).text
    assert (await visitor.get(f"{PAGE}/{batch.batch_id}?cursor=nonsense")).status_code == 404


async def test_every_role_sees_it_and_no_other_organisation(runtime: Runtime, visit: Visit, caller: Caller) -> None:
    batch = await FanOut.announce(runtime.database, caller, total=4)
    for role in Role:
        visitor = await visit(Caller(role, caller.organisation_id, frozenset({role})))
        assert "Price list" in (await visitor.get(PAGE)).text
    stranger = await visit(Caller("stranger", uuid4(), frozenset({Role.ADMIN})))
    assert "Price list" not in (await stranger.get(PAGE)).text
    for part in ("", "/now"):
        assert (await stranger.get(f"{PAGE}/{batch.batch_id}{part}")).status_code == 404
