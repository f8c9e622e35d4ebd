"""The rebound test: how attack success moves when the cleaned model is finetuned once more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PySide6.QtWidgets import QWidget

from cleanclip_gui import theme
from cleanclip_gui.clean.charts.charts import Chart, SeriesStyle
from cleanclip_gui.clean.charts.parts import SYMBOLS
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.layout import column
from cleanclip_gui.widgets.number_box import number_text
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import count_text, percent, plain, plural
from ml_core.events import Metric

_CHART_HEIGHT = 230


class ReboundView(QWidget):
    """One curve for each finetuning rate, the limit as a line, and the verdict as a sentence."""

    def __init__(self, prompts: Prompts, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.verdict = Label("", wrap=True)
        self.verdict.setFont(theme.figure_font(theme.FONT_POINTS + 2, bold=True))
        self.chart = Chart(
            "Attack success while finetuning again",
            prompts,
            show=percent,
            legend_columns=3,
            empty="One curve per learning rate appears here.",
        )
        self.chart.setMinimumHeight(theme.px(_CHART_HEIGHT))
        self.facts = Label("", "caption", wrap=True)
        column(self.verdict, self.chart, self.facts, of=self, spacing=theme.SPACE_S)
        self.hide()

    def begin(self, limit: float, steps: int) -> None:
        """Show an empty chart with the limit; points come with :meth:`add`."""
        for key in self.chart.keys():  # noqa: SIM118
            self.chart.remove_series(key)
        self.chart.clear()
        self.chart.set_total(steps)
        self.chart.set_level(limit, f"limit {100 * limit:g} %")
        self.verdict.setText("")
        self.verdict.hide()
        self.facts.setText("")
        self.show()

    def add(self, metric: Metric) -> None:
        """Take in a measurement of the running test."""
        values = metric.values
        if "factor" in values and "asr_excl" in values:
            self._point(values["factor"], values.get("rebound_step", metric.step), values)

    def show_record(self, record: Mapping[str, Any]) -> None:
        """Show what ``rebound.json`` holds."""
        self.begin(float(record["limit"]), int(record["steps"]))
        for rate in record["rates"]:
            for point in rate["points"]:
                self._point(float(rate["factor"]), float(point["step"]), point)
        self.verdict.setText(str(record["verdict"]))
        theme.set_property(self.verdict, "role", _role(record))
        self.verdict.show()
        self.facts.setText(_facts(record))
        self.setAccessibleDescription(str(record["verdict"]))

    def _point(self, factor: float, step: float, values: Mapping[str, Any]) -> None:
        key = f"{factor:g}"
        look = len(self.chart.keys()) if key not in self.chart.keys() else 0  # noqa: SIM118
        self.chart.add_series(
            SeriesStyle(
                key, f"learning rate {key} × peak", look, markers=True,
                symbol=SYMBOLS[look % len(SYMBOLS)],
            )
        )  # fmt: skip
        nan = float("nan")
        low, high = values.get("asr_low"), values.get("asr_high")
        self.chart.append(
            key, step, float(values["asr_excl"]),
            nan if low is None else float(low), nan if high is None else float(high),
        )  # fmt: skip


def pairs_text(kind: str, path: str | None) -> str:
    """Which pairs, in words that go after ``of``."""
    return "the demo" if kind == "demo" else plain(Path(path or "").name, 60)


def _role(record: Mapping[str, Any]) -> str:
    """How the verdict looks: under the limit without staying clean is not decided."""
    if record["stays_clean"]:
        return "success"
    return "warning" if record["worst"]["max_asr"] < record["limit"] else "error"


def _facts(record: Mapping[str, Any]) -> str:
    """Small print of the test."""
    left_out = record.get("left_out") or {}
    pairs = (record.get("spec") or {}).get("pairs")
    source = f" of {pairs_text(pairs['kind'], pairs['path'])}" if pairs else ""
    parts = [
        f"{count_text(record['steps'])} steps of {count_text(record['batch_size'])} pairs{source} "
        f"at each rate, up to {number_text(record['peak_lr'], 'log')}"
    ]
    if record.get("pretraining"):
        parts.append(str(record["pretraining"]).removesuffix("."))
    if left_out:
        parts.append(
            f"left out: {plural(left_out.get('seen', 0), 'pair')} that the cleaning saw, "
            f"{count_text(left_out.get('target', 0))} of the target class"
        )
    if record.get("n"):
        parts.append(f"measured on {plural(record['n'], 'image')}")
    parts += [str(note) for note in record.get("notes") or ()]
    return " · ".join(parts)
