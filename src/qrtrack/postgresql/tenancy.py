"""Gives requests their rights on the tables of organisations. Migrations use this module.

Frozen: a change of the program must not change what an existing migration does. If a migration needs other policies,
write another function for it, and leave these functions as they are.
"""

from collections.abc import Mapping
from typing import Final

from alembic import op

# PostgreSQL evaluates the sub-select once per statement, and the comparison keeps the index on manufacturer_org_id
# usable.
OWN: Final = "manufacturer_org_id = (SELECT NULLIF(current_setting('qrtrack.org', true), '')::uuid)"


def tenant_role() -> str:
    """Returns the role of requests, quoted."""
    return str(op.get_context().opts["tenant_role"])


def enforce_tenancy(rights: Mapping[str, str]) -> None:
    """Grants the role of requests these rights on each table, and limits it to rows of its own organisation."""
    role = tenant_role()
    for table, granted in rights.items():
        op.execute(f"GRANT {granted} ON {table} TO {role}")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY own_rows ON {table} TO {role} USING ({OWN}) WITH CHECK ({OWN})")
