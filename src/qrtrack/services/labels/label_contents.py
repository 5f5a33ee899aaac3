"""Labels as they are printed: the content of the symbol and the lines beside it."""

from qrtrack.domain.labels.labels import CaseLabel, Label, case_lines, unit_lines
from qrtrack.repositories.labels.label_contents import LabelledBatch, LabelledCase, LabelledUnit
from qrtrack.services.labels.symbols import payload_of


def unit_label(base_url: str, batch: LabelledBatch, unit: LabelledUnit, root_key: str | None) -> Label:
    lines = unit_lines(unit.code, variant=unit.variant, lot=batch.lot, expires_on=batch.expires_on, root_key=root_key)
    return Label(payload_of(base_url, batch, unit.code), lines)


def case_label(batch: LabelledBatch, case: LabelledCase) -> Label:
    """Builds the label of a case. Its symbol contains the master code, which stations scan."""
    return Label(case.master_code, case_lines(CaseLabel(product_name=batch.product_name, **case._asdict())))
