import asyncio

import pytest

from qrtrack.database import Database
from qrtrack.domain.root_keys import KeyRing
from qrtrack.services.secret_key import SecretKeyChanged, check_secret_key

ONE, OTHER = (KeyRing(f"{name}-secret-key-of-32-characters-or-more") for name in ("one", "another"))


async def test_one_of_two_concurrent_first_starts_with_different_keys_wins(
    database: Database,
) -> None:
    async with database.write() as repositories:
        await repositories.secret_keys._execute("DELETE FROM secret_key_fingerprint")
    starts = [check_secret_key(database, keys) for keys in (ONE, OTHER) * 4]
    done = await asyncio.gather(*starts, return_exceptions=True)
    refused = [isinstance(one, SecretKeyChanged) for one in done]
    assert refused in ([False, True] * 4, [True, False] * 4)
    winner, loser = (ONE, OTHER) if not refused[0] else (OTHER, ONE)
    await check_secret_key(database, winner)
    with pytest.raises(SecretKeyChanged, match=r"docs/backup\.md"):
        await check_secret_key(database, loser)


def test_a_fingerprint_is_of_its_key_and_of_no_other_purpose() -> None:
    assert ONE.fingerprint() == KeyRing("one-secret-key-of-32-characters-or-more").fingerprint()
    assert ONE.fingerprint() not in {OTHER.fingerprint(), ONE._digest_key.hex(), ONE._pepper_key.hex()}
    assert len(ONE.fingerprint()) == 64
