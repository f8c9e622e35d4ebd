"""What stays of a talk: a picture of each step, and a loop of the canvas while it is painted."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps
from PySide6.QtCore import QObject, QTimer, Signal
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QWidget

from cleanclip_gui import threads
from cleanclip_gui.jobs import tasks
from cleanclip_gui.widgets.text import plain
from ml_core.atomic import replace_files
from ml_core.reading.errors import InputError

FRAME_MS, MOST_FRAMES, _LARGEST = 125, 480, 640  # a minute of eight pictures a second


def step_name(number: int, title: str) -> str:
    """Name of the picture of a step, e.g. ``3-stick.png``."""
    word = "".join(letter if letter.isalnum() else "-" for letter in title.lower())[:40].strip("-")
    return f"{number}-{word or 'step'}.png"


def save_picture(window: QWidget, path: Path) -> None:
    """Write what a window shows as PNG.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    image = as_pillow(window.grab().toImage())
    out = BytesIO()
    image.save(out, "PNG", optimize=True)
    _write(path, out.getvalue())


def as_pillow(image: QImage) -> Image.Image:
    """A Qt image for Pillow, without transparency."""
    rgb = image.convertToFormat(QImage.Format.Format_RGB888)
    size, stride = (rgb.width(), rgb.height()), rgb.bytesPerLine()
    return Image.frombytes("RGB", size, bytes(rgb.constBits()), "raw", "RGB", stride)


def write_loop(frames: list[QImage], path: Path) -> None:
    """Write frames as a WebP that begins again at its end.

    Equal ones in a row are one, and all are as large as the first.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    pictures: list[Image.Image] = []
    durations: list[int] = []
    for frame in frames:
        picture = as_pillow(frame)
        picture.thumbnail((_LARGEST, _LARGEST))
        if pictures and picture.size != pictures[0].size:  # the window has changed its size
            picture = ImageOps.pad(picture, pictures[0].size)
        if pictures and pictures[-1].tobytes() == picture.tobytes():
            durations[-1] += FRAME_MS
        else:
            pictures.append(picture)
            durations.append(FRAME_MS)
    out = BytesIO()
    first, *rest = pictures
    first.save(
        out, "WEBP", save_all=True, append_images=rest, duration=durations, loop=0, quality=80,
        method=4,
    )  # fmt: skip
    _write(path, out.getvalue())


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_files({path: data})
    except OSError as error:
        raise InputError(
            f"{plain(path.name, 80)} could not be saved: {error.strerror or error}."
        ) from None


class CanvasLoop(QObject):
    """Takes pictures of a widget until it is stopped; ``saved(Path)`` and ``failed(InputError)``
    say how writing them ended; ``full``: no more are taken.
    """

    saved = Signal(object)
    failed = Signal(object)
    full = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._frames: list[QImage] = []
        self._widget: QWidget | None = None
        self._timer = QTimer(self, interval=FRAME_MS)
        self._timer.timeout.connect(self._take)

    @property
    def is_on(self) -> bool:
        """Whether pictures are being taken."""
        return self._timer.isActive()

    @property
    def has_frames(self) -> bool:
        """Whether there is something to write."""
        return bool(self._frames)

    def start(self, widget: QWidget) -> None:
        """Begin with the first picture at once."""
        self._widget, self._frames = widget, []
        self._timer.start()
        self._take()

    def stop(self) -> list[QImage]:
        """End it, and return what was taken."""
        self._timer.stop()
        frames, self._frames = self._frames, []
        return frames

    def write(self, frames: list[QImage], path: Path) -> None:
        """Write frames in the background."""

        def work(_: tasks.TaskControl) -> Path:
            write_loop(frames, path)
            return path

        tasks.run(work, self.saved.emit, self.failed.emit, closing_ms=threads.CLOSING_MS)

    def _take(self) -> None:
        if self._widget is None or not self._widget.isVisible():
            return
        self._frames.append(self._widget.grab().toImage())
        if len(self._frames) >= MOST_FRAMES:
            self._timer.stop()
            self.full.emit()
