"""Imported before everything else: the garbage collector rests while the program and the tests are imported.

The imports make a million objects that stay. Looking through them again and again takes a fifth of the time.
"""

import gc

gc.disable()


def resume() -> None:
    """What was imported stays, and is not looked through any more. The collector runs a tenth as often as it would: it
    took 4 % of the time of the tests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(7_000)
    gc.enable()


def end() -> None:
    """Pytest looks through all objects five times when it ends, to find what was not closed. Once is enough."""
    gc.collect()
    gc.freeze()
