"""Where the model looks: the clean and the triggered picture side by side, one colour scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from PySide6.QtCore import QRectF, QSignalBlocker, Qt, QTimer
from PySide6.QtGui import QAccessible, QImage, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QCheckBox, QComboBox, QSlider

from cleanclip_gui import theme
from cleanclip_gui.inference.questions import Attribute, Failed, PredictionReady
from cleanclip_gui.station import Context
from cleanclip_gui.studio.pages.asking import AskingPage
from cleanclip_gui.theme import look
from cleanclip_gui.ticket import TicketProgress
from cleanclip_gui.widgets.controls import Label, named
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.name_filters import PICTURE_OR_NUMBERS
from cleanclip_gui.widgets.number_box import fill
from cleanclip_gui.widgets.painted import WRAPPED, Cells, Painted, Place
from cleanclip_gui.widgets.pictures import rgba_to_image
from cleanclip_gui.widgets.text import percent, plain, tip
from ml_core.evaluation.attribution_records import (
    METHOD_TITLES,
    Attribution,
    HeatMap,
    colours,
    overlay,
    patch_sides,
    places,
    save_attribution,
)
from ml_core.reading.errors import InputError

_GAP = 6  # pixels between the words of a scale
_SHARPEST = 448  # pixels of the overlay that is drawn; the screen scales it


class HeatOverlay(Cells):
    """A picture under its map; ``pointed`` is empty where the pointer is at no cell."""

    def __init__(self, title: str, empty: str) -> None:
        super().__init__(title, (280, 304), QAccessible.Role.Graphic, tall=True)
        self._title, self._empty = title, empty
        self._part: HeatMap | None = None
        self._peak, self._strength, self._smooth = 0.0, 0.6, True
        self._picture: QImage | None = None
        self.setAccessibleDescription(empty)
        self.setMinimumSize(theme.px(120), theme.px(140))

    @property
    def part(self) -> HeatMap | None:
        """The picture and map on show."""
        return self._part

    def show_part(self, part: HeatMap | None, peak: float, *, smooth: bool) -> None:
        """Show a picture with its map on a scale that ends at ``peak``."""
        self._part, self._peak, self._smooth = part, peak, smooth
        self.stale = False
        self._draw()

    def set_strength(self, strength: float) -> None:
        """0 shows the picture alone, 1 the map alone."""
        self._strength = strength
        self._draw()

    @property
    def shape(self) -> tuple[int, int]:
        """Those of the map."""
        return (0, 0) if self._part is None else self._part.values.shape

    def area(self) -> QRectF:
        """Where the picture is: a square, with a line above."""
        line = self.fontMetrics().height() + theme.SPACE_XS
        side = min(self.width() - 2, self.height() - line - 2)
        left = (self.width() - side) / 2
        return QRectF(left, line + max(0.0, (self.height() - line - side) / 2), side, side)

    def words(self, place: Place) -> str:
        assert self._part is not None
        value = float(self._part.values[place])
        return f"{self._title}, row {place[0] + 1}, column {place[1] + 1}: {value:.3g}"

    def describe(self) -> str:
        """The cell that is pointed at, or where the map is highest."""
        if self._part is None:
            return self._empty
        if self.at is not None:
            return self.words(self.at)
        values = self._part.values
        return f"Highest: {self.words(divmod(int(values.argmax()), values.shape[1]))}"

    def point_at(self, place: Place | None) -> None:
        super().point_at(place)
        if place is None:
            self.pointed.emit("")

    def _draw(self) -> None:
        part = self._part
        if part is None:
            self._picture = None
        else:
            pixels = overlay(
                part, self._peak, strength=self._strength, side=_SHARPEST, smooth=self._smooth
            )
            self._picture = rgba_to_image(pixels)
        self.at = None
        self.setAccessibleDescription(self.describe())
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Paint title, picture and the cell that is pointed at."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        square = self.area()
        head = QRectF(square.left(), 0, square.width(), square.top() - theme.SPACE_XS)
        centred = Qt.AlignmentFlag.AlignBottom | Qt.AlignmentFlag.AlignHCenter
        self.write(painter, head, self._title, centred, muted=True)
        if self._picture is None:
            painter.setPen(QPen(theme.colour("border"), 1, Qt.PenStyle.DashLine))
            painter.setBrush(theme.colour("sunken"))
            painter.drawRoundedRect(square, 6, 6)
            painter.setPen(look.text_colour(self, muted=True))
            painter.drawText(square.adjusted(16, 16, -16, -16), int(WRAPPED), self._empty)
            self.paint_focus(painter, square)
            return
        painter.setOpacity(0.45 if self.stale else 1.0)
        painter.drawImage(square, self._picture)
        painter.setOpacity(1.0)
        painter.setPen(QPen(theme.colour("border"), 1))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRect(square)
        self.paint_focus(painter, square)
        if self.at is not None:
            for colour, width in (("surface", 3), ("text", 1)):
                painter.setPen(QPen(theme.colour(colour), width))
                painter.drawRect(self.cell(self.at))


class HeatScale(Painted):
    """The colours from the lowest to the highest value, with both written beside."""

    def __init__(self) -> None:
        super().__init__("Colour scale", (240, 30), QAccessible.Role.Graphic)
        self._low = self._high = 0.0
        self._unit = ""

    def set_range(self, low: float, high: float, unit: str) -> None:
        """Show a scale; of 0 to 0 nothing."""
        self._low, self._high, self._unit = low, high, plain(unit, 60)
        self.setAccessibleDescription("from {} to {}".format(*self.ends()) + f" {self._unit}")
        self.setToolTip(tip(self._unit))
        self.update()

    def ends(self) -> tuple[str, str]:
        """The lowest and the highest value."""
        return f"{self._low:.3g}", f"{self._high:.3g}"

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Paint bar and ends."""
        if self._high <= self._low:
            return
        painter = QPainter(self)
        values = np.linspace(self._low, self._high, 256, dtype=np.float32)[None]
        bar = QRectF(0, 0, self.width(), 10)
        painter.drawImage(bar, rgba_to_image(colours(values, max(self._high, -self._low))))
        painter.setPen(QPen(theme.colour("border"), 1))
        painter.drawRect(bar.adjusted(0, 0, -1, 0))
        words = QRectF(0, 12, self.width(), self.height() - 12)
        write = partial(self.write, painter, size=0.9, muted=True)
        low, high = self.ends()
        beside = 2 * max(
            write(words, low, Qt.AlignmentFlag.AlignLeft),
            write(words, high, Qt.AlignmentFlag.AlignRight),
        )
        between = words.adjusted(beside / 2 + _GAP, 0, -beside / 2 - _GAP, 0)
        write(between, self._unit, Qt.AlignmentFlag.AlignHCenter)


