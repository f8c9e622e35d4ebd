"""How a run stands: what it does, how far it is, how long it takes, and how to steer it."""

from __future__ import annotations

from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QFrame, QProgressBar, QPushButton

from cleanclip_gui import theme
from cleanclip_gui.clean.run import CleaningRun
from cleanclip_gui.commands import Actions
from cleanclip_gui.widgets.controls import ElidedLabel, Label, bind, named
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.text import count_text, left_text
from ml_core.events import Progress
from ml_core.jobs.table import JOBS, TITLES

_WIDE, _WIDEST = 540, 820  # pixels of the title with all buttons, and with the notice


class RunBar(QFrame):
    """Title, progress and the buttons Pause, Stop and save, Cancel, which show their actions."""

    def __init__(self, run: CleaningRun, actions: Actions) -> None:
        super().__init__()
        self.setProperty("card", True)
        self._run = run
        self.title = ElidedLabel("", "heading")
        self.details = ElidedLabel("", "caption")
        self.details.setFont(theme.figure_font(theme.FONT_POINTS - 1))
        self.throughput = named(Label("", "caption"), "Throughput")
        self.throughput.setFont(theme.figure_font(theme.FONT_POINTS - 1))
        self.notice = ElidedLabel("", "caption")
        self.notice.setMinimumWidth(1)  # the title comes first
        self.bar = named(QProgressBar(textVisible=False), "Progress of the run")
        self.pause = QPushButton()
        self.stop = QPushButton(theme.icon("save"), "")
        self.cancel = QPushButton()
        self.cancel.setProperty("danger", True)
        self.buttons = (self.pause, self.stop, self.cancel)
        self._pause_action = actions["clean.pause"]
        bind(self.pause, self._pause_action, text=True, icon=True)
        bind(self.stop, actions["clean.stop"], text=True)
        bind(self.cancel, actions["clean.cancel"], text=True)
        words = row(self.title, (self.notice, 1), spacing=theme.SPACE_L)
        buttons = row(*self.buttons, spacing=theme.SPACE_S)
        self._head = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        self._head.setSpacing(theme.SPACE_S)
        self._head.addLayout(words, 1)
        self._head.addLayout(buttons)
        column(
            self._head, self.bar, row((self.details, 1), self.throughput), of=self,
            margins="card",
            spacing=theme.SPACE_S,
        )  # fmt: skip
        run.began.connect(self._on_began)
        run.progressed.connect(self.show_progress)
        run.changed.connect(self.show_run)
        self.show_run()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """The buttons stand below the title where there is no room beside it."""
        super().resizeEvent(event)
        wide, ways = self.width() >= theme.px(_WIDE), QBoxLayout.Direction
        self._head.setDirection(ways.LeftToRight if wide else ways.TopToBottom)
        self.notice.setVisible(self.width() >= theme.px(_WIDEST))
        policy = self.cancel.sizePolicy()
        policy.setRetainSizeWhenHidden(wide)  # a separate line takes no room while hidden
        self.cancel.setSizePolicy(policy)

    def show_run(self) -> None:
        """Show how the run stands, apart from its progress."""
        run = self._run
        self.title.setText(run.headline)
        self.notice.setText(run.notice)
        self.title.explain(run.notice)
        for button in (self.pause, self.stop):  # an estimate can only be cancelled
            button.setVisible(run.is_cleaning)
        self.cancel.setVisible(run.is_running)
        paused = run.state == "paused"
        self._pause_action.setText("Res&ume" if paused else "&Pause")
        self._pause_action.setIcon(theme.icon("play" if paused else "pause"))
        if not run.is_running:
            self.details.setText(run.details)
            self.details.setVisible(bool(run.details))
            self.throughput.hide()
            self.bar.hide()

    def show_progress(self, progress: Progress) -> None:
        """Show stage and throughput; share and time left of the whole job or chain."""
        task, chain = self._run.task, self._run.chain
        self.bar.setValue(round(1000 * task.fraction))
        words = progress_text(progress, task.seconds_left, task.kind)
        if chain is not None and chain.place:
            words = f"{chain.place}: {words}"
            if words.endswith("left") and chain.may_go_on:
                words += " if no further round follows"
        self.details.setText(words)
        unit = {"train": "examples", "texts": "texts"}.get(progress.stage, "images")
        rate = None if self._run.begins_again else progress.rate  # a scan counts other things
        self.throughput.setText(f"{rate:.0f} {unit} a second" if rate else "")
        self.bar.setAccessibleDescription(self.details.text())

    def _on_began(self) -> None:
        self.details.setText("Starting…")
        self.details.show()
        self.throughput.setText("")
        self.throughput.show()
        self.bar.setRange(0, 1000)
        self.bar.setValue(0)
        self.bar.show()


def progress_text(
    progress: Progress, seconds_left: float | None = None, kind: str = "clean"
) -> str:
    """A stage in words, with what is done of it, and how long the whole job still takes."""
    key, _, rest = progress.stage.partition(" ")
    key = key.rstrip(",")
    name = JOBS[kind].stages.get(key) or TITLES.get(key, progress.stage.capitalize())
    rest = rest.replace("heldout", "held-out style")
    parts = [f"{name} {rest}".strip() if rest else name]
    if progress.total > 1:
        parts.append(f"{count_text(progress.done)} of {count_text(progress.total)}")
    return " · ".join([*parts, *filter(None, [left_text(seconds_left)])])
