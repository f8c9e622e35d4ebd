"""Command lines that are refused: exit code 3, one sentence, one JSON object, nothing written."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from PIL import Image

from ml_core.checkpoints.known import own_file
from ml_core.cli.app import run_command

REFUSED = [
    ("inspect", "Missing argument"),
    ("wash", "No such command"),
    ("inspect /no/such/file", "cannot be opened"),
    ("inspect ''", "the name is empty"),
    ("inspect ~nobody-here/file", "cannot be opened"),
    ("inspect m.safetensors --sarif", "choose one"),
    ("convert m.safetensors m.safetensors", "is the file to convert"),
    ("convert m.safetensors new.pt", "ends in .safetensors, or a folder"),
    ("convert m.safetensors new.pt --as-is", "end the name in .safetensors"),
    ("convert m.safetensors new.safetensors --head h.safetensors", "holds no linear head"),
    ("convert m.safetensors new.safetensors --head h.pt", "end the name in .safetensors"),
    ("convert m.safetensors nowhere/new.safetensors --as-is", "cannot be written"),
    ("convert m.safetensors m.safetensors/new.safetensors", "cannot be saved"),
    ("convert m.safetensors new.safetensors --as-is --donor d.pt", "leave --donor or --as-is out"),
    ("evaluate m.safetensors --images " + "x" * 300, "File name too long"),
    ("evaluate m.safetensors --images x.gif", "nor a WebDataset shard"),
    ("evaluate m.safetensors --images x.csv", "choose the image column among where, what"),
    ("evaluate m.safetensors --trigger x.png", "give --target"),
    ("evaluate m.safetensors --trigger T99 --target 1", "There is no trigger 'T99'"),
    ("evaluate m.safetensors --trigger x.png --target 1 --trigger-file y", "id of a published"),
    ("evaluate m.safetensors --precision fp8", "Unknown precision 'fp8'"),
    ("evaluate m.safetensors --train", "demo:train"),
    ("evaluate m.safetensors --images demo:tset", "no split 'tset'"),
    ("evaluate m.safetensors --trigger demo --target bananna", "no class 'bananna'"),
    ("evaluate m.safetensors --n 0", "must be at least 1"),
    ("evaluate m.safetensors --keep x.csv", "is not empty"),
    ("explain m.safetensors --compare '' -o map.csv", "the name is empty"),
    ("explain m.safetensors --donor hf-hub: -o a.png", "names no repository"),
    ("explain m.safetensors --method magic -o a.png", "Unknown method"),
    ("explain m.safetensors --method pca -o a.png", "ends in .csv, .json"),
    ("explain m.safetensors -o a.bmp", "ends in .png"),
    ("explain m.safetensors --compare y.pt -o a.png", "--compare needs"),
    ("explain m.safetensors --image 99999999 -o a.png", "only 4000 images"),
    ("explain m.safetensors --stage layer9 -o a.png", "no stage 'layer9'"),
    ("explain m.safetensors --method attention -o a.png", "choose Grad-CAM"),
    ("explain m.safetensors --patch 4 --stride 9 --method occlusion -o a.png", "do not cover"),
    ("doctor m.safetensors --forget", "Nothing is remembered"),
    ("doctor m.safetensors --forget --remember", "--forget cannot be combined"),
    ("audit m.safetensors -o out --by magic", "choose one of dao"),
    ("audit m.safetensors -o out --images nowhere", "There are no images at nowhere"),
    ("audit m.safetensors -o out --pairs nowhere.csv", "There are no pairs at nowhere.csv"),
    ("audit m.safetensors -o out --k 1", "--k"),
    ("audit m.safetensors -o out --k 128 --chunk-size 64", "Give a larger chunk"),
    ("scan m.safetensors --stages warp", "There is no stage 'warp'"),
    ("scan m.safetensors --stages ,", "No stage is named"),
    ("scan m.safetensors --held-out 100", "--held-out"),
    ("rates m.safetensors --method interpolate", "takes no training step"),
    ("rates m.safetensors --low 1e-3 --high 1e-4", "at least twice the lowest"),
    ("rates m.safetensors --labels cifar-10 --pairs demo", "choose labelled images"),
    ("rates m.safetensors --estimate -o out", "--estimate writes nothing"),
    ("rates m.safetensors --recipe r.json --method par", "--method cannot be combined with"),
    ("clean m.safetensors", "Name the checkpoint and an output folder"),
    ("clean --job x --pairs demo", "--pairs cannot be combined with --job"),
    ("clean m.safetensors --job x", "A checkpoint cannot be combined with --job"),
    ("clean --job x.json --resume", "There is no job file at x.json"),
    ("clean m.safetensors -o x.png/out --trigger demo", "Not a directory"),
    ("clean m.safetensors -o out --target banana --trigger T5", "one of T5a, T5b"),
    ("clean m.safetensors -o out --set lr", "--set takes NAME=VALUE"),
    ("clean m.safetensors -o out --pictures .", "--pictures names the folder of a COCO"),
    ("clean m.safetensors -o out --recipe none.json", "none.json"),
    ("clean m.safetensors -o out --processes 2", "goes with --export"),
    ("clean m.safetensors -o out --resume --overwrite", "--overwrite begins anew"),
    ("clean m.safetensors -o out --resume --minutes 3", "leave it out with --resume"),
    ("clean m.safetensors -o out --minutes 0", "--minutes takes a number above 0"),
    ("bench mmcl -o out --seeds a", "are not numbers"),
    ("bench mmcl -o out --seeds -1", "A seed is between 0"),
    ("bench mmcl:nope -o out", "Unknown preset"),
    ("bench mmcl -o out --steps 3", "--steps is for the rebound test"),
    ("bench mmcl -o out --other-labels cifar-10", "--other-labels is for the hold-outs"),
    ("plant m.safetensors -o out --trigger demo", "give --target"),
    ("plant m.safetensors -o out --target banana", "give --trigger, or --word"),
    ("plant m.safetensors -o out --target 1 --word cf --share abc", "--share takes a part"),
    ("plant m.safetensors -o out --target 1 --word cf --also demo", "--also takes TRIGGER:CLASS"),
    ("plant m.safetensors -o out --target 1 --word cf --share 1% --count 5", "exclude each other"),
    ("plant m.safetensors -o out --target 1 --word cf --labels cifar-10", "Name image-caption"),
    ("plant m.safetensors -o out --target 1 --word cf --curve 5,x", "are not numbers"),
    ("plant m.safetensors -o out --target 1 --word cf --resume --overwrite", "begins anew"),
    ("plant m.safetensors -o out --target 1 --word cf --curve 5 --count 5", "give no other"),
    ("why m.safetensors --trigger demo", "--trigger and --target"),
    ("search m.safetensors -o out --rates fast", "are not numbers"),
    ("search m.safetensors -o out --rates -1", "multiple of --peak-rate"),
    ("search m.safetensors -o out --methods nope", "Unknown method"),
    ("search m.safetensors -o out --reference c.pt", "need no reference"),
    ("search m.safetensors -o out --peak-rate 0", "--peak-rate takes a learning rate above 0"),
    ("prove . --no-rebound --no-holdouts", "Both proofs were turned off"),
    ("prove .", "There is no job file"),
    ("demo --method mmcl --set lr=7", "Learning rate (lr) should be less than or equal to 1"),
    ("demo --set lr=7", "name its --method, too"),
    ("report .", "Name the new folder or zip with -o"),
    ("verify nothing", "There is no bundle at"),
    ("verify . --images . --images .", "was given twice"),
    ("verify . --full --sample 3", "leave --sample out"),
    ("verify . --sample 0", "--sample"),
    ("known add", "Name the files to add"),
    ("known add --title t", "would match no file"),
    ("known add --title t --sha256 abc", "sha256"),
    ("known add --title t --name x* --ca 59", "less than or equal to 1"),
    ("known add --title t --name x* --asr nan", "asr"),
    ("known add x --sha256 " + "a" * 64, "not both"),
    ("known add empty", "There is no checkpoint in empty"),
    ("known add m.safetensors m.safetensors --title t", "--title names one file"),
    ("known show nothing", "No known file matches 'nothing'"),
    ("known show T19", "ViT-B/16 of Detect-CLIP, WaNet (T19). Name one."),
    ("known remove t", "None of your own entries"),
    ("triggers show T1 --mask m.npy", "--mask is for an array file"),
    ("triggers show T12", "badCLIP.jpg; give that file"),
    ("triggers show none.json", "There is no trigger file at none.json"),
    ("triggers show x.png --file y", "--file is for the id of a published trigger"),
]


@pytest.fixture
def here(tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a checkpoint, pictures and a table."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "m.safetensors").write_bytes(tiny_checkpoint.read_bytes())
    for name in ("x.png", "x.gif"):
        Image.new("RGB", (4, 4), "red").save(tmp_path / name)
    (tmp_path / "x.csv").write_text("where,what\nx.png,banana\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _files() -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in Path().iterdir()}


def _refused(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = _files()
    assert run_command([*arguments, "--json"]) == 3
    shown = capsys.readouterr()
    answer = json.loads(shown.out)
    assert answer["error_code"] in ("usage", "disk")
    assert words in answer["error"]
    assert words in " ".join(shown.err.split())
    assert "Traceback" not in shown.err
    assert _files() == before
    assert not own_file().exists()


@pytest.mark.parametrize(("line", "words"), REFUSED, ids=[line[:60] for line, _ in REFUSED])
def test_what_is_refused(line, words, here, capsys):
    _refused(shlex.split(line), words, capsys)
