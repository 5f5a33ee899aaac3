"""Symbols over HTTP: of a batch, of its units and of its cases."""

import io
from collections.abc import Callable
from datetime import date
from typing import Any

import httpx2
import pytest
import zxingcpp
from fastapi import FastAPI
from PIL import Image

from plant import MadeBatch, Plant
from qrtrack.runtime import Runtime

API = "/api/manufacturer/batches"
PARTS = ("", "/codes/SKA000001", "/cases/1")


def slug(answer: httpx2.Response) -> str:
    return str(answer.json()["type"]).removeprefix("urn:qrtrack:problem:")


def pointers(answer: httpx2.Response) -> list[str]:
    return [error["pointer"] for error in answer.json()["errors"]]


@pytest.fixture
def in_production(app: FastAPI, runtime: Runtime, client: httpx2.AsyncClient) -> Callable[[str], None]:
    """Lets the running service believe that it is in production, at the given public address."""

    def move(address: str) -> None:
        settings = runtime.settings.model_copy(update={"qrtrack_env": "production", "public_base_url": address})
        object.__setattr__(runtime, "settings", settings)

    return move


def read(png: bytes) -> str:
    image = Image.open(io.BytesIO(png)).convert("L")
    (symbol,) = zxingcpp.read_barcodes(image)
    return symbol.text


async def drawn(client: httpx2.AsyncClient, batch: MadeBatch, part: str, **options: Any) -> bytes:
    answer = await client.get(f"{API}/{batch.batch_id}{part}/qr.png", params=options)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    return answer.content


async def test_each_symbol_reads_back_to_what_it_names(client: httpx2.AsyncClient, plant: Plant) -> None:
    batch = await plant.batch(5)
    base = f"HTTP://127.0.0.1:8000/Q/{batch.uniq_code}"
    assert read(await drawn(client, batch, "", scale=3, error="H", border=6)) == base
    assert read(await drawn(client, batch, "/codes/ska000001")) == f"{base}/SKA000001"
    assert read(await drawn(client, batch, "/cases/1")) == batch.master_codes[0]


async def test_a_unit_with_a_gtin_carries_a_digital_link(client: httpx2.AsyncClient, plant: Plant) -> None:
    batch = await plant.batch(5, gtin="09521234543213", lot="L1", expires_on=date(2031, 1, 31))
    link = "http://127.0.0.1:8000/01/09521234543213/10/L1/21/SKA000002?17=310131"
    assert read(await drawn(client, batch, "/codes/SKA000002")) == link


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("kind", ["svg", "png"])
async def test_an_unchanged_symbol_is_not_sent_again(
    client: httpx2.AsyncClient, plant: Plant, part: str, kind: str
) -> None:
    address = f"{API}/{(await plant.batch(5)).batch_id}{part}/qr.{kind}"
    first = await client.get(address)
    etag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, max-age=300"
    for known in (etag, f'"x", {etag}', f"W/{etag}", "*"):
        again = await client.get(address, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    for other in ('"x"', ""):
        assert (await client.get(address, headers={"If-None-Match": other})).status_code == 200
    assert (await client.get(address, params={"scale": 9})).headers["etag"] != etag


@pytest.mark.parametrize("part", PARTS)
async def test_an_image_has_the_size_that_was_asked_for(client: httpx2.AsyncClient, plant: Plant, part: str) -> None:
    batch = await plant.batch(5)
    image = Image.open(io.BytesIO(await drawn(client, batch, part, size=300)))
    # Whole pixels a module: as large as they allow.
    assert 300 - 41 < image.width <= 300
    answer = await client.get(f"{API}/{batch.batch_id}{part}/qr.svg", params={"size": 300})
    assert b'width="300"' in answer.content.replace(b'width="300.0"', b'width="300"')


@pytest.mark.parametrize("part", PARTS)
async def test_a_symbol_that_cannot_be_drawn_is_refused(client: httpx2.AsyncClient, plant: Plant, part: str) -> None:
    address = f"{API}/{(await plant.batch(5)).batch_id}{part}/qr.svg"
    for name, value in (
        ("scale", "41"), ("scale", "0"), ("border", "21"), ("border", "-1"), ("error", "X"), ("size", "20"),
        ("size", "4097"),
    ):  # fmt: skip
        answer = await client.get(address, params={name: value})
        assert (answer.status_code, pointers(answer)) == (422, [f"/query/{name}"])
    answer = await client.get(address, params={"size": "21", "border": 1})
    assert (answer.status_code, pointers(answer)) == (422, ["/query/size"])


async def test_a_unit_or_case_that_is_not_of_the_batch_is_not_found(client: httpx2.AsyncClient, plant: Plant) -> None:
    batch, other = await plant.batch(5), await plant.batch(5, serial_prefix="B")
    for part in (f"/codes/{other.first_code}", "/codes/NOSUCH", "/cases/2"):
        assert (await client.get(f"{API}/{batch.batch_id}{part}/qr.svg")).status_code == 404


LOOPBACKS = ("http://localhost:8000", "http://127.0.0.2", "http://[::1]:8000", "http://0.0.0.0", "http://a.localhost")


async def test_production_prints_nothing_that_leads_to_the_machine_itself(
    client: httpx2.AsyncClient, plant: Plant, in_production: Callable[[str], None]
) -> None:
    batch = await plant.batch(5)
    for address in LOOPBACKS:
        in_production(address)
        for part in PARTS[:2]:
            answer = await client.get(f"{API}/{batch.batch_id}{part}/qr.svg")
            assert (answer.status_code, slug(answer)) == (409, "public-base-url-is-loopback"), address
        answer = await client.post(f"{API}/{batch.batch_id}/labels", json={"what": "units"})
        assert (answer.status_code, slug(answer)) == (409, "public-base-url-is-loopback"), address
        # A master code is no address.
        assert (await client.get(f"{API}/{batch.batch_id}/cases/1/qr.svg")).status_code == 200


async def test_production_prints_the_public_address(
    client: httpx2.AsyncClient, plant: Plant, in_production: Callable[[str], None]
) -> None:
    batch = await plant.batch(5)
    in_production("https://verify.example.com/")
    assert read(await drawn(client, batch, "")) == f"HTTPS://VERIFY.EXAMPLE.COM/Q/{batch.uniq_code}"
