"""What the public page shows before a root key is entered."""

from typing import NamedTuple
from uuid import UUID

from qrtrack.database import Database
from qrtrack.domain.qr import valid_gtin14
from qrtrack.domain.scans import read_code


class Product(NamedTuple):
    """`recall`: the texts of a recall in English and Indonesian."""

    uniq_code: str
    code: str | None
    organisation_id: UUID
    product_name: str
    recall: tuple[str, str] | None


async def describe_product(database: Database, *, uniq_code: str, code: str | None) -> Product | None:
    """Returns None if no batch has the uniq code. Writes nothing."""
    uniq_code, code = uniq_code.upper(), None if code is None else read_code(code)
    async with database.autocommit() as repositories:
        found = await repositories.verified_units.describe(uniq_code, code)
    if found is None:
        return None
    recall = None if found.text_en is None or found.text_id is None else (found.text_en, found.text_id)
    return Product(uniq_code, code, found.manufacturer_org_id, found.product_name, recall)


async def describe_linked(database: Database, *, gtin: str, lot: str | None, code: str) -> Product | None:
    """Returns the product of a GS1 Digital Link, or None if no batch has its GTIN and lot. The result does not show
    whether the code exists, so nobody can use the page to find out codes.
    """
    if not valid_gtin14(gtin.zfill(14)):
        return None
    async with database.autocommit() as repositories:
        uniq_code = await repositories.verified_units.find_by_link(gtin.zfill(14), lot, read_code(code))
    return None if uniq_code is None else await describe_product(database, uniq_code=uniq_code, code=code)
