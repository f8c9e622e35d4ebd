"""Plug-ins: off unless switched on, then used and named; and what is said of a broken one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ml_core
from ml_core import plugins
from ml_core.cleaning.catalogue import METHODS
from ml_core.cli.app import run_command
from ml_core.detection.records import SCORES
from ml_core.paths import resource
from ml_core.reading import InputError
from ml_core.triggers import LIBRARY

ROOT = Path(__file__).parents[2]
DEMO = str(resource("demo", "poisoned.safetensors"))


def install(folder: Path, name: str, code: str, *entries: str) -> str:
    """Write an installed distribution of one module; its name."""
    (folder / f"{name}_module.py").write_text(code, encoding="utf-8")
    about = folder / f"{name}-2.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.0\n")
    lines = (
        f"[cleanclip.{group}]\nit = {name}_module:{what}\n"
        for group, what in map(str.split, entries)
    )
    (about / "entry_points.txt").write_text("".join(lines))
    return name


METHOD = """
from ml_core.cleaning.catalogue import MethodFacts
from ml_core.cleaning.plugin_methods import PluginMethod

def build(model, recipe, extras):
    from ml_core.cleaning.methods.contrastive import contrastive
    return contrastive(model, recipe, extras)

contrast = PluginMethod(
    "contrast", MethodFacts("Contrast", "The contrast alone.", "nobody"), build,
    fields=("lambda_clip", "lambda_image", "lambda_text"),
    quick={"pairs": 48, "batch_size": 8, "warmup_steps": 1, "lambda_image": 0.0,
           "lambda_text": 0.0, "eval_every": 0, "precision": "fp32"},
)
"""
# In a process of its own, since nothing unloads a plug-in.
USED = """
import sys
from ml_core.cli.app import run_command
from ml_core import clean, evaluate
from ml_core.cleaning.presets import preset_source
from ml_core.data.specs import ImageSpec
from ml_core.events import Control, Done
from ml_core.jobs.audit import AuditSpec
from ml_core.jobs.report import ReportSpec
from ml_core.jobs.runner import run_job
from ml_core.data.specs import PairSpec

tiny, few = "tiny.safetensors", ImageSpec(n=36)
assert not run_command(["triggers", "list"])
assert not {"cleanclip_example", "other_module"} & set(sys.modules)
assert not run_command(["--plugins", "cleanclip-example,other", "triggers", "show", "X1"])
named = {"plug-in cleanclip-example": "1.0", "plug-in other": "2.0"}

measured = evaluate(tiny, images=few, trigger="X1", target="banana", output="measured")
assert measured["trigger_name"] == "Checkers" and named.items() <= measured["versions"].items()

audit = AuditSpec(checkpoint=tiny, pairs=PairSpec(n=80), k=4, output_dir="audit")
done = [event for event in run_job(audit, Control())][-1]
assert done.status == "finished", done.error
assert named.items() <= done.result["facts"]["versions"].items()
assert "spectral" in done.result["worst"]

assert preset_source("contrast", "quick") == "Chosen by the author of the plug-in."
rate = {"lr": 1e-4}
run = clean(tiny, "run", method="contrast", preset="quick", settings=rate, test_images=few)
assert run["recipe"]["method"] == "contrast" and named.items() <= run["versions"].items()

