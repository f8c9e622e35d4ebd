"""A file dropped anywhere on the window: what it is for, and who opens it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from PySide6.QtCore import QEvent, QMimeData, QObject
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QLineEdit

from ml_core.jobs.audit_spec import AUDIT_FILE
from ml_core.jobs.specs import RESULT_FILE, SPEC_FILE
from ml_core.reading.images import IMAGE_SUFFIXES
from ml_core.reading.regular_file import read_file

if TYPE_CHECKING:
    from cleanclip_gui.main_window import MainWindow

_CONFIGS = ("open_clip_config.json", "config.json")
_TRIGGERS = (".json", ".npy", ".npz")
_TORCH_TAR = (b"sys_info", b"pickle", b"storages", b"tensors")
_WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")


class Drops(QObject):
    """Takes what no widget of the window wants for itself."""

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self._window = window
        window.setAcceptDrops(True)
        window.installEventFilter(self)
        for field in window.findChildren(QLineEdit):
            field.setAcceptDrops(False)  # it would write down the file's address

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Take local files, and show on the welcome page that they can be dropped."""
        kind = event.type()
        if kind == QEvent.Type.DragEnter:
            entered = cast(QDragEnterEvent, event)
            if local_paths(entered.mimeData()):
                entered.acceptProposedAction()
                self._window.welcome.set_dropping(True)
        elif kind == QEvent.Type.DragLeave:
            self._window.welcome.set_dropping(False)
        elif kind == QEvent.Type.Drop:
            self._window.welcome.set_dropping(False)
            dropped = cast(QDropEvent, event)
            for path in local_paths(dropped.mimeData())[:1]:
                dropped.acceptProposedAction()
                self.open(path)
        else:
            return super().eventFilter(watched, event)
        return True

    def open(self, path: Path) -> None:
        """Take a file for what it is: a trigger, images, a run, an audit or a checkpoint."""
        window, kind = self._window, purpose(path)
        if kind == "trigger":
            window.show_station("studio")
            window.studio.load_trigger(path)
        elif kind == "images":
            window.data_bar.open_path(path)
        elif kind == "audit":
            window.clean.auditing.open_saved(path if path.is_dir() else path.parent)
        elif kind == "run":
            window.resuming.offer(path)
        else:
            window.open_path(str(path))


def local_paths(mime: QMimeData) -> list[Path]:
    """Files and folders of this machine that are being dropped."""
    return [Path(url.toLocalFile()) for url in mime.urls() if url.isLocalFile()]


def purpose(path: Path) -> Literal["trigger", "images", "audit", "run", "checkpoint"]:
    """Pictures, arrays and JSON are triggers; tables, shards and picture folders are data.

    The rest are checkpoints; the folder of a run without a result is a run to resume, and that of
    an audit, or its record, an audit.
    """
    suffix = path.suffix.lower()
    if path.name == AUDIT_FILE and path.is_file() and (path.parent / SPEC_FILE).is_file():
        return "audit"
    if path.is_dir():
        if (path / AUDIT_FILE).is_file():
            return "audit"
        if (path / SPEC_FILE).is_file() and not (path / RESULT_FILE).exists():
            return "run"
        return "checkpoint" if _is_checkpoint(path) else "images"
    if suffix in IMAGE_SUFFIXES or suffix in _TRIGGERS:
        return "trigger"
    if suffix in (".csv", ".tsv", ".parquet") or (suffix == ".tar" and _is_shard(path)):
        return "images"
    return "checkpoint"


def _is_shard(path: Path) -> bool:
    """Whether a file is a tar archive, and not one of PyTorch's first format."""
    try:
        head = read_file(path, 512)
    except OSError:
        return False
    name = head[:100].split(b"\0")[0].removeprefix(b"./").split(b"/")[0]
    return head[257:262] == b"ustar" and name not in _TORCH_TAR


def _is_checkpoint(folder: Path) -> bool:
    """Whether a folder has a model's config, or weights in it."""
    if any((folder / name).exists() for name in _CONFIGS):
        return True
    return any(any(folder.glob(f"*{ending}")) for ending in _WEIGHTS)
