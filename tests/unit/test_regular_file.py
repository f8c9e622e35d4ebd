"""Whatever lies at a path is answered at once: only regular files are opened."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ml_core.atomic import replace_files
from ml_core.checkpoints import known
from ml_core.cleaning.recipes import read_recipe
from ml_core.cleaning.state import read_facts
from ml_core.data.labels import load_label_set
from ml_core.jobs.specs import read_spec
from ml_core.reading import read_header
from ml_core.reading.errors import InputError
from ml_core.reading.images import read_image
from ml_core.reading.regular_file import append_text, open_file, read_lines
from ml_core.reading.tables import read_columns
from ml_core.triggers import load_trigger
from ml_core.triggers.published import import_trigger

ROOT = Path(__file__).resolve().parents[2]
OWN_FILES = {
    "ml_core/atomic.py": "what it has made a moment ago, and folders",
    "ml_core/cli/__init__.py": "the null device",
    "ml_core/cli/output.py": "the program's log",
    "ml_core/data/canvas.py": "what it makes a moment later",
    "ml_core/data/readers/shard_index.py": "an open file of its cache, which was looked at",
    "ml_core/evaluation/tsne.py": "its temporary folder",
    "ml_core/evaluation/tsne_worker.py": "its temporary folder",
    "ml_core/cleaning/state.py": "safetensors opens the path that was examined before",
    "ml_core/jobs/worker.py": "the null device",
    "ml_core/reading/regular_file.py": "the door",
    "ml_core/reports/environment.py": "the kernel's own",
    "ml_core/reports/sessions/folder.py": "what it makes anew, for its owner alone",
    "ml_core/signing/keys.py": "what it makes anew, for its owner alone",
    "ml_core/reading/sandbox.py": "the kernel's own, and places that are not opened to be read",
    "ml_core/reading/worker.py": "the empty device, in the place of standard input",
}

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes"),
    pytest.mark.timeout(30),
]


@pytest.fixture
def pipe(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a named pipe whose other end nobody opens."""

    def make(name: str) -> Path:
        os.mkfifo(tmp_path / name)
        return tmp_path / name

    return make


@pytest.mark.parametrize("opening", [open_file, append_text])
def test_a_pipe_that_takes_a_files_place_is_told_at_once(opening, pipe, monkeypatch):
    path, file = pipe("x"), os.stat(__file__)
    monkeypatch.setattr(os, "stat", lambda *_args, **_options: file)
    with pytest.raises(OSError, match=r"named pipe|No such device"):
        opening(path)


READERS: list[tuple[str, Callable[[Path], object]]] = [
    ("t.json", load_trigger), ("t.png", load_trigger), ("t.png", read_image),
    ("t.png", import_trigger), ("t.npy", import_trigger), ("classes.txt", load_label_set),
    ("classes.txt", read_lines), ("pairs.csv", read_columns), ("spec.json", read_spec),
    ("recipe.json", read_recipe), ("state.safetensors", read_facts),
    ("m.safetensors", read_header), ("known.json", known._read),
]  # fmt: skip


@pytest.mark.parametrize(("name", "reading"), READERS)
def test_every_reader_answers_with_a_sentence(name, reading, pipe):
    with pytest.raises(InputError) as refusal:
        reading(pipe(name))
    assert name in refusal.value.sentence
    assert refusal.value.sentence.endswith(".")


def test_what_lies_where_a_file_is_written_is_not_opened(tmp_path, pipe):
    part = tmp_path / ".note.txt.part"
    pipe(part.name)
    os.utime(part, (0, 0))
    replace_files({tmp_path / "note.txt": b"new"})
    assert (tmp_path / "note.txt").read_bytes() == b"new"
    (tmp_path / "other").write_bytes(b"another's")
    part.symlink_to(tmp_path / "other")
    os.utime(part, (0, 0), follow_symlinks=False)
    replace_files({tmp_path / "note.txt": b"newer"})
    assert (tmp_path / "note.txt").read_bytes() == b"newer"
    assert not os.path.lexists(part)
    assert not (tmp_path / "note.txt").is_symlink()
    assert (tmp_path / "other").read_bytes() == b"another's"


_OPENING = re.compile(
    r"(?<![\w.`])(?<!def )open\(|\b(?:np\.load|np\.fromfile|safe_open|os\.open)\("
    r"|\.open\([^()]*[\"']r\+?b?[\"']|\.read_(?:text|bytes)\("
)


def test_paths_are_opened_at_the_one_door() -> None:
    assert [name for name in OWN_FILES if not (ROOT / name).is_file()] == []
    for package in ("ml_core", "cleanclip_gui"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            for line in path.read_text(encoding="utf-8").splitlines():
                opens = _OPENING.search(line) and "resource(" not in line  # shipped files
                assert name in OWN_FILES or not opens, f"{name}: use ml_core.reading.regular_file"
