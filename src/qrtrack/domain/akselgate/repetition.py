"""The only list of the words and codes which mean that the gateway has received this request before.

The gateway may refuse a repetition because it paid the first request, so the list is wide. A word too many freezes a
settlement until a person asks the bank. A missing word pays a settlement twice.
"""

import html
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, Final

# In an answer of any status, these words mean that the gateway has received the request before.
REPEATED: Final = (
    r"dup\w*|\w*duplic\w*|\w*dupli[kc]\w*|doubl\w*|dobel|dobl\w*|rangkap|\w*ganda\w*|already\w*|repeat\w*"
    r"|repetition\w*|repetitive|replay\w*|re?us(?:e|ed|age|ing)|resen[dt]\w*|resubmi\w*|re (?:sub|trans)mi\w*"
    r"|retransmi\w*|reprocess\w*|redundant|identical\w*|idempot\w*|clash\w*|collid\w*|collision\w*|conflict\w*"
    r"|konflik|kembar"
)
# Only in a refusal do these words mean that the gateway has received the request before. In a success they are harmless
# ("telah diterima": has been received).
HAPPENED_BEFORE: Final = (
    r"sudah|sdh|udah|telah|tlh|pernah|exists?|existing|used|processed|processing|paid|settled|executed|posted"
    r"|completed?|submitted|previous\w*|sebelum\w*|earlier|before|twice|once|more than once|second time"
    r"|second attempt|last one|than last|out of sequence|(?:ke ?2|kedua|dua kali|satu kali|sekali)|diproses|proses"
    r"|digunakan|dipakai|terpakai|terbayar|dibayar|lunas|\w*ulang|\w*ulangan|berulang|unique|unik|in use"
    r"|in progress|taken|registered|terdaftar|tercatat|recorded|present|consumed|received|diterima|accepted|sent"
    r"|terkirim|success\w*|sukses|berhasil|approved|payment made|selesai|debited|terdebit|credited|transferred"
    r"|finished|pending|running|sedang|bukan transaksi baru|x external id|x request id|x idempotency key"
    r"|same (?:reference|request|transaction|external|id|key|day|batch)\w*"
    r"|(?:referen\w*|transaksi|permintaan|request|nomor|number|id)(?: \w+){0,3} sama"
)
DONE: Final = (
    r"(?:exists?|existing|existed|processed|paid|settled|executed|posted|completed?|submitted|received|accepted|approved"
    r"|registered|recorded|present|sent|successful|debited|credited|transferred|finished|taken)"
)
# Phrases that deny a repetition. They are removed before the words above are searched. "no" alone is not listed: in
# Indonesian it stands for "nomor" (number), so "No Referensi exists" means that the reference exists.
NEGATED: Final = re.compile(
    r"\b(?:"
    r"(?:not|never|don t|doesn t|didn t|cannot|can t|couldn t|isn t|wasn t|hasn t|haven t|unable to|failed to)"
    rf"(?: yet)?(?: have| has)?(?: been| be)? {DONE}"
    rf"|(?:no (?:transactions?|payments?|records?|data|money|funds)|nothing)(?: was| were| has been)? {DONE}"
    r"|(?:must|should) exist|non existing|non existent"
    r"|(?:not a|no|non) duplic\w+(?: found)?|bukan duplik\w+|tidak ada duplik\w+|isduplicate false"
    r"|(?:type|a|as|be|of|expected|format) double|double quotes?|double precision"
    r"|(?:error|failed|failure|problem|exception)(?: in| while| when| during| on| at)? processing"
    r"|(?:error|failed|failure|problem|exception)(?: has)? occurred before processing"
    r"|(?:tidak|belum|gagal|bukan)(?: dapat| bisa| pernah)? "
    r"(?:ada|ditemukan|diproses|dibayar|terbayar|lunas|terdaftar|tercatat|diterima|berhasil|sukses|terkirim)"
    r"|gagal proses|(?:silakan |silahkan |mohon )?(?:coba|dicoba)(?: \w+)? (?:lagi|ulang|kembali)"
    r"|(?:silakan|silahkan|mohon) (?:ulangi|diulang)"
    r"|(?:token|session|sesi|password|kata sandi)(?: \w+)? (?:sudah|telah|already|has been)"
    r" (?:expired|kedaluwarsa|kadaluarsa|kadaluwarsa|berakhir)"
    r"|user (?:is )?already logged in"
    # These phrases are kept: "cannot be processed again" means that the request was processed before, and the text
    # after "because" may say so.
    r")\b(?! (?:again|twice|lagi|ulang|kembali|more|a second|because|since|karena|sebab))"
)
ANY_STATUS: Final = re.compile(rf"\b(?:{REPEATED})\b")
REFUSAL: Final = re.compile(rf"\b(?:{REPEATED}|{HAPPENED_BEFORE})\b")
# Finds the words where letters are separated or words are joined: Du-pli-cate, ALREADYPROCESSED.
RUN_TOGETHER: Final = re.compile(r"dupli[ck]|already|idempot")
# 94 is "duplicate transmission" in ISO 8583; a SNAP code begins with its HTTP status.
CODE: Final = re.compile(r"[a-z]{0,6}[ :#-]*0*94(?:\.0*)?|0*409[0-9 .-]*", re.ASCII)
CODE_IN_WORDS: Final = re.compile(r"(?:^|\b(?:code|kode|rc|error|err|e|status) ?)0*94\b|\b409[0-9]{0,4}\b", re.ASCII)
NOTHING_SAID: Final[tuple[Any, ...]] = (None, False, 0, [], {})
YES: Final = ("true", "1", "yes", "ya", "y")
# Names of ordinary members, such as counts: they match the words above but say nothing about this request.
ORDINARY_NAMES: Final = frozenset({"processed", "success", "successCount", "accepted"})


