"""The database stores a fingerprint of SECRET_KEY: with another key, its stored root keys could not be checked."""

from qrtrack.database import Database
from qrtrack.domain.errors import Unavailable
from qrtrack.domain.root_keys import KeyRing


class SecretKeyChanged(Unavailable):
    """SECRET_KEY differs from the one with which this database was first started."""

    slug = "secret-key-changed"
    title = "This is another SECRET_KEY"


async def check_secret_key(database: Database, keys: KeyRing) -> None:
    """Stores the fingerprint at the first start; of two concurrent starts the first one wins. Raises
    SecretKeyChanged.
    """
    async with database.write() as repositories:
        stored = await repositories.secret_keys.keep(keys.fingerprint())
    if stored != keys.fingerprint():
        raise SecretKeyChanged(
            "This database was first started with another SECRET_KEY: with this one, its root keys cannot be checked "
            "or printed. Set the first SECRET_KEY in every process. If it is lost, or was changed on purpose, follow "
            "docs/backup.md (SECRET_KEY)."
        )
