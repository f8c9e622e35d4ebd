"""Kinds of files in file dialogs, as :class:`QFileDialog` takes its name filters."""

from __future__ import annotations

ALL = "All files (*)"
CHECKPOINTS = f"Checkpoints (*.safetensors *.pt *.pth *.bin *.ckpt *.pkl *.npz *.zip *.tar);;{ALL}"
"""Checkpoints to open; what is not listed is opened all the same."""
SAFETENSORS = "safetensors (*.safetensors)"
"""A checkpoint to save."""
TABLES = "Tables (*.csv *.tsv)"
IMAGE_SETS = "Image sets (*.tar *.parquet)"
CLASS_LISTS = "Class lists (*.txt classes.py)"
CAPTION_PAIRS = f"Image-caption pairs (*.csv *.tsv *.json *.tar *.parquet);;{ALL}"
EXCLUSIONS = "Exclusions (*.json)"
NUMBERS = "CSV (*.csv);;JSON (*.json)"
"""Numbers to save."""
PICTURE_OR_NUMBERS = f"PNG (*.png);;{NUMBERS}"
"""A picture, or the numbers behind it, to save."""
