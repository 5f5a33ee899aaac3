from qrtrack.domain.progress.sync_batches import SurplusRecords


def test_a_surplus_names_the_records_that_came_last() -> None:
    refusal = SurplusRecords(total=10, processed=8, new_keys=["a", "b", "c"])
    assert refusal.members == {"total_records": 10, "processed_records": 8, "surplus": 1, "keys": ["c"]}
    assert "1 records are more than the 10" in refusal.detail


def test_a_surplus_that_was_repaired_meanwhile_still_names_a_record() -> None:
    refusal = SurplusRecords(total=10, processed=5, new_keys=["a"])
    assert (refusal.members["surplus"], refusal.members["keys"]) == (1, ["a"])
