"""The table of a checkpoint with 100 000 tensors: each act in the window's thread."""

from __future__ import annotations

import os

from tests.benchmarks.timing import Row, median, seconds, spread

TENSORS = 100_000
RUNS = 5


def run() -> list[Row]:
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from PySide6.QtCore import QCoreApplication, Qt
    from PySide6.QtWidgets import QApplication

    from cleanclip_gui.checkpoint.tensor_model import columns_of
    from cleanclip_gui.checkpoint.tensor_page import TensorTable
    from ml_core.checkpoints.tensor_stats import TensorStats
    from ml_core.reading import TensorInfo

    app = QApplication.instance() or QApplication([])  # noqa: F841
    table = TensorTable()
    table.resize(900, 600)
    table.show()
    tensors = [
        TensorInfo(
            f"visual.layer{i % 97}.{i}.weight", "F32", (i % 512, 64), 0, i, None, str(i // 2)
        )
        for i in range(TENSORS)
    ]
    stats = [
        TensorStats(t.name, -float(i), float(i % 1000), 0.1, 1.0, 0, 0, i % 7)
        for i, t in enumerate(tensors)
    ]

    def act(what: object) -> float:
        def whole() -> None:
            what()  # type: ignore[operator]
            QCoreApplication.processEvents()
            table.view.viewport().grab()

        return seconds(whole)

    ascending = Qt.SortOrder.AscendingOrder
    acts = {
        "fill": lambda: table.set_columns(columns),
        "statistics of 1000 tensors": lambda: table.model.add_stats(stats[:1000]),
        "sort by name": lambda: table.model.sort(0, ascending),
        "sort by max": lambda: table.model.sort(4, ascending),
        "sort by shape": lambda: table.model.sort(1, ascending),
        "filter": lambda: table.filter.setText("layer9 weight"),
        "clear the filter": lambda: table.filter.setText(""),
        "scroll to the end": lambda: table.view.scrollToBottom(),
    }
    times: dict[str, list[float]] = {name: [] for name in acts}
    times["prepare the columns (in a thread)"] = [seconds(lambda: columns_of(tensors))]
    columns = columns_of(tensors)
    table.set_tensors(tensors)
    table.model.add_stats(stats)
    for _ in range(RUNS):
        for name, what in acts.items():
            times[name].append(act(what))
            if name == "fill":
                table.model.add_stats(stats)
        table.model.sort(-1, ascending)
    table.close()
    return [
        Row(
            f"tensor table, {TENSORS} rows: {name}",
            f"{1000 * median(taken):.0f} ms",
            "",
            "",
            f"{spread([1000 * t for t in taken], 0)} ms",
        )
        for name, taken in times.items()
    ]
