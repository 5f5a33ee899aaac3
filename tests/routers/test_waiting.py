from qrtrack.routers.waiting import pause_after


def test_who_waits_looks_at_once_at_first_and_then_less_and_less_often() -> None:
    waited, looks = 0.0, 0
    while waited < 30:
        waited += pause_after(waited)
        looks += 1
    assert pause_after(0) == 0.25
    assert pause_after(30) == 1
    assert looks < 45, "a third of what looking every quarter of a second would be"
