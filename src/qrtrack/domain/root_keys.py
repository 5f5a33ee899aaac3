"""Root keys: the short secret of one unit, how it is drawn, found again (digest), sealed for printing and hashed.

Where they are kept, and who may see them, is decided elsewhere.
"""

import base64
import hmac
import secrets
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import ClassVar
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from passlib.context import CryptContext

from qrtrack.domain.errors import Unavailable

ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
GUESSES_PER_HIT = 10_000
SHORTEST_KEY = 4

# 32 divides 256: every letter stands for eight byte values, so a random byte picks one without bias.
_LETTER_OF_BYTE = (ALPHABET * 8).encode()
_NONCE_BYTES = 12
_DIGEST_BYTES = 16
_BATCHES_REMEMBERED = 64


class SealBroken(Unavailable):
    """A sealed root key does not open: another SECRET_KEY sealed it, or the row was altered or moved."""

    slug: ClassVar[str] = "seal-broken"
    title: ClassVar[str] = "The root key cannot be opened"


def key_length(quantity: int) -> int:
    """The least length at which one random guess hits a live key of the batch at most once in 10,000."""
    length = SHORTEST_KEY
    while quantity * GUESSES_PER_HIT > len(ALPHABET) ** length:
        length += 1
    return length


def normalise(typed: str) -> str:
    """A key as a person typed it, in the form that was printed."""
    return "".join(typed.split()).upper()


def random_text(characters: int) -> str:
    return secrets.token_bytes(characters).translate(_LETTER_OF_BYTE).decode()


def sample_keys(count: int, length: int) -> list[str]:
    """Distinct among themselves only; against earlier keys of the batch the database's constraint decides."""
    if count > len(ALPHABET) ** length:
        raise ValueError(f"there are fewer than {count} keys of length {length}")
    keys: dict[str, None] = {}
    while (lacking := count - len(keys)) > 0:
        text = random_text(lacking * length)
        keys.update(dict.fromkeys(text[at : at + length] for at in range(0, len(text), length)))
    return list(keys)


class KeyRing:
    """The keys derived from SECRET_KEY, which the database never sees: digest, pepper, and one seal for each batch.

    A seal of its own for each batch keeps the count of random GCM nonces under one key at the size of a batch, far
    below the 2**32 of NIST SP 800-38D. Safe to share between threads.
    """

    def __init__(self, secret_key: bytes | str) -> None:
        if not secret_key:
            raise ValueError("SECRET_KEY is empty")
        secret = secret_key.encode() if isinstance(secret_key, str) else secret_key
        self._digest_key = _derive(secret, b"digest")
        self._pepper_key = _derive(secret, b"pepper")
        self._fingerprint = _derive(secret, b"fingerprint").hex()

        @lru_cache(maxsize=_BATCHES_REMEMBERED)
        def seal_of(batch_id: UUID) -> AESGCM:
            return AESGCM(_derive(secret, b"seal/" + batch_id.bytes))

        self._seal_of: Callable[[UUID], AESGCM] = seal_of

    def fingerprint(self) -> str:
        """Tells one SECRET_KEY from another and nothing about it: nothing else is derived for this purpose."""
        return self._fingerprint

    def digest(self, batch_id: UUID, key: str) -> bytes:
        """16 bytes that find the key again within its batch, and tell nothing of equal keys in other batches."""
        return hmac.digest(self._digest_key, batch_id.bytes + _encoded(key), "sha256")[:_DIGEST_BYTES]

    def peppered(self, batch_id: UUID, sequence_number: int, key: str) -> str:
        """What bcrypt hashes: 44 ASCII characters, below its limit of 72 bytes and free of NUL."""
        message = _place(batch_id, sequence_number) + _encoded(key)
        return base64.b64encode(hmac.digest(self._pepper_key, message, "sha256")).decode()

    def unseal(self, batch_id: UUID, sequence_number: int, sealed: bytes) -> str:
        """Raises SealBroken."""
        # Cut short, it is padded to where it cannot open: the cipher would call a short nonce a mistake of ours.
        nonce, ciphertext = sealed[:_NONCE_BYTES].ljust(_NONCE_BYTES), sealed[_NONCE_BYTES:]
        try:
            opened = self._seal_of(batch_id).decrypt(nonce, ciphertext, _place(batch_id, sequence_number))
        except InvalidTag:
            raise SealBroken(
                f"The root key of unit {sequence_number} of batch {batch_id} does not open: start the service with the "
                "SECRET_KEY that was set when the batch was made."
            ) from None
        return opened.decode(errors="surrogatepass")

    def prepare(self, batch_id: UUID, sequences: Sequence[int], keys: Sequence[str]) -> tuple[list[bytes], list[bytes]]:
        """Digests and sealed keys of many units, in bulk: about 3 µs a key.

        Sealed are nonce (12 bytes), ciphertext and tag (16); they open only as this unit of this batch.
        """
        digest_key, batch = self._digest_key, batch_id.bytes
        encrypt = self._seal_of(batch_id).encrypt
        nonces = secrets.token_bytes(_NONCE_BYTES * len(keys))
        digests, sealed = [], []
        for index, (number, key) in enumerate(zip(sequences, keys, strict=True)):
            encoded = _encoded(key)
            nonce = nonces[index * _NONCE_BYTES : (index + 1) * _NONCE_BYTES]
            place = batch + number.to_bytes(8)
            digests.append(hmac.digest(digest_key, batch + encoded, "sha256")[:_DIGEST_BYTES])
            sealed.append(nonce + encrypt(nonce, encoded, place))
        return digests, sealed


def _derive(secret: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"qrtrack/root-key/" + purpose).derive(secret)


def _place(batch_id: UUID, sequence_number: int) -> bytes:
    return batch_id.bytes + sequence_number.to_bytes(8)


def _encoded(key: str) -> bytes:
    # Anything that can be typed has an encoding, lone surrogates too: a wrong key is unknown, never a defect.
    return key.encode(errors="surrogatepass")


class Hasher:
    """bcrypt by passlib. Slow on purpose and free of the interpreter's lock: call it in a thread."""

    def __init__(self, cost: int) -> None:
        self._context = CryptContext(schemes=["bcrypt"], bcrypt__rounds=cost)

    def hash(self, peppered: str) -> str:
        return self._context.hash(peppered)

    def verify(self, peppered: str, stored: str) -> bool:
        return self._context.verify(peppered, stored)


@lru_cache(maxsize=8)
def make_hasher(cost: int) -> Hasher:
    """`cost` is the binary logarithm of bcrypt's rounds (4 to 31); one context a cost, as setting it up is slow."""
    return Hasher(cost)
