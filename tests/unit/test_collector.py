"""Importing without the garbage collector."""

import gc

import pytest

from ml_core.children import collector_off


@pytest.mark.parametrize("was_on", [True, False])
def test_the_collector_is_off_in_there_and_as_before_afterwards(was_on: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if was_on else gc.disable)()
        with collector_off():
            assert not gc.isenabled()
        assert gc.isenabled() == was_on
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
        if before:
            gc.enable()
