"""The public address that printed symbols of an organisation begin with."""

from uuid import UUID

from qrtrack.domain.qr import check_printable
from qrtrack.settings import Settings


def printable_base_url(settings: Settings, organisation_id: UUID) -> str:
    """Returns the organisation's public address. In production, raises AddressNotPublic for a loopback address."""
    base_url = settings.public_addresses.base_url_of(organisation_id)
    if settings.qrtrack_env == "production":
        check_printable(base_url)
    return base_url
