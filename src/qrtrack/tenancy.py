"""How migrations give requests their rights on the tables of organisations.

Frozen: migrations stand alone otherwise, because a change of the program must not change what a migration makes. If a
migration needs other policies, write another function for it and leave these as they are.
"""

from collections.abc import Mapping
from typing import Final

from alembic import op

# PostgreSQL evaluates the sub-select once per statement, and the comparison keeps the index on manufacturer_org_id
# usable.
OWN: Final = "manufacturer_org_id = (SELECT NULLIF(current_setting('qrtrack.org', true), '')::uuid)"


def tenant_role() -> str:
    """The role of requests, quoted."""
    return str(op.get_context().opts["tenant_role"])


def enforce_tenancy(rights: Mapping[str, str]) -> None:
    """Grants the role of requests these rights on each table, and lets it see and write rows of its own organisation
    only.
    """
    role = tenant_role()
    for table, granted in rights.items():
        op.execute(f"GRANT {granted} ON {table} TO {role}")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY own_rows ON {table} TO {role} USING ({OWN}) WITH CHECK ({OWN})")
