"""Bad input says what is wrong, and on its way up what failed."""

from __future__ import annotations

from ml_core.reading.errors import InputError


def test_the_title_is_of_who_knew_first() -> None:
    error = InputError("a.png is damaged; get it again.")
    assert error.title == ""
    assert error.titled("Could not open the images").titled("Could not start cleaning") is error
    assert error.title == "Could not open the images"
