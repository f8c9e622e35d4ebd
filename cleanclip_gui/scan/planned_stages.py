"""What a scan will do, before it is started."""

from __future__ import annotations

from collections.abc import Collection

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QWidget

from cleanclip_gui import theme
from cleanclip_gui.scan.words import HELP, stage_title
from cleanclip_gui.widgets.label import Label
from ml_core.jobs.scan_spec import Stage

_TITLES = 150  # pixels


class PlannedStages(QWidget):
    """A row for each stage: its title, and what it does."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Stages that will be run")
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setHorizontalSpacing(theme.SPACE_M)
        layout.setVerticalSpacing(theme.SPACE_S)
        layout.setColumnStretch(1, 1)
        self.rows: dict[Stage, tuple[Label, Label]] = {}
        for row, (stage, sentence) in enumerate(HELP.items()):
            title = Label(stage_title(stage), wrap=True)
            both = self.rows[stage] = title, Label(sentence, "subtle", wrap=True)
            both[0].setFixedWidth(theme.px(_TITLES))
            for column, label in enumerate(both):
                layout.addWidget(label, row, column, Qt.AlignmentFlag.AlignTop)

    def show_stages(self, stages: Collection[Stage]) -> None:
        """Show these, and no others."""
        for stage, both in self.rows.items():
            for label in both:
                label.setVisible(stage in stages)
