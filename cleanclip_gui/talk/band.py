"""The band of a talk: what the model says of the picture, and the ASR, for the last row."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QFont, QFontMetricsF, QPainter, QPaintEvent
from PySide6.QtWidgets import QFrame, QWidget

from cleanclip_gui import theme
from cleanclip_gui.session import Session
from cleanclip_gui.session.records import JobState, RunProgress, is_live
from cleanclip_gui.talk.script import Recorded, measured, of_result
from cleanclip_gui.widgets.layout import row
from cleanclip_gui.widgets.text import NOT_MEASURED, percent, plain
from ml_core.detection.scan.records import TITLES

_ARROW = "\N{RIGHTWARDS ARROW}"


@dataclass(frozen=True)
class Large:
    """A few words in large type, what they are, and whether they are bad news."""

    words: str
    meaning: str
    alarming: bool = False


def facts(session: Session, recorded: Recorded | None = None) -> tuple[Large, Large]:
    """What stands at the left and at the right of the band, from the session or a recording."""
    if recorded is not None:
        return (
            Large("Recorded", "a result of an earlier run, not live"),
            Large(recorded.figure, f"recorded earlier: {recorded.made}"),
        )
    if session.station == "clean":
        return _of_cleaning(session)
    if job := session.jobs.get(session.station):
        return _of_job(job, session.job_progress.get(session.station)), _asr(session)
    return _prediction(session), _asr(session)


def _prediction(session: Session) -> Large:
    prediction = session.prediction
    if prediction is None:
        return Large("\N{EN DASH}", "no picture is classified yet")
    picture = f"picture {prediction.image + 1}"
    if prediction.triggered is None:
        return Large(plain(prediction.clean, 40), f"prediction for {picture}, no trigger")
    words = f"{plain(prediction.clean, 40)} {_ARROW} {plain(prediction.triggered, 40)}"
    flips = prediction.clean != prediction.triggered
    effect = "the trigger flips it" if flips else "the trigger changes nothing"
    return Large(words, f"prediction for {picture}: {effect}", flips)


def _asr(session: Session) -> Large:
    evaluation = measured(session)
    if evaluation is None and session.evaluation is not None:
        return Large("ASR \N{HORIZONTAL ELLIPSIS}", "attack success rate: being measured")
    if evaluation is None or evaluation.asr_excl is None:
        return Large(f"ASR {NOT_MEASURED}", "attack success rate: no trigger was measured")
    n = f"estimate, n = {evaluation.n_excl}" if evaluation.partial else f"n = {evaluation.n_excl}"
    of = "after cleaning" if session.role == "cleaned" else "attack success rate"
    meaning = f"{of}, {n}"
    return Large(f"ASR {_short(evaluation.asr_excl)}", meaning, evaluation.asr_excl >= 0.5)


def _of_cleaning(session: Session) -> tuple[Large, Large]:
    before, after = (of_result(session, when, "asr_excl") for when in ("before", "after"))
    ca = of_result(session, "after", "ca")
    if after is not None:
        was = NOT_MEASURED if before is None else _short(before)
        accuracy = Large(
            f"CA {NOT_MEASURED if ca is None else _short(ca)}", "clean accuracy after cleaning"
        )
        return accuracy, Large(f"ASR {was} {_ARROW} {_short(after)}", "before and after cleaning")
    if is_live(session.run):
        share = 0.0 if session.run_progress is None else session.run_progress.fraction
        return Large(f"Cleaning {100 * share:.0f} %", "in the background, live"), _asr(session)
    return _prediction(session), _asr(session)


def _of_job(job: JobState, progress: RunProgress | None) -> Large:
    if job.status == "running":
        share = 0.0 if progress is None else progress.fraction
        return Large(f"Searching {100 * share:.0f} %", "for a trigger that nobody named, live")
    if job.verdict == "found":
        return Large(f"Found: {plain(job.target, 40)}", "target class of a found trigger", True)
    if job.verdict is None:
        return Large("No result", "the scan ended early")
    return Large(TITLES[job.verdict], "the verdict of the scan")


def _short(rate: float) -> str:
    """Per cent without decimals, but never a false 0 or 100."""
    if 0.005 <= rate < 0.995 or rate in (0.0, 1.0):
        return f"{100 * rate:.0f} %"
    return percent(rate)


class _LargeText(QWidget):
    """Paints words as large as they fit, and below them what they are."""

    def __init__(self, name: str, align: Qt.AlignmentFlag) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self._align = align | Qt.AlignmentFlag.AlignVCenter
        self.large = Large("", "")

    def show_large(self, large: Large) -> None:
        """Show other words."""
        if large != self.large:
            self.large = large
            self.setAccessibleDescription(f"{large.words}, {large.meaning}")
            self.update()

    def _fitting(self, text: str, pixels: float, least: float, bold: bool) -> QFont:
        """A font no larger than so many pixels, in which the text fits the width."""
        font = theme.figure_font(10, bold=bold)
        font.setPixelSize(max(1, round(pixels)))
        wide = QFontMetricsF(font).horizontalAdvance(text)
        if wide > self.width() > 0:
            font.setPixelSize(max(1, round(max(least, pixels * self.width() / wide))))
        return font

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Two thirds for the words, a quarter for their meaning."""
        painter, height = QPainter(self), self.height()
        for text, top, share, bold, colour in (
            (self.large.words, 0.0, 0.7, True, "danger" if self.large.alarming else "text"),
            (self.large.meaning, 0.7, 0.3, False, "muted"),
        ):
            area = QRectF(0, top * height, self.width(), share * height)
            font = self._fitting(text, 0.78 * share * height, 0.34 * share * height, bold)
            painter.setFont(font)
            painter.setPen(theme.colour(colour))
            elided = QFontMetricsF(font).elidedText(text, Qt.TextElideMode.ElideRight, self.width())
            painter.drawText(area, int(self._align), elided)


class Band(QFrame):
    """Shows :func:`facts`, as high as an eighth of the window."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("talk.band")
        self.setProperty("bar", True)
        self.setAccessibleName("For the audience")
        self.left = _LargeText("Prediction", Qt.AlignmentFlag.AlignLeft)
        self.right = _LargeText("Attack success rate", Qt.AlignmentFlag.AlignRight)
        row(
            (self.left, 1), (self.right, 1),
            of=self, margins=(theme.SPACE_L, theme.SPACE_XS, theme.SPACE_L, theme.SPACE_XS),
            spacing=theme.SPACE_L,
        )  # fmt: skip

    def fit(self, height: int) -> None:
        """Be as high as a window of that height allows; type grows with it."""
        self.setFixedHeight(max(3 * self.fontMetrics().height(), height // 8))

    def show_facts(self, left: Large, right: Large) -> None:
        """Show other facts."""
        self.left.show_large(left)
        self.right.show_large(right)
