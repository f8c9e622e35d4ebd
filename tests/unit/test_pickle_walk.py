"""Walking over what a pickle holds takes no more memory than its own size excuses."""

from __future__ import annotations

import pytest

from ml_core.reading.pickles.records import Table
from ml_core.reading.pickles.walk import contents


def test_one_long_key_before_very_many_others_is_refused() -> None:
    inside = Table([(str(number), 0) for number in range(100_000)])
    assert contents(Table([("history", inside)])).facts[0] == ("history.0", "0")
    with pytest.raises(ValueError, match="names in it are longer"):
        contents(Table([("x" * 1000, Table([("y", inside)]))]))
