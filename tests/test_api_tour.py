"""Runs the examples of pages as readers do: the service in one terminal, the page pasted into another one."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from pasted import DOCS, Block, blocks_of, check, checkout, paste, terminal
from printed_labels import payloads_of
from printer import own_host
from process import free_port
from qrtrack.domain.errors import DomainError

PACKING_MODULES = ("qrtrack.domain.packing.", "qrtrack.services.packing.", "qrtrack.domain.requests")
MAKEFILE = (DOCS.parent / "Makefile").read_text()
REFUSED = 2

pytestmark = pytest.mark.skipif(
    not (shutil.which("curl") and shutil.which("bash")), reason="needs curl and bash, as the pages do"
)


def refusals_below(kind: type[DomainError]) -> Iterator[type[DomainError]]:
    for inner in kind.__subclasses__():
        yield inner
        yield from refusals_below(inner)


def with_ports(text: str, ports: Mapping[str, str]) -> str:
    for told, free in ports.items():
        text = text.replace(f":{told}", f":{free}").replace(f"--port {told}", f"--port {free}")
    return text


@dataclass(frozen=True)
class Service:
    """A running service, and the folder in which it was started."""

    folder: Path
    address: str
    ports: Mapping[str, str]

    async def printed(self, page: str, **named: str) -> list[str]:
        """Runs the page. Returns what each block prints, after comparing it with what the page promises."""
        blocks = [Block(with_ports(block.commands, self.ports), block.promised) for block in blocks_of(page)]
        printed = await paste(blocks, self.folder, {"QRTRACK": self.address, **named})
        check(blocks, printed)
        return printed


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that runs for all pages, started with the command of `make run`. Each page uses its own organisation.
    The settings and the stand-in gateway are those of docs/akselgate.md.
    """
    folder, ports = checkout(tmp_path_factory.mktemp("service")), {"8000": str(free_port()), "9100": str(free_port())}
    page = (DOCS / "akselgate.md").read_text()
    gateway, serve = [with_ports(found, ports) for found in re.findall(r"```console\n(.*?)\n```", page, re.DOTALL)]
    [run] = re.findall(r"^run:.*\n\t\$\(BIN\)/(.*)$", MAKEFILE, re.MULTILINE)
    assert serve.endswith(run)
    service = Service(folder, f"http://127.0.0.1:{ports['8000']}", ports)
    settings = {"PUBLIC_BASE_URL": service.address, "PRINTER_NETWORKS": "127.0.0.0/8"}
    with (
        terminal(folder, gateway, url=f"http://127.0.0.1:{ports['9100']}/"),
        terminal(folder, f"{serve} --port {ports['8000']}", url=f"{service.address}/healthz", **settings),
    ):
        yield service


async def test_the_tour_goes_as_it_is_told(service: Service) -> None:
    printed = await service.printed("api-tour.md")
    answers = [json.loads(text) for text in printed if text.strip()]
    assert [answer["success"] for answer in answers].count(False) == REFUSED
    assert len(answers) == len(printed) - 1


async def test_the_page_of_settlements_goes_as_it_is_told(service: Service) -> None:
    await service.printed("akselgate.md")


async def test_the_page_of_the_plant_goes_as_it_is_told(service: Service) -> None:
    printed = await service.printed("plant.md")
    assert [text.strip() for text in printed if '"success":false' in text] == [printed[7].strip()]
    assert printed[7].strip().endswith("1"), "a count drift"
    assert json.loads(printed[-1])["differences"] == []


def test_every_refusal_that_the_plant_may_get_is_explained() -> None:
    page = (DOCS / "plant.md").read_text()
    explained = set(re.findall(r"`([a-z-]+)`", "".join(re.findall(r"^\| (`.*?) \|", page, re.MULTILINE))))
    known = {kind.slug for kind in refusals_below(DomainError)}
    assert explained <= known
    of_the_line = {kind.slug for kind in refusals_below(DomainError) if kind.__module__.startswith(PACKING_MODULES)}
    assert of_the_line - explained == set()


async def test_the_page_of_recalls_goes_as_it_is_told(service: Service) -> None:
    printed = await service.printed("recalls.md")
    told = [printed[at].split() for at in (1, 3, 7)]
    assert told == [["not_released"], ["genuine"], ["1", "genuine_seen_before"]]
    assert printed[5].strip() == "recalled\nBring it back to the shop"


async def test_the_page_of_labels_goes_as_it_is_told(service: Service) -> None:
    printed = await service.printed("labels.md")
    assert [text.strip() for text in printed if '"success":false' in text] == [printed[4].strip()]
    assert printed[5].strip() == "3", "labels in ZPL"
    assert len(payloads_of((service.folder / "labels.pdf").read_bytes())) == 70
    assert len(payloads_of((service.folder / "case.pdf").read_bytes())) == 1
    assert [printed[at].strip() for at in (3, 7, 8, 9)] == ["%PDF-1.7", "%PDF-1.7", "%PDF-1.7", "PNG"]


async def test_the_page_of_verification_goes_as_it_is_told(service: Service) -> None:
    printed = await service.printed("verification.md")
    assert [printed[at].strip() for at in (1, 3, 5)] == [
        "<h1>Check your product</h1>", '"result":"genuine_seen_before"', '200 409 "redeemed_on"',
    ]  # fmt: skip


async def test_the_page_of_exports_goes_as_it_is_told(service: Service) -> None:
    printed = await service.printed("exports.md")
    blocks = blocks_of("exports.md")
    told = re.findall(
        r"```sh\n((?:(?!```).)*)\n```\n\n```text\n(.*?)\n```", (DOCS / "exports.md").read_text(), re.DOTALL
    )
    by_commands = dict(zip([block.commands for block in blocks], printed, strict=True))
    assert len(told) == len(blocks) - 2
    for commands, promised in told:
        text = "\n".join(by_commands[commands].replace("\ufeff", "").split())
        pattern = re.escape(promised).replace("…", "[^,;\\n]+").replace("127\\.0\\.0\\.1:8000", "127\\.0\\.0\\.1:\\d+")
        assert re.fullmatch(pattern, text), (commands, text)


async def test_the_page_of_printers_goes_as_it_is_told(service: Service) -> None:
    printed = await service.printed("printers.md", PRINTER=f"{own_host()}:9100")
    assert printed[2].strip() == "1", "the label of the packed case"
    assert printed[5].strip() == "5", "two labels of the case, three of units"
    assert [text.strip() for text in printed if '"success":false' in text] == [printed[6].strip()]
    assert '"printing":"on"' in printed[7]
