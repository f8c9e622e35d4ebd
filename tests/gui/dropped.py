"""Who takes a file that is dropped on the window."""

from __future__ import annotations

from pathlib import Path

from cleanclip_gui.clean.resuming import is_audit, is_unfinished_run
from cleanclip_gui.data.data_bar import is_image_set
from cleanclip_gui.studio.trigger_files import is_trigger
from cleanclip_gui.widgets.name_filters import is_checkpoint_file, is_checkpoint_folder


def purpose(path: Path) -> str:
    """Asks in the order in which the window does."""
    asked = (
        ("audit", is_audit),
        ("run", is_unfinished_run),
        ("trigger", is_trigger),
        ("checkpoint", is_checkpoint_folder if path.is_dir() else is_checkpoint_file),
        ("images", is_image_set),
    )
    return next((name for name, takes in asked if takes(path)), "checkpoint")
