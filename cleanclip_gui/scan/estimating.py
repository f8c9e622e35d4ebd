"""Measures how long a scan would take, before it is started."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal

from cleanclip_gui.jobs.job_task import NO_PLAN, JobTask
from cleanclip_gui.jobs.runner import NewRunner, new_runner
from cleanclip_gui.scan.scanning import SPEC_FILE
from cleanclip_gui.widgets.text import count_text, duration_text
from ml_core.events import Done
from ml_core.jobs.scan_spec import ScanSpec
from ml_core.paths import cache_dir

MEASURING = "Opening the models and timing three batches…"


class Estimating(JobTask):
    """Measures one scan; ``changed`` tells that :attr:`text` changed, or that it began or ended."""

    changed = Signal()

    def __init__(self, make_runner: NewRunner = new_runner, parent: QObject | None = None) -> None:
        super().__init__("scan", make_runner, parent)
        self._holds = False  # whether what is measured is still what is set
        self.text = ""
        self.failed = False
        self.ended.connect(self._on_estimated)

    def estimate(self, spec: ScanSpec, device: str) -> None:
        """Measure a scan; ``spec`` names a folder of the cache. See :meth:`JobTask.start`."""
        self.start(spec, estimate_folder() / SPEC_FILE, device, NO_PLAN, estimate=True)
        self._holds = True
        self._say(MEASURING)

    def forget(self) -> None:
        """Another scan is set: what was measured, or is being measured, says nothing about it."""
        self._holds = False
        self.cancel()
        if self.text and not self.is_running:
            self._say("")

    def _on_estimated(self, last: Done) -> None:
        if not self._holds or last.status == "cancelled":
            self._say("")
        elif last.status == "failed":
            self._say(last.error, failed=True)
        else:
            self._say(estimate_text(last.result))

    def _say(self, text: str, *, failed: bool = False) -> None:
        self.text, self.failed = text, failed
        self.changed.emit()


def estimate_folder() -> Path:
    """Where the spec of an estimate is written, and taken away again."""
    return cache_dir() / "scan-estimate"


def estimate_text(costs: Mapping[str, Any]) -> str:
    """What was measured, as a sentence."""
    forward, both = (count_text(round(costs[name])) for name in ("forward", "both"))
    return (
        f"About {duration_text(costs['seconds'])} at most: {forward} pictures forward, {both} "
        "there and back."
    )
