"""The fingerprint of SECRET_KEY: one row in the whole database."""

from typing import Final

from qrtrack.repositories.base import Repository

INSERT_FINGERPRINT: Final = """
INSERT INTO secret_key_fingerprint (fingerprint)
VALUES (:fingerprint)
ON CONFLICT DO NOTHING
"""
GET_FINGERPRINT: Final = "SELECT fingerprint FROM secret_key_fingerprint"


class SecretKeyRepository(Repository):
    async def keep(self, fingerprint: str) -> str:
        """Stores the fingerprint if there is none yet. Returns the stored one: the first writer wins."""
        await self._execute(INSERT_FINGERPRINT, fingerprint=fingerprint)
        return await self._fetch_value(str, GET_FINGERPRINT)