report = ReportSpec(runs=("run",), measurements=("measured",), out="of.evidence")
done = [event for event in run_job(report, Control())][-1]
assert done.status == "finished", done.error
"""


@pytest.fixture(scope="module")
def used(tmp_path_factory, _tiny_bytes):
    """Folder in which the example and a method were installed and used."""
    folder = tmp_path_factory.mktemp("plugins")
    shutil.copytree(ROOT / "examples" / "plugin", folder / "source")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--target", folder / "site"]
    pip = [sys.executable, "-m", "pip", "install", "-q", *options, folder / "source"]
    subprocess.run(pip, check=True)
    install(folder / "site", "other", METHOD, "methods contrast")
    (folder / "tiny.safetensors").write_bytes(_tiny_bytes)
    done = subprocess.run(
        [sys.executable, "-c", USED], cwd=folder, capture_output=True, text=True,
        env={"PATH": "", "PYTHONPATH": f"{folder / 'site'}:{ROOT}", "CLEANCLIP_HOME": str(folder)},
    )  # fmt: skip
    assert not done.returncode, done.stderr
    return folder


def test_the_example_is_short():
    lines = (ROOT / "examples/plugin/cleanclip_example.py").read_text("utf-8").splitlines()
    assert len(lines) <= 60


def test_a_report_names_the_plugins_and_holds_without_them(used, capsys):
    record = json.loads((used / "of.evidence" / "evidence.json").read_text("utf-8"))
    notes = " ".join(record["notes"])
    assert "the plug-in cleanclip-example 1.0" in notes
    assert "the plug-in other 2.0" in notes
    machine = json.loads((used / "of.evidence" / "environment.json").read_text("utf-8"))
    assert machine["packages"]["cleanclip-example"] == "1.0"
    assert "X1" not in {entry.id for entry in LIBRARY}
    assert run_command(["verify", str(used / "of.evidence")]) == 0
    assert " 0 fail" in capsys.readouterr().out


def test_what_needs_a_plugin_says_so_without_it(used, capsys):
    assert run_command(["clean", "--job", str(used / "run"), "-o", str(used / "again")]) == 3
    assert "should be one of stamped" in capsys.readouterr().err
    from ml_core.detection.records import read_audit

    with pytest.raises(InputError, match="'spectral' is that of no plug-in that is switched on"):
        read_audit(used / "audit" / "audit.json")


@pytest.mark.parametrize(
    ("code", "entries", "words"),
    [
        ("", (), "offers no triggers, methods or detectors"),
        ("1 / 0", ("triggers it",), r"it \(broken_module:it\) failed with ZeroDivisionError"),
        ("import nowhere", ("detectors it",), "No module named 'nowhere'"),
        ("it = 7", ("triggers it",), "7 is no PublishedTrigger"),
        ("it = 7", ("methods it",), "7 is no PluginMethod"),
        ("it = 7", ("detectors it",), "7 is no Detector"),
        (
            "from ml_core.detection.records import SCORES, Detector\nit = Detector(SCORES[0], max)",
            ("detectors it",), "There is a score 'dao' already",
        ),
        (
            "from ml_core.triggers.library import LIBRARY as it\nit = it[0]",
            ("triggers it",), "There is a trigger 'T1' already",
        ),
        (
            METHOD.replace('"contrast", M', '"par", M'), ("methods contrast",),
            "There is a method 'par' already",
        ),
        (METHOD.replace('"pairs": 48', '"pairs": 0'), ("methods contrast",), "Training examples"),
    ],
)  # fmt: skip
def test_a_broken_plugin_ends_in_a_sentence(code, entries, words, tmp_path, monkeypatch):
    before = len(LIBRARY), len(METHODS), len(SCORES)
    install(tmp_path, "broken", code, *entries)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(plugins, "_active", {})
    monkeypatch.setattr(plugins, "_failed", {})
    monkeypatch.setenv(plugins.VARIABLE, "broken")
    with pytest.raises(InputError, match=words) as error:
        plugins.switch_on()
    assert "take it out of --plugins and CLEANCLIP_PLUGINS" in error.value.sentence
    with pytest.raises(InputError, match=words):  # a part of it may be there
        plugins.switch_on()
    assert (len(LIBRARY), len(METHODS), len(SCORES)) == before
    assert ("plug-in broken" in plugins.versions()) == bool(entries)  # its code was run
    sys.modules.pop("broken_module", None)


def test_a_name_that_is_not_installed_is_refused_everywhere(monkeypatch, capsys):
    monkeypatch.setenv(plugins.VARIABLE, "no-such-thing")
    sentence = "The plug-in no-such-thing is not installed here"
    assert run_command(["triggers", "list"]) == 3
    assert sentence in capsys.readouterr().err
    with pytest.raises(InputError, match=sentence):
        ml_core.evaluate(DEMO)
    worker = [sys.executable, "-m", "ml_core.jobs.worker", "job.json"]
    done = subprocess.run(worker, capture_output=True, text=True)
    assert sentence in done.stdout
    assert done.returncode == 3
