"""What is made of a record is made of it as it is read: whoever verifies has nothing else."""

from __future__ import annotations

import json
from pathlib import Path

from ml_core.reports.record import EVIDENCE_FILE, Evidence
from ml_core.reports.views import views
from ml_core.reports.write_bundle import write_bundle
from tests.evidence_samples import full


def test_the_views_of_a_bundle_are_those_of_the_record_that_is_read_back(tmp_path: Path) -> None:
    evidence, files = full()
    assert list(evidence.checkpoints) != sorted(evidence.checkpoints)  # the file's are sorted
    made = [view for view in views() if not view.asked]
    assert made
    files.pop(EVIDENCE_FILE)
    folder = write_bundle(evidence, files, tmp_path / "a.evidence", views=made)
    read_back = Evidence.model_validate(json.loads((folder / EVIDENCE_FILE).read_bytes()))
    there = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    for view in made:
        again = view.render(read_back, there.__getitem__)
        assert (folder / view.path).read_bytes() == again, view.path
