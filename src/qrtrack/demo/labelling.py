"""Labels: a sheet for the printer, whose symbols are read back from the file."""

import asyncio
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from qrtrack.demo.telling import PATIENCE_SECONDS, Teller, expect

API = "/api/manufacturer"
PRESET, LABELS = "a4-65", 65
DOTS_PER_INCH = 300
# `make setup` installs these decoders. An installation of the product alone has neither of them.
DECODERS = ("pypdfium2", "zxingcpp")


async def show(tell: Teller, batch: dict[str, Any], folder: Path) -> None:
    """Prints the first sheet of the batch's unit labels to a file in the folder."""
    tell.step(f"A manager prints the first sheet of labels, {LABELS} to an A4 page")
    first, last = batch["first_code"], f"{batch['first_code'][:3]}{LABELS:06d}"
    asked = {"what": "units", "preset": PRESET, "first_code": first, "last_code": last}
    job = await tell.post(f"{API}/batches/{batch['batch_id']}/labels", asked, status=202)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (status := await tell.get(job["status_url"], wait=5))["status"] in {"queued", "running"}:
            pass
    expect("label job", status["status"], "completed")
    sheet = await tell.client.get(status["file_url"])
    expect("the file of labels", sheet.status_code, 200)
    file = folder / "labels.pdf"
    await asyncio.to_thread(_write, file, sheet.content)
    tell.say(f"{LABELS} labels in {file}")
    again = await tell.post(f"{API}/batches/{batch['batch_id']}/labels", asked, status=409)
    tell.say(f"[yellow]Printed twice, refused:[/] [dim]{again['detail']}[/]")
    if all(map(find_spec, DECODERS)):
        found = await asyncio.to_thread(read_symbols, sheet.content)
        promised = {f"{batch['uniq_code']}/{batch['first_code'][:3]}{number:06d}" for number in range(1, LABELS + 1)}
        expect("symbols read back from the sheet", {text.upper().partition("/Q/")[2] for text in found}, promised)
        tell.say(f"All {len(found)} symbols were read back from the page: {min(found)} …")


def read_symbols(pdf: bytes) -> list[str]:
    """Returns what a scanner reads on the pages."""
    import pypdfium2  # noqa: PLC0415 - see DECODERS
    import zxingcpp  # noqa: PLC0415

    pages = (page.render(scale=DOTS_PER_INCH / 72).to_pil() for page in pypdfium2.PdfDocument(pdf))
    return [symbol.text for page in pages for symbol in zxingcpp.read_barcodes(page)]


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
