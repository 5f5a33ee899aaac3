"""The role under which an organisation's transactions run: creates it, and proves that the policies bind it.

A role belongs to the whole cluster, not to one database, so each installation in a cluster needs its own role.
"""

from typing import Final, NamedTuple

import asyncpg
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from qrtrack.domain.errors import Unavailable

ALREADY_THERE: Final = ("42710", "23505")
NOT_ALLOWED: Final = "42501"
# Errors that mean: no right to change to the role or to read a table, no such role, no right to use the schema.
UNUSABLE: Final = (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidParameterValueError, asyncpg.UndefinedTableError)

# Up to PostgreSQL 15, every member may SET ROLE. From 16 on, a membership has its own SET option, and the membership
# that CREATE ROLE gives to its creator does not have it.
LOOK = """
SELECT quote_ident(:role) AS name, quote_ident(current_user) AS owner,
       current_setting('server_version_num')::int >= 160000 AS has_set_option,
       EXISTS (SELECT FROM pg_roles WHERE rolname = :role) AS is_there,
       COALESCE((SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = :role), false) AS is_unbound,
       COALESCE((SELECT pg_has_role(current_user, oid, CASE WHEN current_setting('server_version_num')::int >= 160000
                                                            THEN 'SET' ELSE 'MEMBER' END)
                 FROM pg_roles WHERE rolname = :role), false) AS may_set
"""
# All databases of the cluster share pg_shdepend, and everybody may read it. It lists each grant to the role and each
# object that the role owns, with the database (dbid). In a grant on a database itself, dbid is 0 and objid is the
# database. Rights through PUBLIC, such as CONNECT, are not listed: they open no table.
ELSEWHERE = """
SELECT DISTINCT other.datname
FROM pg_roles AS role
JOIN pg_shdepend AS held ON held.refclassid = 'pg_authid'::regclass AND held.refobjid = role.oid
                        AND held.deptype IN ('a', 'o')
JOIN pg_database AS other ON other.oid = CASE WHEN held.classid = 'pg_database'::regclass THEN held.objid
                                              ELSE held.dbid END
WHERE role.rolname = :role AND other.datname <> current_database()
ORDER BY 1
"""
NAMED_BY_POLICIES = """
SELECT DISTINCT role.rolname FROM pg_policy JOIN pg_roles AS role ON role.oid = ANY (polroles)
WHERE polname = 'own_rows' AND polrelid = to_regclass('public.qr_batches')
"""
# Reads a table as a request does. PostgreSQL itself answers whether policies bind the current reader: they do not bind
# a superuser, a role with BYPASSRLS, or a role with the rights of the tables' owner.
TRY = (
    "SELECT row_security_active('qr_batches') FROM (SELECT count(*) FROM (SELECT FROM qr_batches LIMIT 1) AS one) AS n"
)


class TenantRoleUnusable(Unavailable):
    """Requests cannot run under DATABASE_TENANT_ROLE. The message says what to do."""

    slug = "tenant-role-unusable"
    title = "The role of requests cannot be used"


class _Found(NamedTuple):
    name: str
    owner: str
    has_set_option: bool
    is_there: bool
    is_unbound: bool
    may_set: bool

    @property
    def create(self) -> str:
        return f"CREATE ROLE {self.name} NOLOGIN"

    @property
    def grant(self) -> str:
        options = " WITH SET TRUE, INHERIT FALSE" if self.has_set_option else ""
        return f"GRANT {self.name} TO {self.owner}{options}"


def quoted(role: str) -> str:
    return '"' + role.replace('"', '""') + '"'


def provide_role(connection: Connection, role: str) -> None:
    """Creates the role if it is missing, and lets the user of DATABASE_URL change to it. Raises TenantRoleUnusable."""
    found = _look(connection, role)
    if found.is_unbound:
        raise _unbound(role)
    refuse_shared_role(connection, role)
    _refuse_other_role(connection, role)
    if not found.is_there:
        _carry_out(connection, found, found.create, asked=(found.create, found.grant))
        # Another database of the cluster may have created and used the role at the same time.
        refuse_shared_role(connection, role)
        found = _look(connection, role)
    if not found.may_set:
        _carry_out(connection, found, found.grant, asked=(found.grant,))


def refuse_shared_role(connection: Connection, role: str) -> None:
    """Raises TenantRoleUnusable if another database uses the role: its users could read the rows of both databases."""
    if others := connection.scalars(text(ELSEWHERE), {"role": role}).all():
        raise TenantRoleUnusable(
            f"The role {role} holds rights in another database of this cluster ({', '.join(others)}): the users of "
            "that database could read this one. Set DATABASE_TENANT_ROLE to a role of this installation alone, for "
            "migrate and for every process; migrate creates it."
        )


def _refuse_other_role(connection: Connection, role: str) -> None:
    named = connection.scalars(text(NAMED_BY_POLICIES)).all()
    if named and role not in named:
        raise TenantRoleUnusable(
            f"This database was migrated with the role {named[0]}, but DATABASE_TENANT_ROLE is {role}: set it to "
            f"{named[0]}, or rename the role (ALTER ROLE {quoted(named[0])} RENAME TO {quoted(role)})."
        )


def _carry_out(connection: Connection, found: _Found, statement: str, *, asked: tuple[str, ...]) -> None:
    try:
        with connection.begin_nested():
            connection.execute(text(statement))
    except DBAPIError as error:
        state = getattr(error.orig, "sqlstate", None)
        if state in ALREADY_THERE:
            return
        if state != NOT_ALLOWED:
            raise
        what = "may not be used by" if found.is_there else "is missing and may not be created by"
        raise TenantRoleUnusable(
            f"The role {found.name} {what} {found.owner}. Let an administrator of the database server run this, then "
            "start qrtrack migrate again:\n" + "\n".join(f"  {line};" for line in asked)
        ) from error


def _look(connection: Connection, role: str) -> _Found:
    return _Found(*connection.execute(text(LOOK), {"role": role}).one())


def try_role_in_migration(connection: Connection, role: str) -> None:
    """Reads as a request does, and leaves the transaction unchanged. Raises TenantRoleUnusable."""
    try:
        with connection.begin_nested() as attempt:
            connection.execute(text(f"SET LOCAL ROLE {quoted(role)}"))
            is_bound = connection.scalar(text(TRY))
            attempt.rollback()
    except DBAPIError as error:
        raise _unusable(role, str(getattr(error.orig, "__cause__", error.orig))) from error
    if not is_bound:
        raise _unbound(role)


async def try_role(connection: "asyncpg.Connection[asyncpg.Record]", role: str) -> None:
    """Reads as a request does, in its own transaction. Raises TenantRoleUnusable."""
    try:
        async with connection.transaction(readonly=True):
            await connection.execute(f"SET LOCAL ROLE {quoted(role)}")
            is_bound = await connection.fetchval(TRY)
    except UNUSABLE as error:
        raise _unusable(role, str(error)) from error
    if not is_bound:
        raise _unbound(role)


def _unusable(role: str, reason: str) -> TenantRoleUnusable:
    return TenantRoleUnusable(
        f"Requests cannot run as the role {role} ({reason}). Check DATABASE_TENANT_ROLE, then run: qrtrack migrate"
    )


def _unbound(role: str) -> TenantRoleUnusable:
    return TenantRoleUnusable(
        f"The row-level policies do not bind the role {role}: it is a superuser, has BYPASSRLS, or has the rights of "
        "the tables' owner. Take that right away from the role. Before the first migration you can set "
        "DATABASE_TENANT_ROLE to another role instead; migrate creates it."
    )
