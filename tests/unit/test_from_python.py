"""What a program calls, and the page and the notebook about it: their code is run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ml_core
from ml_core.data.specs import ImageSpec
from ml_core.paths import resource
from ml_core.reading import InputError
from ml_core.triggers import demo_trigger

DOCS = Path(__file__).parents[2] / "docs"
DEMO = resource("demo", "poisoned.safetensors")


def run(blocks, name):
    """Run blocks of code one after the other, as a notebook does; their names."""
    names = {"__name__": "__main__"}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{name}, block {number + 1}", "exec"), names)
    return names


def test_the_blocks_of_the_page_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = (DOCS / "from-python.md").read_text(encoding="utf-8")
    names = run(re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S), "from-python.md")
    shown = capsys.readouterr().out
    assert shown.startswith("loads ")
    assert "missing.safetensors cannot be opened" in shown
    assert names["measured"]["asr_excl"] > 0.9
    assert names["found"].stages.probes is not None
    assert names["run"]["after"]["asr_excl"] < names["run"]["before"]["asr_excl"]
    assert {check.state for check in names["checks"]} >= {"holds"}


def test_the_notebook_goes_from_a_file_to_a_cleaned_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = json.loads((DOCS / "from-a-file-to-a-cleaned-one.ipynb").read_text("utf-8"))["cells"]
    blocks = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert sum(len(block.splitlines()) for block in blocks) <= 65
    names = run(blocks, "notebook")
    assert names["after"]["asr_excl"] < 0.5 < names["before"]["asr_excl"]
    assert names["after"]["ca"] > 0.9
    model = ml_core.open_checkpoint(names["run"]["checkpoint"]).build()
    assert names["show"](model).size == (512, 288)


def test_what_is_not_used_is_not_imported():
    script = (
        "import sys, ml_core\n"
        "heavy = {'torch', 'pydantic', 'typer', 'rich', 'numpy'}\n"
        "assert not heavy & set(sys.modules)\n"
        f"assert ml_core.inspect({str(DEMO)!r})['verdict'] == 'loads'\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert not done.returncode, done.stderr


def test_a_trigger_of_ones_own_is_measured_as_its_file_is():
    few = ImageSpec(n=48)
    own = ml_core.evaluate(DEMO, images=few, trigger=demo_trigger(), target=2)
    assert (
        own["asr_excl"] == ml_core.evaluate(DEMO, images=few, trigger="demo", target=2)["asr_excl"]
    )


def test_without_a_target_nothing_is_said_about_one():
    events = []
    measured = ml_core.evaluate(DEMO, images=ImageSpec(n=48), progress=events.append)
    assert measured["target"] is None
    assert measured["baseline_target_rate"] is None
    assert [event.done for event in events if getattr(event, "stage", "") == "measure"][-1] == 48


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ml_core.inspect("nothing.pt"), "cannot be opened"),
        (lambda: ml_core.evaluate(DEMO, trigger="demo"), "give target"),
        (lambda: ml_core.evaluate(DEMO, device="gpu"), "device"),
        (lambda: ml_core.scan(DEMO, "out", starts=1), "starts"),
        (lambda: ml_core.clean(DEMO, "out", method="magic"), "Unknown method"),
        (lambda: ml_core.clean(DEMO, "out", settings={"lr": 7}), "less than or equal"),
        (lambda: ml_core.verify("nothing.evidence"), "nothing.evidence"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(call, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=words):
        call()
    with pytest.raises(AttributeError):
        ml_core.magic  # noqa: B018
