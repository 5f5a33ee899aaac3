"""The page Webhooks without a browser."""

import html
from pathlib import Path
from uuid import uuid4

import pytest

from accurate import DATABASE, Accurate, event
from process import settings_of
from qrtrack.console.json_text import DEEPEST, MOST_CHARACTERS, indented
from qrtrack.console.language import catalogue
from qrtrack.domain.identity import Caller, Role
from qrtrack.routers.languages import LANGUAGES
from qrtrack.settings import Settings
from routers.console.conftest import Visit

PAGE = "/console/webhooks"


@pytest.fixture
def settings(migrated_url: str, tmp_path: Path, caller: Caller) -> Settings:
    return settings_of(migrated_url, tmp_path, accurate_databases=f"{DATABASE}={caller.organisation_id}")


@pytest.mark.parametrize("language", LANGUAGES)
async def test_events_of_every_state_are_shown_in_every_language(
    accurate: Accurate, visit: Visit, caller: Caller, language: str
) -> None:
    visitor = await visit(caller)
    visitor.cookies.set("qrtrack_language", language)
    assert (await visitor.get(PAGE)).status_code == 200
    receipts = await accurate.send(*(event("VENDOR", uuid=f"e-{number}", note="first") for number in range(5)))
    states = ("processing", "done", "skipped", "invalid", "dead")
    await accurate.process()
    for receipt, state in zip(receipts, states, strict=True):
        leased = "gen_random_uuid(), lease_expires_at = now(), finished_at = NULL" if state == "processing" else "NULL"
        await accurate.sql(
            f"UPDATE webhook_queue SET status = :state, lease_token = {leased}, attempts = 1,"
            " forward_status = 'dead', forward_error = 'refused' WHERE id = :id",
            state=state, id=receipt.queue_id,
        )  # fmt: skip
    await accurate.send(event("VENDOR", uuid="e-1", note="other"))
    for state in ("", *states, "pending", "conflicts", "not_forwarded"):
        for part in ("", "/now"):
            assert (await visitor.get(f"{PAGE}{part}", params={"status": state})).status_code == 200, state
    not_passed_on = catalogue(language)["webhooks.forward_because"]
    for receipt in receipts:
        for part in ("", "/now"):
            shown = await visitor.get(f"{PAGE}/{receipt.queue_id}{part}")
            assert not_passed_on in shown.text, "why it was not passed on is not why it was not processed"


async def test_the_filter_is_in_the_address_and_older_events_follow(
    accurate: Accurate, visit: Visit, caller: Caller
) -> None:
    await accurate.send(*(event("VENDOR") for _ in range(52)), event("ITEM", {"itemId": 1}))
    await accurate.process()
    visitor = await visit(caller)
    first = (await visitor.get(PAGE, params={"status": "skipped", "type": "vendor"})).text
    assert first.count("<tr>") - 1 == 50
    assert 'href="/console/webhooks?status=skipped&type=VENDOR&before=' in html.unescape(first)
    assert 'data-body=\'{"status": "skipped", "type": "VENDOR"}\'' in first
    await accurate.sql("UPDATE webhook_queue SET forward_status = 'dead'")
    lost = (await visitor.get(PAGE, params={"status": "not_forwarded"})).text
    assert 'data-body=\'{"forward_status": "dead"}\'' in lost
    # Only skipped, done and dead events can be replayed together.
    assert "events/replay" not in (await visitor.get(PAGE, params={"status": "pending"})).text
    assert "events/replay" not in (await visitor.get(PAGE)).text


async def test_an_event_shows_its_content_as_text_and_the_other_content_of_its_uuid(
    accurate: Accurate, visit: Visit, caller: Caller
) -> None:
    (receipt,) = await accurate.send(event(uuid="i-1", note="<script>alert(1)</script>", amount=1.10))
    await accurate.send(event(uuid="i-1", note="other"))
    page = (await (await visit(caller)).get(f"{PAGE}/{receipt.queue_id}")).text
    assert "<script>alert" not in page
    assert "&#34;note&#34;: &#34;&lt;script&gt;alert(1)&lt;/script&gt;&#34;" in page
    assert "Other content under the same uuid" in page
    assert "&#34;note&#34;: &#34;other&#34;" in page


async def test_a_number_finds_the_event_unless_it_is_a_uuid(accurate: Accurate, visit: Visit, caller: Caller) -> None:
    (receipt,) = await accurate.send(event(uuid="12"))
    visitor = await visit(caller)
    found = await visitor.get(PAGE, params={"find": f" {receipt.queue_id} "})
    assert (found.status_code, found.headers["Location"]) == (303, f"{PAGE}/{receipt.queue_id}")
    assert f"{PAGE}/{receipt.queue_id}" in (await visitor.get(PAGE, params={"find": "12"})).text
    for nothing in ("0", "9" * 30, "x", "\N{SUPERSCRIPT TWO}"):
        assert "No event" in (await visitor.get(PAGE, params={"find": nothing})).text


async def test_other_roles_and_other_organisations_see_no_event(
    accurate: Accurate, visit: Visit, caller: Caller
) -> None:
    (receipt,) = await accurate.send(event("SECRET"))
    for role in (Role.OPERATOR, Role.MANAGER, Role.FINANCE):
        visitor = await visit(Caller(role, caller.organisation_id, frozenset({role})))
        assert (await visitor.get(PAGE)).status_code == 403
        assert f'href="{PAGE}"' not in (await visitor.get("/console")).text
    stranger = await visit(Caller("stranger", uuid4(), frozenset({Role.ADMIN})))
    assert "SECRET" not in (await stranger.get(PAGE)).text
    for part in ("", "/now"):
        assert (await stranger.get(f"{PAGE}/{receipt.queue_id}{part}")).status_code == 404


def test_json_is_indented_and_every_value_stays_as_it_came() -> None:
    assert indented('{"a":1.10,"b":[],"c":[1e400,{"d":"x, {y}: \\" "}],"e":{}}') == (
        '{\n  "a": 1.10,\n  "b": [],\n  "c": [\n    1e400,\n    {\n      "d": "x, {y}: \\" "\n    }\n  ],\n  "e": {}\n}'
    )


@pytest.mark.parametrize("text", ["[" * 200_000, '"' * 200_000, "}" * 200_000, '{"a":"\\', "no json", ""])
def test_a_payload_of_any_size_is_shown_within_bounds(text: str) -> None:
    assert len(indented(text)) <= MOST_CHARACTERS * (2 * DEEPEST + 2)
