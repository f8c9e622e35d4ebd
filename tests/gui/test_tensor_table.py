"""Numpy columns behind the table: the same order, filter and text as cell by cell; copied rows."""

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication

from cleanclip_gui import threads
from cleanclip_gui.checkpoint.tensor_model import COLUMNS, TensorModel, columns_of, in_model_order
from cleanclip_gui.checkpoint.tensor_page import TensorTable
from cleanclip_gui.jobs import tasks
from ml_core.checkpoints.tensor_stats import TensorStats
from ml_core.reading import TensorInfo, inspect
from tests.gui.shell_fakes import write_safetensors

WAIT = 10_000
DESCENDING = Qt.SortOrder.DescendingOrder


def tensors(n=9000):
    """More than one chunk, in an order that no column has."""
    numbers = np.random.default_rng(0).permutation(n).tolist()
    return [
        TensorInfo(
            f"{'Visual' if i % 3 else 'text'}.{i}.é\u202e", ("F32", "BF16", "I64")[i % 3],
            (i % 7, i % 5), 0, i % 11, None, str(i // 2) if i % 2 else "",
        )
        for i in numbers
    ]  # fmt: skip


@pytest.fixture
def table(qtbot):
    table = TensorTable()
    qtbot.addWidget(table)
    table.show()
    yield table
    assert threads.close_all()


def test_tensors_stand_in_the_order_of_the_model(tmp_path):
    names = [
        "visual.bn1.num_batches_tracked", "visual.bn1.running_mean", "logit_scale",
        "transformer.resblocks.10.ln_1.weight", "transformer.resblocks.2.ln_1.weight",
        "token_embedding.weight", "ln_final.weight", "visual.attnpool.c_proj.weight",
        "visual.layer1.0.conv1.weight", "visual.conv1.weight", "visual.bn1.weight",
    ]  # fmt: skip
    wanted = [
        "visual.conv1.weight", "visual.bn1.weight", "visual.layer1.0.conv1.weight",
        "visual.attnpool.c_proj.weight", "token_embedding.weight",
        "transformer.resblocks.2.ln_1.weight", "transformer.resblocks.10.ln_1.weight",
        "ln_final.weight", "logit_scale",
        "visual.bn1.num_batches_tracked", "visual.bn1.running_mean",
    ]  # fmt: skip
    found = inspect(write_safetensors(tmp_path / "m.safetensors", {name: [1.0] for name in names}))
    assert [info.name for info in in_model_order(found)] == wanted
    torch = pytest.importorskip("torch")
    torch.save({name: torch.ones(1) for name in names}, tmp_path / "m.pt")
    order = [info.name for info in in_model_order(inspect(tmp_path / "m.pt"))]
    assert order == names[2:] + names[:2]  # that of the state dict, buffers last


def test_a_filter_without_a_match_says_so(table):
    table.set_columns(columns_of(tensors(20)))
    table.filter.setText("nothing like it")
    assert not table.view.isVisible()
    assert table.none.isVisible()
    assert "“nothing like it”" in table.none.text()
    table.filter.clear()
    assert table.view.isVisible()
    assert not table.none.isVisible()


def shown(model):
    return [model.tensor_at(row) for row in range(model.rowCount())]


KEYS = {
    0: lambda t: t.name.replace("\u202e", "\\u202e").lower(),
    2: lambda t: t.dtype,
    10: lambda t: t.nbytes,
}


def test_columns_sort_as_python_does():
    model, given = TensorModel(), tensors()
    model.set_columns(columns_of(given))
    for column, key in KEYS.items():
        for order in Qt.SortOrder:
            model.sort(column, order)
            assert shown(model) == sorted(given, key=key, reverse=order == DESCENDING)


def stats(tensor, number):
    return TensorStats(tensor.name, -number, number, 0.5, 1.0, number % 2, 0, number)


def test_statistics_sort_and_stay_until_the_next_sort():
    model, given = TensorModel(), tensors(50)
    model.set_columns(columns_of(given))
    model.sort(4, DESCENDING)
    model.add_stats([stats(tensor, i) for i, tensor in enumerate(given)])
    assert shown(model) == given, "rows do not jump while numbers arrive"
    model.sort_by_statistics_again()
    assert shown(model) == given[::-1]
    model.add_stats([stats(TensorInfo("stranger", "F32", (), 0, 4), 1)])
    assert model.row_of("stranger") == -1


def test_rows_are_copied_as_they_are_shown(table, qtbot):
    given = [
        TensorInfo("=cmd", "F32", (2, 3), 0, 24),
        TensorInfo("b", "F32", (), 24, 4),
        TensorInfo("c", "F32", (1,), 28, 4),
    ]
    table.set_columns(columns_of(given))
    table.copy()  # nothing is chosen
    assert not tasks.is_busy()
    table.model.add_stats([stats(given[0], 3)])
    table.view.selectAll()
    table.copy()
    table.model.sort(0, DESCENDING)  # changes nothing of what was asked for
    qtbot.waitUntil(lambda: "copied" in table.count.text(), timeout=WAIT)
    lines = [line.split("\t") for line in QApplication.clipboard().text().split("\n")]
    assert lines[0] == list(COLUMNS)
    assert lines[1] == ["'=cmd", "2 × 3", "F32", "-3", "3", "0.5", "1", "1 / 0", "3", "", "24"]
    assert [line[0] for line in lines[2:]] == ["b", "c"]
    assert table.count.text() == "3 rows copied"
