"""SECRET_KEY leaves a fingerprint in the database: units sealed with another key could not be checked by others."""

from qrtrack.database import Database
from qrtrack.domain.errors import Unavailable
from qrtrack.domain.root_keys import KeyRing


class SecretKeyChanged(Unavailable):
    """SECRET_KEY differs from the one that this database was first started with."""

    slug = "secret-key-changed"
    title = "This is another SECRET_KEY"


async def check_secret_key(database: Database, keys: KeyRing) -> None:
    """The first start leaves the fingerprint; of two at once with different keys one wins. Raises SecretKeyChanged."""
    async with database.write() as repositories:
        kept = await repositories.secret_keys.keep(keys.fingerprint())
    if kept != keys.fingerprint():
        raise SecretKeyChanged(
            "SECRET_KEY is not the one that this database was first started with: root keys made with that one could "
            "not be checked or printed. Set that SECRET_KEY in every process. Where it is lost or was changed on "
            "purpose, follow docs/backup.md (SECRET_KEY)."
        )
