from qrtrack.domain.progress.sync_records import SurplusRecords


def test_a_surplus_names_the_records_that_came_last() -> None:
    refusal = SurplusRecords(total=10, processed=8, new_keys=["a", "b", "c"])
    assert refusal.members == {"total_records": 10, "processed_records": 8, "surplus": 1, "keys": ["c"]}
    assert "10 were announced, 8 were counted before, and this request has 3 new ones" in refusal.detail


def test_a_surplus_names_a_record_even_after_a_concurrent_repair() -> None:
    refusal = SurplusRecords(total=10, processed=5, new_keys=["a"])
    assert (refusal.members["surplus"], refusal.members["keys"]) == (1, ["a"])