def says_repetition(code: str | None, answer: Mapping[str, Any], *, is_refusal: bool) -> bool:
    """Returns whether `code`, or any text or member name in the answer, says that the gateway has received the request
    before.
    """
    return any(_says(text, is_refusal=is_refusal) for text in (code or "", *_texts(answer)))


def _says(text: str, *, is_refusal: bool) -> bool:
    letters = _letters(text)
    if CODE.fullmatch(letters.strip().casefold()):
        return True
    plain = NEGATED.sub(" ", _in_words(letters))
    # Letters of another alphabet can look like Latin ones and hide a word. Such a refusal counts as a repetition.
    is_strange = is_refusal and any(letter.isalpha() and not letter.isascii() for letter in plain)
    words = REFUSAL if is_refusal else ANY_STATUS
    found = words.search(plain) or CODE_IN_WORDS.search(plain) or RUN_TOGETHER.search(re.sub("[^a-z]", "", plain))
    return is_strange or found is not None


def _texts(answer: Mapping[str, Any]) -> Iterator[str]:
    """Yields every text, every number, and each member name that `_is_said` accepts. Iterative: a deeply nested answer
    would exceed the recursion limit.
    """
    left: list[Any] = [answer]
    while left:
        value = left.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield str(value)
        elif isinstance(value, list):
            left.extend(value)
        elif isinstance(value, Mapping):
            left.extend(value.values())
            left.extend(name for name, member in value.items() if _is_said(name, member))


def _is_said(name: str, member: Any) -> bool:
    """Returns whether the member's name is searched too, as in `isDuplicate: 1`. It is not searched if the value denies
    it (false, 0, null or empty), if the value is text other than a yes, or if the name is one of ORDINARY_NAMES.
    """
    if isinstance(member, str):
        return member.strip().casefold() in YES
    return member not in NOTHING_SAID and name not in ORDINARY_NAMES


def _letters(text: str) -> str:
    """Removes accents, invisible characters and HTML entities; turns wide letters and digits into ASCII."""
    apart = unicodedata.normalize("NFKD", html.unescape(text))
    visible = (letter for letter in apart if unicodedata.category(letter) not in ("Cf", "Mn"))
    return "".join(str(unicodedata.decimal(letter)) if letter.isdecimal() else letter for letter in visible)


def _in_words(letters: str) -> str:
    """Splits `X-EXTERNAL-ID`, `ERR_DUPLICATE`, `alreadyExists` and `ERR94` into lower-case words with single spaces."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Za-z])(?=[0-9])", " ", letters)
    return " ".join(re.findall(r"[^\W_]+", apart)).casefold()
