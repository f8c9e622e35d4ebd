"""A talk's file: what it may say, and one sentence for what it may not."""

import json

import pytest

from cleanclip_gui.session import Session
from cleanclip_gui.talk.script import FIGURES, FORMAT, MAY_RUN, SHIPPED, Step, load, shipped
from ml_core.reading.errors import InputError
from tests.gui.factories import evaluation

STEP = {"title": "Flip", "station": "studio", "text": "ASR is {asr}."}


def write(path, *steps, **fields):
    path.write_text(json.dumps({"format": FORMAT, "title": "T", "steps": list(steps)} | fields))
    return path


def sentence(path):
    with pytest.raises(InputError) as caught:
        load(path)
    said = caught.value.sentence
    assert "\n" not in said
    assert len(said) < 900
    return said


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_talks_load_and_have_notes(name):
    talk = shipped(name)
    assert len(talk.steps) >= 7
    assert all(step.notes for step in talk.steps)


def test_figures_are_of_the_session_or_not_measured():
    step = Step(**STEP)
    session = Session()
    assert step.body(session) == "ASR is not measured."
    session.evaluation = evaluation(asr_excl=0.981)
    assert step.body(session) == "ASR is 98.1 %."
    for name, figure in FIGURES.items():
        assert isinstance(figure(Session()), str), name


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"text": "{nonsense}"}, "unknown figure {nonsense}"),
        ({"text": "{asr.__class__}"}, "a brace that is not around"),
        ({"ready": ["asr", "rain"]}, "unknown condition “rain”"),
        ({"run_if": "maybe"}, "unknown condition “maybe”"),
        ({"text": [{"when": "sunny", "say": "x"}]}, "unknown condition “sunny”"),
        ({"run": "file.quit"}, "names the command “file.quit”, which a talk does not run"),
        ({"prepare": "session.leave"}, "which a talk does not run"),
        ({"target": [{"widget": 3}]}, "target"),
    ],
)
def test_what_is_wrong_with_a_step_is_one_sentence_that_names_it(tmp_path, changes, words):
    said = sentence(write(tmp_path / "t.json", STEP, STEP | changes))
    assert said.startswith("Step 2 of t.json")
    assert words in said


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "not a talk"),
        (b'{"format": "other"}', "format"),
        (b'{"format": "cleanclip-talk-1", "title": "t", "steps": 5}', "steps"),
        (b" " * ((1 << 20) + 1), "too large"),
        (b'{"a":' * 50 + b"1" + b"}" * 50, "not a talk"),
    ],
)
def test_damaged_files(tmp_path, raw, words):
    (tmp_path / "t.json").write_bytes(raw)
    assert words in sentence(tmp_path / "t.json")


def test_nothing_that_opens_saves_or_deletes_is_run_by_a_talk():
    opening = {name for name in MAY_RUN if name.split(".")[0] in ("file", "session", "report")}
    assert opening == {"file.examine"}  # of the file that is open
    assert not {"scan.open", "clean.save", "trigger.save", "trigger.upload"} & MAY_RUN
