"""The fingerprint of SECRET_KEY: one row in the whole database."""

from qrtrack.repositories.base import Repository


class SecretKeyRepository(Repository):
    async def keep(self, fingerprint: str) -> str:
        """Writes it where there is none yet; returns the one that is kept. A writer at the same time is waited for."""
        await self._run(
            "INSERT INTO secret_key_fingerprint (fingerprint) VALUES (:fingerprint) ON CONFLICT DO NOTHING",
            fingerprint=fingerprint,
        )
        return str(await self._scalar("SELECT fingerprint FROM secret_key_fingerprint"))
