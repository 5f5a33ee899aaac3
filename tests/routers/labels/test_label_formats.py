"""Label formats over HTTP: presets, one's own, and the calibration page."""

import json
from typing import Any

import httpx2
import pypdfium2
import pytest

from plant import Plant
from qrtrack.domain.labels.formats import FORMATS_OF_ORGANISATION, PRESETS

API = "/api/manufacturer/label-formats"
SHEET: dict[str, Any] = {
    "kind": "sheet", "width": 63.5, "height": 29.6, "margins": {"left": 7.2, "top": 15.4},
    "pitch": {"x": 66.0, "y": 29.6}, "grid": {"columns": 3, "rows": 9},
}  # fmt: skip
ROLL: dict[str, Any] = {"kind": "roll", "width": 40, "height": 30}


async def listed(client: httpx2.AsyncClient) -> dict[str, Any]:
    answer = await client.get(API)
    return {found["name"]: found["label_format"] for found in answer.json()["label_formats"]}


async def test_the_presets_are_listed_before_ones_own(client: httpx2.AsyncClient) -> None:
    assert list(await listed(client)) == list(PRESETS)
    for name, sent in (("zz", SHEET), ("a-1", ROLL)):
        assert (await client.put(f"{API}/{name}", json=sent)).status_code == 200
    formats = await listed(client)
    assert list(formats) == [*PRESETS, "a-1", "zz"]
    assert formats["zz"] == SHEET | {"page": {"width": 210.0, "height": 297.0}}
    assert formats["a-1"] == ROLL | {"across": 1, "gap": 0.0}


async def test_a_format_can_be_replaced_and_deleted(client: httpx2.AsyncClient, plant: Plant) -> None:
    for sent in (SHEET, ROLL):
        await client.put(f"{API}/mine", json=sent)
    assert (await listed(client))["mine"]["kind"] == "roll"
    assert (await client.delete(f"{API}/mine")).json() == {"success": True, "name": "mine"}
    assert (await client.delete(f"{API}/mine")).status_code == 404
    events = await plant.sql("SELECT action, details FROM trace_events ORDER BY id")
    assert [event.action for event in events] == ["label_format.stored"] * 2 + ["label_format.deleted"]
    assert all(event.details == {"name": "mine"} for event in events)


@pytest.mark.parametrize(
    ("changed", "pointers"),
    [
        ({"kind": "tape"}, ["/kind"]),
        ({"width": 4.9}, ["/width"]),
        ({"height": 1201}, ["/height"]),
        ({"width": float("inf")}, ["/width"]),
        ({"width": "63.5"}, ["/width"]),
        ({"pitch": {"x": 63.4, "y": 29.6}}, ["/pitch"]),
        ({"margins": {"left": 20.0, "top": 15.4}}, ["/page"]),
        ({"grid": {"columns": 3, "rows": 10}}, ["/page"]),
        ({"page": {"width": 200.0, "height": 297.0}}, ["/page"]),
        ({"grid": {"columns": 50, "rows": 100}}, ["/grid"]),
        ({"grid": {"columns": 0, "rows": 9}}, ["/grid/columns"]),
        ({"margins": None}, ["/margins"]),
        ({"margins": None, "grid": None}, ["/margins", "/grid"]),
        ({"across": 2}, ["/across"]),
        ({"kind": "roll"}, ["/margins", "/pitch", "/grid"]),
        ({"colour": "white"}, ["/colour"]),
    ],
)
async def test_a_format_that_does_not_work_is_pointed_at(
    client: httpx2.AsyncClient, changed: dict[str, Any], pointers: list[str]
) -> None:
    content = json.dumps(SHEET | changed)
    answer = await client.put(f"{API}/mine", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert [error["pointer"] for error in answer.json()["errors"]] == pointers
    assert "mine" not in await listed(client)


async def test_each_refused_field_is_named_in_its_own_text(client: httpx2.AsyncClient) -> None:
    answer = await client.put(f"{API}/mine", json=SHEET | {"kind": "roll"})
    assert [error["detail"] for error in answer.json()["errors"]] == [
        f"A roll has no {name}: leave it out." for name in ("margins", "pitch", "grid")
    ]


@pytest.mark.parametrize("name", ["a4-65", "Mine", "-a", "a" * 41, "a_b", "%E2%80%AE"])
async def test_a_name_that_cannot_be_used_is_pointed_at(client: httpx2.AsyncClient, name: str) -> None:
    for answer in (await client.put(f"{API}/{name}", json=ROLL), await client.delete(f"{API}/{name}")):
        assert answer.status_code == 422
        assert [error["pointer"] for error in answer.json()["errors"]] == ["/path/name"]


async def test_an_organisation_has_a_bounded_number_of_formats(client: httpx2.AsyncClient, plant: Plant) -> None:
    await plant.sql(
        "INSERT INTO label_formats (manufacturer_org_id, name, definition, created_by)"
        ' SELECT :org, \'f\' || number, \'{"kind": "roll", "width": 40, "height": 30, "across": 1, "gap": 0}\','
        " 'test' FROM generate_series(1, CAST(:most AS int)) AS number",
        org=plant.caller.organisation_id,
        most=FORMATS_OF_ORGANISATION,
    )
    answer = await client.put(f"{API}/one-more", json=ROLL)
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:qrtrack:problem:too-many-formats")
    assert (await client.put(f"{API}/f1", json=SHEET)).status_code == 200


async def test_an_operator_may_look_and_not_change(operator: httpx2.AsyncClient) -> None:
    assert (await operator.get(API)).status_code == 200
    assert (await operator.put(f"{API}/mine", json=ROLL)).status_code == 403
    assert (await operator.delete(f"{API}/mine")).status_code == 403


async def test_another_organisation_has_its_own_formats(
    client: httpx2.AsyncClient, stranger: httpx2.AsyncClient
) -> None:
    await client.put(f"{API}/mine", json=SHEET)
    assert "mine" not in await listed(stranger)
    assert (await stranger.delete(f"{API}/mine")).status_code == 404
    assert (await stranger.get(f"{API}/mine/calibration.pdf")).status_code == 404
    await stranger.put(f"{API}/mine", json=ROLL)
    assert (await listed(client))["mine"]["kind"] == "sheet"


@pytest.mark.parametrize("name", [*PRESETS, "mine"])
async def test_every_format_has_a_calibration_page_of_its_size(client: httpx2.AsyncClient, name: str) -> None:
    await client.put(f"{API}/mine", json=ROLL | {"across": 2, "gap": 3})
    answer = await client.get(f"{API}/{name}/calibration.pdf")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/pdf")
    assert answer.headers["content-disposition"] == f'attachment; filename="calibration-{name}.pdf"'
    assert b"/PrintScaling/None" in answer.content
    width, height = PRESETS[name].page if name in PRESETS else (83.0, 30.0)
    page = pypdfium2.PdfDocument(answer.content)[0]
    assert page.get_size() == pytest.approx((width / 25.4 * 72, height / 25.4 * 72), abs=0.01)
    assert "Measure the rulers" in page.get_textpage().get_text_bounded()
    answer = await client.get(f"{API}/{name}/calibration.pdf", headers={"Accept-Language": "id"})
    assert "Ukur penggaris" in pypdfium2.PdfDocument(answer.content)[0].get_textpage().get_text_bounded()
    left, bottom, right, top = next(iter(page.get_objects())).get_bounds()
    assert left > -1
    assert bottom > -1
    assert right < page.get_width() + 1
    assert top < page.get_height() + 1
