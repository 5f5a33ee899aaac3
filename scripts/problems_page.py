"""Writes docs/problems.md: every problem type with its members, and every code of `errors` with its params."""

from collections.abc import Iterator
from pathlib import Path

# Loads every module that defines a refusal.
import qrtrack.main  # noqa: F401
from qrtrack.domain.field_codes import FieldCode
from qrtrack.routers.catalogue import URN, catalogue

PAGE = Path(__file__).parents[1] / "docs/problems.md"

INTRODUCTION = f"""# Problem types

This page is written by `make docs`; do not edit it. Every refusal is `application/problem+json` with `success` (false),
`type`, `title`, `status` and `detail`. `type` is `{URN}` and one of the names below: programs use it to decide and to
translate. `detail` is an English sentence for people and may change. The OpenAPI document has a schema for each type,
and `Problem` for any of them. It lists the types that each operation may answer.
"""

CODES = """## Codes of `errors`

A refusal of bad input has `errors`, which lists the first errors, and `error_count`, the number of all errors. An entry
has a `pointer` to the field, an English `detail`, and for translations a `code` with its `params`.

| code | params | meaning |
|---|---|---|
"""


def page() -> str:
    problems = "| type | status | other members | meaning |\n|---|---|---|---|\n" + "\n".join(_problem_rows())
    return "\n".join([INTRODUCTION, problems, "", CODES + "\n".join(_code_rows()) + "\n"])


def _problem_rows() -> Iterator[str]:
    for known in catalogue().values():
        members = ", ".join(f"`{name}`" for name in known.members.model_fields)
        yield f"| `{known.slug}` | {known.status} | {members} | {known.meaning} |"


def _code_rows() -> Iterator[str]:
    for code in FieldCode:
        params = ", ".join(f"`{name}`" for name in code.params)
        yield f"| `{code}` | {params} | {code.sentence} |"


if __name__ == "__main__":
    PAGE.write_text(page())
