"""Records the hosts that are printed on labels, and refuses to start if the settings drop one of them: labels in the
field would then lead nowhere.
"""

from uuid import UUID

from qrtrack.database import Database
from qrtrack.domain.errors import Unavailable
from qrtrack.domain.qr import is_loopback
from qrtrack.repositories import Repositories
from qrtrack.settings.public_hosts import PublicAddresses, host_of


class PrintedHostDropped(Unavailable):
    """The settings no longer name a host that is printed on labels."""

    slug = "printed-host-dropped"
    title = "A host on printed labels is not served"


async def record_host(repositories: Repositories, base_url: str, organisation_id: UUID) -> None:
    """Records the host of `base_url`, in the transaction that orders labels. A loopback address is not recorded: no
    phone can open it.
    """
    if not is_loopback(base_url):
        await repositories.printed_hosts.record(host_of(base_url), organisation_id)


async def record_symbol(database: Database, base_url: str, organisation_id: UUID) -> None:
    """Records the host before a symbol is sent, because the caller may print the symbol. Writes once for each host and
    organisation.
    """
    if is_loopback(base_url):
        return
    async with database.read(tenant=organisation_id) as repositories:
        if await repositories.printed_hosts.is_recorded(host_of(base_url), organisation_id):
            return
    async with database.write(tenant=organisation_id) as repositories:
        await record_host(repositories, base_url, organisation_id)


async def check_printed_hosts(database: Database, addresses: PublicAddresses) -> None:
    """Raises PrintedHostDropped."""
    async with database.read() as repositories:
        rows = await repositories.printed_hosts.list_others(addresses.shared_hosts)
    for host, organisation_id in rows:
        owner = addresses.own_hosts.get(host)
        if owner is None:
            raise PrintedHostDropped(
                f"Labels of organisation {organisation_id} are printed with the host {host}, which the settings no "
                "longer name. While the host still leads here, add it to RETIRED_PUBLIC_HOSTS; to go on printing it, "
                "name it in PUBLIC_BASE_URL or PUBLIC_HOSTS."
            )
        if owner != organisation_id:
            raise PrintedHostDropped(
                f"PUBLIC_HOSTS gives the host {host} to organisation {owner}, but labels of organisation "
                f"{organisation_id} are printed with it. Give it back, or give organisation {owner} another host and "
                "add this one to RETIRED_PUBLIC_HOSTS."
            )
