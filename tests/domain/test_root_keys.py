from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from passlib.hash import bcrypt

from qrtrack.domain.errors import Unavailable
from qrtrack.domain.root_keys import (
    ALPHABET,
    KeyRing,
    SealBroken,
    _derive,
    key_length,
    make_hasher,
    sample_keys,
)

BATCH = UUID(int=1)
OTHER_BATCH = UUID(int=2)
RING = KeyRing("a-secret-key-for-the-tests-only!")


def sealed(batch_id: UUID, number: int, key: str) -> bytes:
    """The sealed key of one unit."""
    _, (only,) = RING.prepare(batch_id, [number], [key])
    return only


def test_the_alphabet_has_32_characters_none_of_them_easily_confused() -> None:
    assert len(set(ALPHABET)) == 32
    assert not set(ALPHABET) & set("0O1I")


@pytest.mark.parametrize(("quantity", "length"), [(1, 4), (104, 4), (105, 5), (10_000, 6), (1_000_000, 7)])
def test_keys_grow_with_the_batch(quantity: int, length: int) -> None:
    assert key_length(quantity) == length


@given(st.integers(1, 1_000_000))
def test_a_guess_hits_at_most_once_in_10_000_and_no_shorter_key_would_do(quantity: int) -> None:
    length = key_length(quantity)
    assert quantity / 32**length <= 1 / 10_000
    assert length == 4 or quantity / 32 ** (length - 1) > 1 / 10_000


def test_sampled_keys_are_distinct_and_of_the_alphabet() -> None:
    keys = sample_keys(10_000, 6)
    assert len(set(keys)) == len(keys) == 10_000
    assert {len(key) for key in keys} == {6}
    assert set("".join(keys)) == set(ALPHABET)


def test_every_key_there_is_can_be_sampled_but_not_one_more() -> None:
    assert sorted(sample_keys(32, 1)) == sorted(ALPHABET)
    with pytest.raises(ValueError, match="fewer than 33"):
        sample_keys(33, 1)


def test_a_ring_needs_a_secret() -> None:
    with pytest.raises(ValueError, match="SECRET_KEY"):
        KeyRing("")


def test_a_secret_is_the_same_as_text_and_as_bytes() -> None:
    assert KeyRing("secret").digest(BATCH, "ZR4K") == KeyRing(b"secret").digest(BATCH, "ZR4K")


def test_a_digest_has_16_bytes_and_is_repeatable() -> None:
    assert len(RING.digest(BATCH, "ZR4K")) == 16
    assert RING.digest(BATCH, "ZR4K") == RING.digest(BATCH, "ZR4K")


def test_digest_pepper_and_seal_have_keys_of_their_own() -> None:
    kept = [RING._digest_key, RING._pepper_key, _derive(b"a-secret-key-for-the-tests-only!", b"seal/" + BATCH.bytes)]
    assert {len(key) for key in kept} == {32}
    assert len(set(kept)) == 3


def test_equal_keys_of_two_batches_have_different_digests() -> None:
    assert RING.digest(BATCH, "ZR4K") != RING.digest(OTHER_BATCH, "ZR4K")


def test_a_digest_depends_on_the_secret() -> None:
    assert RING.digest(BATCH, "ZR4K") != KeyRing("another").digest(BATCH, "ZR4K")


def test_anything_that_can_be_typed_has_a_digest() -> None:
    assert len(RING.digest(BATCH, "\udc80\0é")) == 16


@given(key=st.text(ALPHABET, min_size=4, max_size=8), number=st.integers(1, 2**63 - 1))
def test_a_sealed_key_opens_again(key: str, number: int) -> None:
    assert RING.unseal(BATCH, number, sealed(BATCH, number, key)) == key


def test_sealing_twice_never_looks_the_same() -> None:
    assert sealed(BATCH, 1, "ZR4K") != sealed(BATCH, 1, "ZR4K")


@pytest.mark.parametrize(
    ("ring", "batch", "number"), [(RING, OTHER_BATCH, 1), (RING, BATCH, 2), (KeyRing("x"), BATCH, 1)]
)
def test_a_sealed_key_opens_only_at_its_place_and_with_its_secret(ring: KeyRing, batch: UUID, number: int) -> None:
    with pytest.raises(SealBroken, match="SECRET_KEY"):
        ring.unseal(batch, number, sealed(BATCH, 1, "ZR4K"))


@given(st.integers(0, 31))
def test_a_seal_that_was_cut_short_is_reported_as_broken(length: int) -> None:
    with pytest.raises(SealBroken):
        RING.unseal(BATCH, 1, sealed(BATCH, 1, "ZR4K")[:length])


def test_a_broken_seal_makes_the_service_unavailable_and_tells_no_key() -> None:
    with pytest.raises(Unavailable) as caught:
        RING.unseal(BATCH, 2, sealed(BATCH, 1, "ZR4K"))
    assert caught.value.slug == "seal-broken"
    assert "ZR4K" not in str(caught.value)


def test_keys_prepared_in_bulk_are_as_good_as_single_ones() -> None:
    keys = sample_keys(100, 4)
    digests, sealed = RING.prepare(BATCH, range(901, 1001), keys)
    assert digests == [RING.digest(BATCH, key) for key in keys]
    assert [RING.unseal(BATCH, 901 + at, seal) for at, seal in enumerate(sealed)] == keys


def test_one_ring_serves_many_threads() -> None:
    keys = sample_keys(500, 4)

    def there_and_back(batch_number: int) -> list[str]:
        batch_id = UUID(int=batch_number % 2)
        sealed = RING.prepare(batch_id, range(1, 501), keys)[1]
        return [RING.unseal(batch_id, at, seal) for at, seal in enumerate(sealed, start=1)]

    with ThreadPoolExecutor(4) as threads:
        assert all(opened == keys for opened in threads.map(there_and_back, range(8)))


@given(st.text(max_size=30))
def test_bcrypt_gets_short_ascii_without_nul(key: str) -> None:
    peppered = RING.peppered(BATCH, 1, key)
    assert len(peppered) == 44
    assert peppered.isascii()
    assert "\0" not in peppered


def test_the_pepper_binds_batch_and_unit() -> None:
    places = [(BATCH, 1), (BATCH, 2), (OTHER_BATCH, 1)]
    assert len({RING.peppered(batch, number, "ZR4K") for batch, number in places}) == 3


def test_a_hash_verifies_its_own_key_and_no_other() -> None:
    hasher = make_hasher(4)
    stored = hasher.hash(RING.peppered(BATCH, 1, "ZR4K"))
    assert stored.startswith("$2b$04$")
    assert bcrypt.verify(RING.peppered(BATCH, 1, "ZR4K"), stored)
    assert not bcrypt.verify(RING.peppered(BATCH, 1, "ZR4L"), stored)
