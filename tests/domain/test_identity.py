import pytest

from qrtrack.domain.identity import is_same_person, normal_user

USER = "0192f1f0-1234-7abc-8def-0123456789ab"
SPELLINGS = (
    USER, USER.upper(), f"{{{USER}}}", f"urn:uuid:{USER}", f"URN:UUID:{USER.upper()}", USER.replace("-", ""),
    f"{USER} ", f"\t{USER}\n", f"{USER}\u00a0", "".join(chr(ord(letter) + 0xFEE0) for letter in USER),
)  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_uuid_is_one_user_however_it_is_spelled(spelling: str) -> None:
    assert normal_user(spelling) == USER


@pytest.mark.parametrize("spelling", ["auth0|Ann", " auth0|Ann\n", "ａｕｔｈ０|Ａｎｎ"])
def test_another_name_is_one_user_whatever_its_width_and_the_blanks_around_it(spelling: str) -> None:
    assert normal_user(spelling) == "auth0|Ann"


def test_where_two_persons_are_needed_a_name_in_another_case_is_the_same_person() -> None:
    assert is_same_person("auth0|Ann", "AUTH0|ann ")
    assert is_same_person(USER, USER.upper())
    assert not is_same_person("ann", "anne")


def test_names_that_differ_are_two_users() -> None:
    assert len({normal_user(name) for name in (USER, USER[:-1] + "c", "ann", "Ann", USER[:-1])}) == 5
