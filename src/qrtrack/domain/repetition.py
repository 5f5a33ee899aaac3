"""The words and codes by which a gateway says that it saw a request before. This is the only list of them.

A refused repetition may mean that the first request was paid. So the list is wide: a word too many freezes a settlement
until a person has asked the bank, a word too few pays it twice.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, Final

# In an answer of any status: this very request was seen before.
REPEATED: Final = (
    r"dup|dups|duplicates?|duplicated|duplication|duplicating|duplikat|duplikasi|terduplikasi|double|doubled|ganda"
    r"|already|repeated|replayed|resubmitted"
)
# In a refusal: something has happened to it before. In a success ("telah diterima") these words are harmless.
HAPPENED_BEFORE: Final = (
    r"sudah|telah|pernah|exists?|existing|used|processed|paid|settled|executed|posted|completed|submitted|previously"
    r"|twice|more than once|dua kali|diproses|digunakan|dipakai|terpakai|terbayar|dibayar|lunas|kembar|berulang"
    r"|unique|unik|conflict|in progress|idempotent|idempotency(?: key)?|x external id|x request id|x idempotency key"
    r"|same (?:reference|request|transaction|external|id|key|day|batch)\w*"
    r"|(?:referensi|transaksi|permintaan|request|id) (?:yang )?sama"
)
# What says the opposite. It is taken out before the words above are looked for. "no" alone is not in it: in
# Indonesian it is short for "nomor", so that "No Referensi exists" means that it exists.
NEGATED: Final = re.compile(
    r"\b(?:"
    r"(?:not|never|doesn t|don t|didn t|cannot|can t|couldn t|could not|isn t|wasn t|hasn t|unable to|failed to)"
    r"(?: yet)?(?: have| has)?(?: been| be)?"
    r" (?:exists?|existing|processed|paid|settled|executed|posted|completed|submitted)"
    r"|(?:tidak|belum|gagal|bukan)(?: dapat| bisa| pernah| berhasil)? "
    r"(?:ada|ditemukan|diproses|dibayar|terbayar|lunas)"
    r"|(?:token|session|sesi|password|kata sandi)(?: \w+)? (?:sudah|telah|already|has been)"
    r" (?:expired|kedaluwarsa|kadaluarsa|kadaluwarsa|berakhir)"
    # "cannot be processed again" says that it was.
    r")\b(?! (?:again|twice|lagi|kembali|more than once))"
)
ANY_STATUS: Final = re.compile(rf"\b(?:{REPEATED})\b")
REFUSAL: Final = re.compile(rf"\b(?:{REPEATED}|{HAPPENED_BEFORE})\b")
# 94 is ISO 8583's duplicate transmission; SNAP codes begin with the HTTP status that they stand for.
CODE: Final = re.compile(r"0*94(?:\.0*)?|0*409[0-9]*(?:\.0*)?", re.ASCII)
CODE_IN_WORDS: Final = re.compile(r"\b(?:code|kode|rc|error|err|status) (?:0*94|409[0-9]*)\b", re.ASCII)


def says_repetition(code: str | None, answer: Mapping[str, Any], *, is_refusal: bool) -> bool:
    """Whether any text of a JSON answer, or its `code`, says that the request came before. Searches nested members."""
    if code is not None and CODE.fullmatch(code.strip()):
        return True
    words = REFUSAL if is_refusal else ANY_STATUS
    for text in _texts(answer):
        plain = NEGATED.sub(" ", _plain(text))
        if words.search(plain) or CODE_IN_WORDS.search(plain):
            return True
    return False


def _texts(answer: Mapping[str, Any]) -> Iterator[str]:
    """Every text in the answer, and the name of every member that is true. Iterative: answers may be nested deeply."""
    left: list[Any] = [answer]
    while left:
        value = left.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            left.extend(value)
        elif isinstance(value, Mapping):
            left.extend(value.values())
            left.extend(name for name, member in value.items() if member is True)


def _plain(text: str) -> str:
    """Words in lower case with one space between them: `X-EXTERNAL-ID`, `ERR_DUPLICATE`, `alreadyExists`."""
    visible = "".join(
        letter for letter in unicodedata.normalize("NFKC", text) if unicodedata.category(letter) not in ("Cf", "Mn")
    )
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", visible)
    return " ".join(re.findall(r"[^\W_]+", apart)).casefold()
