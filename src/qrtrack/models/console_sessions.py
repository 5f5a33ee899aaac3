"""Sessions of the console, and the codes of sign-in links."""

from sqlalchemy import ARRAY, Index, LargeBinary, Text
from sqlalchemy.orm import Mapped, mapped_column

from qrtrack.models.metadata import Instant, Now, Table, TenantOwned


class ConsoleSession(TenantOwned, Table):
    """A signed-in person. `token_hash` is the SHA-256 of the cookie's value, so nobody can sign in with the hash."""

    __tablename__ = "console_sessions"
    __table_args__ = (Index("ix_console_sessions_expires_at", "expires_at"),)

    token_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    user_id: Mapped[str]
    roles: Mapped[list[str]] = mapped_column(ARRAY(Text))
    station: Mapped[str | None]
    created_at: Mapped[Now]
    expires_at: Mapped[Instant]


class ConsoleSignInCode(TenantOwned, Table):
    """The code of a sign-in link, which opens one session."""

    __tablename__ = "console_sign_in_codes"
    __table_args__ = (Index("ix_console_sign_in_codes_expires_at", "expires_at"),)

    code_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    user_id: Mapped[str]
    roles: Mapped[list[str]] = mapped_column(ARRAY(Text))
    expires_at: Mapped[Instant]
