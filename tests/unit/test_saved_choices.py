"""What the doctor was told to remember is used and named, and never decides silently."""

from __future__ import annotations

import json
from typing import Any

import pytest
from safetensors.torch import load_file

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.choice import Choice, remember, remembered_file
from ml_core.cli.app import run_command
from ml_core.jobs.demo import demo_checkpoint
from ml_core.reading import InputError

NOTHING = (0.0, 0.0, 0.0)
ONE = (1.0, 1.0, 1.0)
CHOICE = Choice(mean=NOTHING, std=ONE, logit_scale=20.0, evidence="Chosen with the loader doctor.")


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not a table of remembered choices"),
        ('{"choices": []}', "has no table of choices"),
        ('{"choices": {"x": {"day": "2026-11-26", "name": "a"}}}', "x is no SHA-256"),
        ('{"choices": {"SHA": {"day": "soon", "name": "a"}}}', "day"),
        ('{"choices": {"SHA": {"day": "2026-11-26", "name": "a", "run": "rm"}}}', "run"),
        ('{"choices": {"SHA": {"day": "2026-11-26", "name": "a"}}}', "chooses nothing"),
        ('{"choices": {"SHA": {"day": "2026-11-26", "name": "a", "text_heads": 5}}}', "5 text"),
    ],
)
def test_what_cannot_be_used_is_said_and_left_alone(text, words, tiny_checkpoint):
    plain = open_checkpoint(tiny_checkpoint)
    text = text.replace("SHA", plain.inspection.sha256)
    remembered_file().write_text(text)
    opened = open_checkpoint(tiny_checkpoint)
    assert opened.remembered is None
    assert opened.architecture.config == plain.architecture.config
    (said,) = set(opened.architecture.assumptions) - set(plain.architecture.assumptions)
    assert said.startswith("The remembered settings were not used: ")
    assert words in said
    if words not in ("5 text", "chooses nothing"):
        with pytest.raises(InputError, match="correct it or remove"):
            remember("a" * 64, "x", CHOICE)
        assert remembered_file().read_text() == text


def test_the_command_line_remembers_and_forgets(tmp_path, capsys):
    tensors = load_file(demo_checkpoint())
    path = tmp_path / "bare.safetensors"
    from safetensors.torch import save_file

    save_file(tensors, path)
    images = ["--n", "60"]
    assert run_command(["doctor", str(path), *images, "--remember", "--json"]) == 0
    record = printed(capsys)
    assert record["remembered"]["evidence"] == record["choice"]["evidence"]
    assert run_command(["inspect", str(path), "--json"]) == 0
    told = printed(capsys)["architecture"]
    assert told["choice"] == record["remembered"]
    assert run_command(["inspect", str(path), "--json", "--no-choice"]) == 0
    assert printed(capsys)["architecture"]["choice"] is None
    evaluate = ["evaluate", str(path), "--n", "40", "--json"]
    assert run_command(evaluate) == 0
    found = printed(capsys)
    assert found["choice"] == record["remembered"]
    assert "as chosen by the loader doctor on" in found["assumptions"][0]
    assert run_command([*evaluate, "--no-choice"]) == 0
    assert printed(capsys)["choice"] is None
    assert run_command(["doctor", str(path), "--forget", "--json"]) == 0
    assert printed(capsys)["forgotten"] is True
    assert run_command(["doctor", str(path), "--forget"]) == 3
    assert "Nothing is remembered" in capsys.readouterr().err


def test_nothing_to_remember_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["doctor", str(demo_checkpoint()), "--n", "60", "--remember"]) == 3
    said = " ".join(capsys.readouterr().err.split())
    assert "No setting is significantly better" in said
    assert "there is nothing to remember" in said
    assert not remembered_file().exists()
