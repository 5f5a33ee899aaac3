"""The public hosts that are printed on labels."""

from collections.abc import Collection
from typing import NamedTuple
from uuid import UUID

from qrtrack.repositories.base import Repository

IS_RECORDED = """
SELECT EXISTS (SELECT FROM printed_hosts WHERE host = :host AND manufacturer_org_id = :organisation)
"""
RECORD = """
INSERT INTO printed_hosts (host, manufacturer_org_id)
VALUES (:host, :organisation)
ON CONFLICT DO NOTHING
"""
LIST_OTHERS = """
SELECT host, manufacturer_org_id AS organisation_id
FROM printed_hosts
WHERE host <> ALL(CAST(:hosts AS text[]))
ORDER BY host, manufacturer_org_id
"""


class HostOnLabels(NamedTuple):
    host: str
    organisation_id: UUID


class PrintedHostRepository(Repository):
    async def is_recorded(self, host: str, organisation_id: UUID) -> bool:
        return await self._fetch_value(bool, IS_RECORDED, host=host, organisation=organisation_id)

    async def record(self, host: str, organisation_id: UUID) -> None:
        await self._execute(RECORD, host=host, organisation=organisation_id)

    async def list_others(self, hosts: Collection[str]) -> list[HostOnLabels]:
        """Lists the hosts on printed labels that are not among `hosts`, each with the organisation that printed it."""
        return await self._fetch_all(HostOnLabels, LIST_OTHERS, hosts=list(hosts))
