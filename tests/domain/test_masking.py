from qrtrack.domain.akselgate.callbacks import CallbackTokens
from qrtrack.domain.masking import masked, without_tokens


def test_long_numbers_show_only_the_last_four_digits() -> None:
    assert masked("Account 1000000001 has 1234 left") == "Account ******0001 has 1234 left"


def test_tokens_are_hidden() -> None:
    token = CallbackTokens("a secret").token_of(17)
    said = f"GET https://qrtrack.example/webhook/akselgate/callback/{token}?ref=R1"
    shown = "GET https://qrtrack.example/webhook/akselgate/callback/17-***?ref=R1"
    assert (without_tokens(said), masked(said)) == (shown, shown)
