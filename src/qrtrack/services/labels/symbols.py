"""The content of the symbols of a batch, of its units and of its cases."""

from uuid import UUID

from qrtrack.database import Database
from qrtrack.domain.errors import NotFound
from qrtrack.domain.identity import Caller
from qrtrack.domain.qr import batch_payload, printed, unit_payload
from qrtrack.repositories.labels.label_contents import LabelledBatch
from qrtrack.services.printed_hosts import record_symbol


def payload_of(base_url: str, batch: LabelledBatch, code: str) -> str:
    """Returns the content of a unit's symbol."""
    address = unit_payload(base_url, batch.uniq_code, code, gtin=batch.gtin, lot=batch.lot, expires_on=batch.expires_on)
    return printed(address)


async def describe_batch_symbol(database: Database, *, caller: Caller, batch_id: UUID, base_url: str) -> str:
    async with database.read(tenant=caller.organisation_id) as repositories:
        batch = await repositories.label_contents.get_batch(batch_id)
    await record_symbol(database, base_url, caller.organisation_id)
    return printed(batch_payload(base_url, batch.uniq_code))


async def describe_unit_symbol(database: Database, *, caller: Caller, batch_id: UUID, code: str, base_url: str) -> str:
    async with database.read(tenant=caller.organisation_id) as repositories:
        batch = await repositories.label_contents.get_batch(batch_id)
        if await repositories.label_contents.find_sequence(batch_id, code) is None:
            raise NotFound(f"The batch has no code {code}.")
    await record_symbol(database, base_url, caller.organisation_id)
    return payload_of(base_url, batch, code)


async def describe_case_symbol(database: Database, *, caller: Caller, batch_id: UUID, case_number: int) -> str:
    """Returns the master code. Stations scan it; it is not an address, so a phone opens no page."""
    async with database.read(tenant=caller.organisation_id) as repositories:
        await repositories.label_contents.get_batch(batch_id)
        return (await repositories.label_contents.get_case(batch_id, case_number)).master_code
