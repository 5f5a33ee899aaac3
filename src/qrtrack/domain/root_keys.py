"""Root keys, the short secrets of units: draws them, and computes the digest that finds a key, the seal from which it
is printed, and the hash that checks it. Other modules store them and check access rights.
"""

import base64
import hmac
import secrets
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from passlib.context import CryptContext

from qrtrack.domain.errors import Forbidden, Unavailable

ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
GUESSES_PER_HIT = 10_000
SHORTEST_KEY = 4

# 32 divides 256: each letter stands for eight byte values, so a random byte selects every letter with equal
# probability.
_LETTER_OF_BYTE = (ALPHABET * 8).encode()
_NONCE_BYTES = 12
SEAL_BYTES = _NONCE_BYTES + 16
"""A sealed root key is longer than the key by its nonce and its tag."""
_DIGEST_BYTES = 16
_BATCHES_REMEMBERED = 64


class SealBroken(Unavailable):
    """A sealed root key cannot be opened: it was sealed with another SECRET_KEY, or its row was altered or moved."""

    slug = "seal-broken"
    title = "The root key cannot be opened"


class NotAskedFor(Forbidden):
    """A browser followed a link to root keys. Any page can contain such a link, so perhaps nobody wanted the keys."""

    slug = "root-keys-not-asked-for"
    title = "Nobody asked for the root keys"
    message = (
        "Root keys are not sent to a browser that follows a link: press the button on the console's page. Programs "
        "send a token."
    )


def key_length(quantity: int) -> int:
    """Returns the shortest length at which a random guess hits a key of the batch at most once in 10,000 times."""
    length = SHORTEST_KEY
    while quantity * GUESSES_PER_HIT > len(ALPHABET) ** length:
        length += 1
    return length


def random_text(characters: int) -> str:
    return secrets.token_bytes(characters).translate(_LETTER_OF_BYTE).decode()


def sample_keys(count: int, length: int) -> list[str]:
    """Returns keys that differ from each other. A database constraint refuses keys that the batch has already."""
    if count > len(ALPHABET) ** length:
        raise ValueError(f"there are fewer than {count} keys of length {length}")
    keys: dict[str, None] = {}
    while (lacking := count - len(keys)) > 0:
        text = random_text(lacking * length)
        keys.update(dict.fromkeys(text[at : at + length] for at in range(0, len(text), length)))
    return list(keys)


class KeyRing:
    """Keys derived from SECRET_KEY: digest, pepper, and one seal for each batch and each label job. None of them is
    stored.

    One seal for each batch limits the random GCM nonces under one key to the size of a batch, far below the 2**32 of
    NIST SP 800-38D. Thread-safe.
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
        """Returns a value that differs for each SECRET_KEY and reveals nothing about it. It is derived separately and
        has no other use.
        """
        return self._fingerprint

    def digest(self, batch_id: UUID, key: str) -> bytes:
        """Returns 16 bytes that find the key within its batch. Equal keys of two batches have different digests."""
        return hmac.digest(self._digest_key, batch_id.bytes + _encoded(key), "sha256")[:_DIGEST_BYTES]

    def peppered(self, batch_id: UUID, sequence_number: int, key: str) -> str:
        """Returns the input of bcrypt: 44 ASCII characters, below bcrypt's limit of 72 bytes and without NUL."""
        message = _place(batch_id, sequence_number) + _encoded(key)
        return base64.b64encode(hmac.digest(self._pepper_key, message, "sha256")).decode()

    def unseal(self, batch_id: UUID, sequence_number: int, sealed: bytes) -> str:
        """Raises SealBroken."""
        # A truncated seal is padded, so that it fails like an altered one: with a short nonce, the cipher would raise
        # ValueError.
        nonce, ciphertext = sealed[:_NONCE_BYTES].ljust(_NONCE_BYTES), sealed[_NONCE_BYTES:]
        try:
            opened = self._seal_of(batch_id).decrypt(nonce, ciphertext, _place(batch_id, sequence_number))
        except InvalidTag:
            raise SealBroken(
                f"The root key of unit {sequence_number} of batch {batch_id} does not open: the service runs with "
                "another SECRET_KEY than when the batch was made, or the stored key was altered. Tell the operator of "
                "the service."
            ) from None
        return opened.decode(errors="surrogatepass")

    def seal_part(self, job_id: UUID, part: int, content: bytes) -> bytes:
        """Seals a part of a file that shows root keys, so that it may be stored."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._seal_of(job_id).encrypt(nonce, content, _place(job_id, part))

    def unseal_part(self, job_id: UUID, part: int, sealed: bytes) -> bytes:
        """Raises SealBroken."""
        nonce, ciphertext = sealed[:_NONCE_BYTES].ljust(_NONCE_BYTES), sealed[_NONCE_BYTES:]
        try:
            return self._seal_of(job_id).decrypt(nonce, ciphertext, _place(job_id, part))
        except InvalidTag:
            raise SealBroken(
                f"Part {part} of the file of label job {job_id} does not open: the service runs with another "
                "SECRET_KEY than when the labels were drawn, or the stored part was altered. Tell the operator of the "
                "service."
            ) from None

    def prepare(self, batch_id: UUID, sequences: Sequence[int], keys: Sequence[str]) -> tuple[list[bytes], list[bytes]]:
        """Returns digests and sealed keys of many units at once: about 3 µs for each key.

        A sealed key is nonce (12 bytes), ciphertext and tag (16 bytes). It opens only for this unit of this batch.
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
    # Encodes lone surrogates too: any text that a person types is an unknown key, never an error.
    return key.encode(errors="surrogatepass")


class Hasher:
    """bcrypt by passlib. It is slow on purpose and releases the GIL: call it in a thread."""

    def __init__(self, cost: int) -> None:
        self._context = CryptContext(schemes=["bcrypt"], bcrypt__rounds=cost)
        # A hash of the same cost that no key has. Comparing with it takes as long as comparing with a real hash.
        self.of_no_key: Final = f"$2b${cost:02}${'.' * 53}"

    def hash(self, peppered: str) -> str:
        return self._context.hash(peppered)

    def verify(self, peppered: str, hashed: str) -> bool:
        return bool(self._context.verify(peppered, hashed))


@lru_cache(maxsize=8)
def make_hasher(cost: int) -> Hasher:
    """Returns a hasher. `cost` is the binary logarithm of bcrypt's rounds (4 to 31). Cached, because creating a context
    is slow.
    """
    return Hasher(cost)