CLASSES: tuple[tuple[str, str], ...] = (
    ("target", "Target class"),
    ("triggered", "Predicted with the trigger"),
    ("clean", "Predicted without it"),
    ("label", "True label"),
)
_UNITS = {
    "grad-cam": "logits per activation",
    "attention": "relevance",
    "occlusion": "logits lost when covered",
}
_USUAL_STAGE = None, "Usual stage (default)"
_SETTLE_MS = 200
_QUICK_S, _COARSE = 2.0, 4
_HINT = "Point at a cell, or use the arrow keys, to read its value."


class AttributionPage(AskingPage):
    """Asks while it is the page on show, soon after each change; a slow occlusion on request only.

    An occlusion comes first where it is quick: it points at the trigger where Grad-CAM's few cells
    do not.

    Parameters
    ----------
    context
        Asks the models.
    rate
        How many images a second the model takes, clean and triggered; 0 while it is not known.
    """

    what = "Attribution"
    measures = "Measure", "Cover the picture patch by patch and ask the model each time"
    saves = "Save the maps", "Save the maps as PNG, CSV or JSON"
    hint = _HINT

    def __init__(self, context: Context, rate: Callable[[], float]) -> None:
        super().__init__(context)
        self._rate = rate
        self._method_chosen = False
        self._top1: dict[str, int] = {}  # of the selected image, "clean" and "triggered"
        self._timer = QTimer(self, singleShot=True, interval=_SETTLE_MS)
        self._timer.timeout.connect(self._ask)
        self.attribution: Attribution | None = None
        self.method = fill(named(QComboBox(), "Method"), METHOD_TITLES.items())
        self.explained = fill(named(QComboBox(), "Class to explain"), CLASSES)
        self.stage = fill(named(QComboBox(), "Convolution stage"), [_USUAL_STAGE])
        for box in (self.stage, self.method):
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.clean = HeatOverlay("Without trigger", "Open a checkpoint and images.")
        self.triggered = HeatOverlay("With trigger", "Put a trigger on the picture.")
        self.scale = HeatScale()
        policy = self.scale.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self.scale.setSizePolicy(policy)
        words = "Strength of the map over the picture"
        self.strength = named(QSlider(Qt.Orientation.Horizontal), words, words)
        self.strength.setRange(0, 100)
        self.strength.setValue(60)
        self.strength.setFixedWidth(theme.px(110))
        self.shared = QCheckBox("Same scale for both")
        self.shared.setChecked(True)
        self.shared.setToolTip("Both maps on one colour scale; without it each has its own")
        self._lay_out()
        self._connect()
        self.set_busy(None)
        self.set_methods(("grad-cam", "occlusion"))

    def _lay_out(self) -> None:
        head = FoldingRow((self.method, self.stage), (self.explained, self.measure, self.save))
        maps = row((self.clean, 1), (self.triggered, 1), spacing=theme.SPACE_M)
        strength = row(Label("Strength", "caption"), self.strength, spacing=theme.SPACE_S)
        scale = row((self.scale, 1), self.shared, strength, spacing=theme.SPACE_M)
        column(
            head, self.says, (maps, 1), scale, self.readout, self.busy,
            of=self, margins=(0, theme.SPACE_S, 0, 0), spacing=theme.SPACE_S,
        )  # fmt: skip

    def _connect(self) -> None:
        self.method.currentIndexChanged.connect(self._on_method_changed)
        self.explained.currentIndexChanged.connect(self.touch)
        self.stage.currentIndexChanged.connect(self.touch)
        self.shared.toggled.connect(self._show_maps)
        self.strength.valueChanged.connect(self._on_strength_changed)
        self.clean.pointed.connect(self._on_pointed)
        self.triggered.pointed.connect(self._on_pointed)
        self._follow(self._on_question_change, "trigger", "target")
        self._follow(self._on_image_change, "selected_image")
        self._follow(self._on_model_change, "checkpoint", "images", "role", "cleaned")

    # What is asked

    def touch(self, *_: object) -> None:
        """What is explained has changed, or the page has: ask again soon, if it is on show."""
        if self.isHidden() or not self._session.can_measure:
            return
        self._prefer_method()
        self.set_stale(True)
        if self.asks_by_itself:
            self._timer.start()

    def follow_prediction(self, result: PredictionReady, older: bool) -> None:
        """Learn what the selected image is predicted as; ``older``: of an older trigger."""
        if older or result.clean_probs is None:
            return
        before = self._class_index()
        self._top1 = {"clean": int(result.clean_probs.argmax())}
        if result.triggered_probs is not None:
            self._top1["triggered"] = int(result.triggered_probs.argmax())
        if self._class_index() != before:
            self.touch()

    def _ask(self) -> None:
        self._timer.stop()
        session, explained = self._session, self._class_index()
        if not session.can_measure or explained is None:
            return
        self.set_busy(0.0 if not self.asks_by_itself else None)
        question = Attribute(
            session.selected_image, explained, session.trigger, session.role,
            self.method.currentData(), self.stage.currentData(),
        )  # fmt: skip
        self._ask_models(question, self._on_attributed)

    def _class_index(self) -> int | None:
        """The class that the user wants explained; the target where that is not known."""
        session, name = self._session, self.explained.currentData()
        images = session.images
        if images is None or not images.class_names:
            return None
        if name == "label" and images.labels[session.selected_image] >= 0:
            return int(images.labels[session.selected_image])
        return self._top1.get(name, session.target)

    def _on_question_change(self, *_: object) -> None:
        self._top1.pop("triggered", None)
        self.touch()

    def _on_image_change(self, *_: object) -> None:
        self._top1 = {}
        self.touch()

    def _on_model_change(self, *_: object) -> None:
        """Clear the page: nothing on it is of this model and these images any more."""
        self._timer.stop()
        self._top1 = {}
        self._on_cancelled()
        self.show_attribution(None)
        self.touch()

    def _on_progress(self, progress: TicketProgress) -> None:
        if progress.methods:
            self.set_methods(progress.methods)
        else:
            super()._on_progress(progress)

    def _on_attributed(self, attribution: Attribution) -> None:
        self.set_busy(None)
        self.show_attribution(attribution)
        self.set_stale(self._timer.isActive())

    def _on_failed(self, failed: Failed | InputError) -> None:
        self.show_attribution(None)
        super()._on_failed(failed)

    def _on_save_clicked(self) -> None:
        if self.attribution is not None:
            name = f"why-image-{self.attribution.index + 1}.png"
            write = partial(save_attribution, self.attribution)
            self._ask_and_save(name, PICTURE_OR_NUMBERS, write)

    # What is shown

    @property
    def asks_by_itself(self) -> bool:
        """Whether the chosen method is quick enough to follow every change."""
        return self.method.currentData() != "occlusion" or self._is_quick()

    def _is_quick(self) -> bool:
        """Whether an occlusion of this model takes less than two seconds."""
        facts, rate = self._session.shown, self._rate()
        if facts is None or rate <= 0:
            return False
        return occlusion_pictures(facts.image_size) / rate < _QUICK_S

    def _prefer_method(self) -> None:
        """Take an occlusion where it is quick, unless the user has chosen a method."""
        row = self.method.findData("occlusion")
        if not self._method_chosen and row >= 0 and self._is_quick():
            with QSignalBlocker(self.method):
                self.method.setCurrentIndex(row)
            self._show_controls()

    def set_methods(self, allowed: Sequence[str]) -> None:
        """Offer the methods that go with the model."""
        entries = [(key, METHOD_TITLES[key]) for key in allowed]  # type: ignore[index]
        fill(self.method, entries, self.method.currentData())
        self._show_controls()

    def show_attribution(self, attribution: Attribution | None) -> None:
        """Show an attribution; None shows empty places."""
        self.attribution = attribution
        self.save.setEnabled(attribution is not None)
        self._show_maps()
        self.says.setText("" if attribution is None else sentence(attribution))
        if attribution is not None and attribution.method == "grad-cam":
            self._offer_stages(attribution)

    def _show_maps(self, *_: object) -> None:
        attribution = self.attribution
        smooth = attribution is None or attribution.method != "occlusion"
        parts = {} if attribution is None else attribution.parts()
        for name, view in (("clean", self.clean), ("triggered", self.triggered)):
            part = parts.get(name)
            peak = 0.0 if attribution is None or part is None else attribution.peak
            if part is not None and not self.shared.isChecked():
                peak = part.peak
            view.show_part(part, peak, smooth=smooth)
        self.scale.setVisible(self.shared.isChecked())
        if attribution is None:
            self.scale.set_range(0, 0, "")
        else:
            low = -attribution.peak if attribution.signed else 0.0
            self.scale.set_range(low, attribution.peak, _UNITS[attribution.method])

    def set_stale(self, stale: bool) -> None:
        """Fade the maps while another question is asked."""
        self.clean.set_stale(stale)
        self.triggered.set_stale(stale)

    def _offer_stages(self, attribution: Attribution) -> None:
        stages: dict[str, int] = attribution.settings.get("stages", {})
        entries = [_USUAL_STAGE, *((name, f"{name}: {n} × {n}") for name, n in stages.items())]
        fill(self.stage, entries, self.stage.currentData())

    def _show_controls(self) -> None:
        self.stage.setVisible(self.method.currentData() == "grad-cam")
        self.measure.setVisible(not self.asks_by_itself)

    def _on_method_changed(self) -> None:
        self._method_chosen = True
        self._show_controls()
        self.touch()

    def _on_strength_changed(self, value: int) -> None:
        self.clean.set_strength(value / 100)
        self.triggered.set_strength(value / 100)

    def _on_pointed(self, text: str) -> None:
        self.readout.setText(text or _HINT)


def sentence(attribution: Attribution) -> str:
    """What the maps are of, and how sure the model is."""
    name = plain(attribution.class_name, 40)
    rows, columns = attribution.clean.values.shape
    text = f"For {name}, {attribution.layer}, {rows} × {columns} cells. "
    text += f"p({name}) = {percent(attribution.clean.probability)}"
    if attribution.triggered is not None:
        text += f" without the trigger, {percent(attribution.triggered.probability)} with it"
    coarse = " Too coarse to tell where: choose an earlier stage, or occlusion."
    return f"{text}.{coarse if min(rows, columns) < _COARSE else ''}"


def occlusion_pictures(size: int) -> int:
    """How many pictures an occlusion of the usual patches asks about, for an input of ``size``."""
    side, stride = patch_sides(size)
    return len(places(size, side, stride)) ** 2
