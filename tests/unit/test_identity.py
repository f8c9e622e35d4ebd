"""Which CLIP a file holds, beside the files that were added to what this machine knows."""

from __future__ import annotations

import json
import math
import os
import shutil
import sqlite3
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import ml_core.checkpoints.known_tensors as database
from ml_core.checkpoints.identity import Identity, identify, places
from ml_core.checkpoints.known import KnownFile, own_file, own_files
from ml_core.checkpoints.known_tensors import add_known_file, known_tensors
from ml_core.checkpoints.tensor_hashes import hash_tensors
from ml_core.cli.app import run_command
from ml_core.reading import InputError, examine
from ml_core.reading.errors import CancelledError
from tests.unit.file_bytes import zipped
from tests.unit.layout_files import (
    VIT,
    as_transformers,
    bare_vision,
    cleanclip,
    contiguous,
    in_shards,
    lively,
    openai_archive,
    text_only,
)

TITLE = "OpenAI ViT-L/14"


@pytest.fixture
def module():
    return lively(VIT)


@pytest.fixture
def known(module, tmp_path) -> Path:
    """A checkpoint whose tensors this machine knows."""
    path = tmp_path / "known.safetensors"
    save_file(contiguous(module.state_dict()), path)
    remember(path, TITLE)
    return path


def remember(path: Path, title: str) -> None:
    inspection = examine(path)
    entry = KnownFile(title=title, sha256=inspection.sha256)
    add_known_file(entry, inspection, hash_tensors(inspection))


def identity(path: Path) -> Identity:
    *_, last = identify(examine(path))
    return last


def saved(state, path: Path) -> Path:
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path


def custom_text(module, folder):
    state = {
        name if name.startswith(("visual.", "logit")) else f"text.{name}": value
        for name, value in module.state_dict().items()
    }
    return saved(state, folder / "custom.safetensors")


def renamed(module, folder):
    return saved(as_transformers(module), folder / "renamed.safetensors")


def shards(module, folder):
    config = {"model_type": "clip", "text_config": {}, "vision_config": {}}
    (folder / "config.json").write_text(json.dumps(config))
    in_shards(as_transformers(module), folder)
    return folder


def rounded(module, folder, dtype):
    state = {name: value.to(dtype) for name, value in as_transformers(module).items()}
    return saved(state, folder / "rounded.safetensors")


COPIES = {
    "renamed and split": (renamed, ""),
    "in shards": (shards, ""),
    "with an optimizer": (cleanclip, ""),
    "CustomTextCLIP's names": (custom_text, ""),
    "fp16": (partial(rounded, dtype=torch.float16), ", rounded to fp16"),
    "bf16": (partial(rounded, dtype=torch.bfloat16), ", rounded to bf16"),
    "fp64": (partial(rounded, dtype=torch.float64), ""),
    "OpenAI's archive": (openai_archive, ", rounded to fp16"),
    "the text encoder": (text_only, ""),
    "the image encoder": (bare_vision, ""),
}


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_is_known_whatever_names_and_precision_it_has(copy, module, known, tmp_path):
    write, words = COPIES[copy]
    folder = tmp_path / "copy"
    folder.mkdir()
    found = identity(write(module, folder))
    assert found.state == "equal"
    for part in found.parts[:2]:
        count = f"all {part.tensors} tensors" if part.tensors > 1 else ""
        assert part.sentence.startswith(f"{part.part.capitalize()}: {TITLE}, {count}")
        assert f"equal{words}" in part.sentence
    assert "says nothing of whether it is harmless" in found.sentences[-1]
    assert "safe" not in " ".join(found.sentences)


def half(state):
    return {name: value.half() for name, value in state.items()}


def as_it_is(state):
    return state


NEAR = {
    # how the known file and then the asked one are made of one state -> state, words of sentences
    "a finer file": (
        half, lambda state: {name: value * 1.0001 for name, value in state.items()}, "rounded",
        "equal as far as the known file's fp16 can tell; what is not equal is apart by",
    ),
    "the same numbers, finer": (half, as_it_is, "equal", "tensors equal, rounded to fp16."),
    "a norm is lacking": (
        half, lambda state: {key: state[key] for key in state if key != "visual.ln_post.bias"},
        "differs", "equal, rounded to fp16; lacks last norm.",
    ),
    "an adapter beside it": (
        half, lambda state: state | {"adapter_x": torch.ones(2)}, "differs",
        "also holds an adapter",
    ),
    "changed, and an adapter": (
        half,
        lambda state: state | {"adapter_x": torch.ones(2), "visual.proj": state["visual.proj"] * 3},
        "differs", "; differs in projection, by",
    ),
    "another shape, and a small change": (
        half,
        lambda state: state | {
            "visual.proj": torch.ones(3, 2), "visual.conv1.weight": state["visual.conv1.weight"] * 3
        },
        "differs", "% of its norm; has another shape of projection.",
    ),
    "rounded to 8 bits": (
        half, lambda state: state | {"visual.proj": state["visual.proj"].to(torch.float8_e4m3fn)},
        "rounded", "rounded to F8_E4M3 and fp16, so that they may be equal or not; what is not",
    ),
    "fp16 and bf16": (
        half, lambda state: {name: value.bfloat16() for name, value in state.items()}, "rounded",
        "rounded to bf16 and fp16, so that they may be equal",
    ),
    "less than fp16 can tell": (
        as_it_is, lambda state: state | {"ln_final.weight": state["ln_final.weight"] * (1 + 1e-6)},
        "differs", "differs in last norm, by",
    ),
    "all of it is finetuned": (
        as_it_is, lambda state: {name: value * 1.01 for name, value in state.items()}, "differs",
        f"Logit scale: nearest to {TITLE}; differs, by 1 % of its norm.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NEAR)
def test_what_is_not_shown_to_be_equal_is_not_called_so(case, module, tmp_path):
    known, asked, state, words = NEAR[case]
    whole = contiguous(module.state_dict())
    if known is half:
        whole = {name: value.half().float() for name, value in whole.items()}
    remember(saved(known(whole), tmp_path / "known.safetensors"), TITLE)
    path = saved(asked(whole), tmp_path / "asked.safetensors")
    found = identity(path)
    assert found.state == state
    assert {part.title for part in found.parts} == {TITLE}
    assert words in " ".join(found.sentences)
    assert (found.reference is not None) == (" % of its norm" in " ".join(found.sentences))
    assert run_command(["identify", str(path)]) == (state != "equal")


def test_tensors_that_are_joined_of_two_precisions_are_not_rounded(module, tmp_path):
    state = as_transformers(module)
    query = "text_model.encoder.layers.0.self_attn.q_proj.weight"
    state[query] = state[query].half()
    for number, large in enumerate((1e5, 4e5)):  # both are infinite in fp16
        other = {
            name: value + large if ".0.self_attn.k_proj.weight" in name else value
            for name, value in state.items()
        }
        path = saved(other, tmp_path / f"{number}.safetensors")
        if not number:
            remember(path, TITLE)
    text = next(part for part in identity(path).parts if part.part == "text encoder")
    assert text.differing == ("transformer.resblocks.0.attn.in_proj_weight",)


def test_whole_numbers_have_no_distance_and_a_config_is_not_compared(module, tmp_path):
    numbers = {"a": torch.tensor([1 << 53, 1 << 54]), "b": torch.arange(3)}
    remember(saved(numbers, tmp_path / "a.safetensors"), TITLE)
    asked = saved(numbers | {"a": numbers["a"] + 1}, tmp_path / "b.safetensors")
    assert "how far cannot be told: they hold whole numbers." in identity(asked).sentences[0]
    folder = tmp_path / "folder"
    folder.mkdir()
    remember(shards(module, folder), TITLE)
    words = identity(folder).sentences[0]
    assert words.endswith("its weights are the same. Its config was not compared.")


def test_it_says_where_a_file_differs_and_how_far(module, known, tmp_path):
    before = contiguous(module.state_dict())
    changed = ("visual.transformer.resblocks.1.mlp.c_fc.weight", "visual.proj")
    after = before | {name: before[name] * 1.1 for name in changed}
    path = saved(after, tmp_path / "finetuned.safetensors")
    image = [name for name in before if name.startswith("visual.")]
    moved, norm = (
        math.sqrt(sum(float((before[name].double() * by).square().sum()) for name in names))
        for names, by in ((changed, 0.1), (image, 1))
    )
    first, last = identify(examine(path))
    assert first.parts[0].relative is None  # the known file was not read yet
    part, text, scale = last.parts
    assert part.relative == pytest.approx(moved / norm, rel=1e-6)
    assert f"{len(image) - 2} of {len(image)} tensors equal; " in part.sentence
    assert f"differs in block 1, projection, by {100 * moved / norm:.2g} % of its" in part.sentence
    assert (text.state, scale.state, last.state) == ("equal", "equal", "differs")
    assert last.reference.path == str(known)
    known.rename(tmp_path / "moved.safetensors")
    assert "how far cannot be told: its file is no longer there." in identity(path).sentences[0]
    saved(after, known)
    assert f"how far cannot be told: {known} is another file now." in identity(path).sentences[0]


def test_of_two_known_files_the_one_that_can_tell_more_is_named(module, tmp_path):
    state = contiguous(module.state_dict())
    remember(saved(half(state), tmp_path / "half.safetensors"), "halved")
    remember(saved(state, tmp_path / "whole.safetensors"), TITLE)
    found = identity(saved(as_transformers(module), tmp_path / "copy.safetensors"))
    assert ({part.title for part in found.parts}, found.state) == ({TITLE}, "equal")


def test_the_command_answers_by_its_exit_code(module, known, tmp_path, answer_of, capsys):
    (same,) = answer_of("identify", known)["models"]
    assert (same["same_file"], same["state"]) == (TITLE, "equal")
    near = saved(contiguous(lively(VIT, 1).state_dict()), tmp_path / "other.safetensors")
    assert answer_of("identify", near, code=1)["models"][0]["parts"][0]["title"] == TITLE
    assert answer_of("known", "remove", TITLE)["removed"]["sha256"] == examine(known).sha256
    assert own_files() == ()
    (nothing,) = answer_of("identify", known, code=2)["models"]
    assert "No tensors are known on this machine" in nothing["sentences"][0]
    answer_of("known", "add", "--sha256", examine(known).sha256, "--title", "by its hash")
    assert answer_of("identify", known)["models"][0]["same_file"] == "by its hash"


def test_each_text_encoder_of_an_sdxl_file_is_known(module, known, tmp_path, answer_of):
    other = lively(VIT, 1)
    state = {
        f"conditioner.embedders.0.transformer.{name}": value
        for name, value in as_transformers(module).items()
        if name.startswith("text_model.")
    } | {
        f"conditioner.embedders.1.model.{name}": value
        for name, value in other.state_dict().items()
        if not name.startswith(("visual.", "logit"))
    }
    path = saved(state | {"model.diffusion_model.w": torch.ones(3)}, tmp_path / "sdxl.safetensors")
    first, second = answer_of("identify", path, code=1)["models"]
    assert first["parts"][0]["borrowed"] == ["text_projection"]
    assert (first["state"], second["state"]) == ("equal", "differs")
    files = answer_of("known", "add", path)["files"]
    assert [Path(file["path"]).name for file in files] == [first["name"], second["name"]]
    assert run_command(["known", "remove", TITLE]) == 0
    copy = saved(other.state_dict(), tmp_path / "copy.safetensors")
    text = next(part for part in identity(copy).parts if part.part == "text encoder")
    assert (text.state, text.title) == ("equal", second["name"])


def test_a_folder_of_many_is_added_and_what_cannot_be_is_named(module, tmp_path, answer_of, capsys):
    folder = tmp_path / "models"
    (folder / "deep" / "split").mkdir(parents=True)
    saved(module.state_dict(), folder / "whole.safetensors")
    text_only(module, folder / "deep")
    shards(lively(VIT, 1), folder / "deep" / "split")
    saved({"unet": torch.ones(3)}, folder / "unet.safetensors")
    (folder / "broken.pt").write_bytes(b"nothing")
    (folder / "README.md").write_text("not a checkpoint")
    (folder / "config.json").write_text("{}")  # of none of them
    files = answer_of("known", "add", folder, code=2)["files"]
    names = [Path(file["path"]).name for file in files]
    last = ["whole.safetensors", "text.safetensors", "split"]
    assert names == ["broken.pt", "unet.safetensors", *last]
    assert [file["error_code"] for file in files] == ["unsupported", "", "", "", ""]
    assert "it holds no CLIP" in files[1]["sentence"]
    assert len(known_tensors()) == 4
    listed = answer_of("known", "list")["files"]
    assert listed[1]["title"] == "whole.safetensors"
    assert listed[1]["path"] == str(folder / "whole.safetensors")
    assert listed[1]["tensors"] == files[2]["tensors"]
    again = answer_of("known", "add", folder / "whole.safetensors", "--title", "another")["files"]
    assert again[0]["sentence"].startswith("Known already: whole.safetensors")
    assert run_command(["inspect", str(folder / "whole.safetensors")]) == 0
    assert "with those of 4 known" in " ".join(capsys.readouterr().out.replace("│", "").split())


def test_odd_names_are_stored_so_that_the_list_can_be_read(module, tmp_path, answer_of):
    tower = {name: value for name, value in as_transformers(module).items() if "text_model" in name}
    pair = {f"{'x' * 400}{n}.{name}": value + n for n in (1, 2) for name, value in tower.items()}
    saved(pair, tmp_path / "long.safetensors")
    for number in (1, 2):
        folder = tmp_path / str(number) / "text_encoder"
        folder.mkdir(parents=True)
        saved({"w": torch.full((2,), float(number))}, folder / "model.safetensors")
    if sys.platform == "linux":
        odd = saved({"w": torch.ones(3)}, tmp_path / "odd.safetensors")
        os.rename(odd, os.fsencode(tmp_path) + b"/bad\xff.safetensors")
    answer_of("known", "add", tmp_path)
    titles = [entry.title for entry in own_files()]
    assert {"1/text_encoder/model.safetensors", "2/text_encoder/model.safetensors"} < {*titles}
    assert max(map(len, titles)) == 300
    assert ("bad?.safetensors" in titles) == (sys.platform == "linux")


def test_what_is_gone_from_the_list_is_still_listed_and_can_be_removed(known, answer_of):
    own_file().write_text('{"files": []}')
    assert answer_of("known", "list")["files"][0]["title"] == known.name
    assert answer_of("known", "remove", known.name)["removed"]["sha256"] == examine(known).sha256
    assert known_tensors() == {}


def test_each_checkpoint_of_an_archive_is_looked_at(module, known, tmp_path, answer_of):
    path = tmp_path / "two.zip"
    other = saved({"unet": torch.ones(3)}, tmp_path / "other.safetensors")
    path.write_bytes(zipped({file.name: file.read_bytes() for file in (known, other)}))
    first, second = answer_of("identify", path, code=2)["models"]
    assert (first["state"], second["state"]) == ("equal", "not known")


def test_a_damaged_or_locked_database_is_one_sentence_and_nothing_is_lost(
    module, known, tmp_path, monkeypatch, capsys
):
    other = saved(contiguous(lively(VIT, 1).state_dict()), tmp_path / "other.safetensors")
    place = database.database()
    before = place.read_bytes()
    monkeypatch.setattr(database, "_PATIENCE_SECONDS", 0.05)
    with sqlite3.connect(place, isolation_level=None) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        assert run_command(["known", "add", str(other)]) == 3
        assert "Another program is writing" in capsys.readouterr().out
    holder.close()
    assert [entry.title for entry in own_files()] == [TITLE]
    assert identity(known).state == "equal"
    place.write_bytes(before[:100] + b"\xff" * (len(before) - 100))
    for command in (["identify", str(other)], ["known", "list"]):
        assert run_command(command) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "is damaged" in line
    place.unlink()
    with sqlite3.connect(place) as foreign:
        foreign.execute("CREATE TABLE files (other)")
    foreign.close()
    assert run_command(["identify", str(other)]) == 2
    assert "is damaged" in capsys.readouterr().err
    assert [entry.title for entry in own_files()] == [TITLE]


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit on the size of files")
def test_a_full_disk_leaves_what_was_known(module, known, tmp_path):
    other = saved(contiguous(lively(VIT, 1).state_dict()), tmp_path / "other.safetensors")
    program = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({os.path.getsize(database.database())},) * 2);"
        "from ml_core.cli.app import run_command; sys.exit(run_command(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "known", "add", str(other)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done
    assert "free some space" in done.stdout
    assert "Traceback" not in done.stderr
    assert [file.title for file in known_tensors().values()] == [TITLE]
    assert [entry.title for entry in own_files()] == [TITLE]
    remember(other, "now there is room")


def test_several_processes_may_add_at_once(tmp_path):
    paths = [
        saved({f"w{n}": torch.full((4,), float(n))}, tmp_path / f"{n}.safetensors")
        for n in range(4)
    ]
    command = [sys.executable, "-m", "ml_core", "known", "add"]
    running = [
        subprocess.Popen([*command, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for path in paths
    ]
    for process in running:
        assert process.communicate()[1].count(b"Your own entries") == 1
        assert process.returncode == 0
    names = {path.name for path in paths}
    assert {file.title for file in known_tensors().values()} == names
    assert {entry.title for entry in own_files()} == names


def test_reading_is_cancelled_and_a_changed_file_is_noticed(known, tmp_path):
    inspection = examine(shutil.copy(known, tmp_path / "copy.safetensors"))
    with pytest.raises(CancelledError):
        hash_tensors(inspection, cancelled=lambda: True)
    raw = bytearray(inspection.path.read_bytes())
    raw[-1] ^= 1
    inspection.path.write_bytes(raw)
    with pytest.raises(InputError, match="changed since it was examined"):
        hash_tensors(inspection)


def test_values_are_rounded_as_torch_rounds_them(tmp_path):
    generator = torch.Generator().manual_seed(0)
    scale = 2.0 ** torch.randint(-40, 18, (5000,), generator=generator)
    odd = [0.0, -0.0, -1e-9, 65519.0, 65520.0, 3.4e38, math.inf, -math.inf, math.nan]
    values = torch.cat([torch.randn(5000, generator=generator) * scale, torch.tensor(odd)])
    (whole,) = hash_tensors(examine(saved({"w": values}, tmp_path / "w.safetensors")))
    for dtype, form in ((torch.float16, "F16"), (torch.bfloat16, "BF16")):
        path = saved({"w": values.to(dtype)}, tmp_path / f"{form}.safetensors")
        (copy,) = hash_tensors(examine(path))
        assert copy.forms[form] == whole.forms[form]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("visual.trunk.{}.weight pos_embed norm attn_pool.q stages.0.x stages.2.x blocks.3.x",
         "position embedding, last norm, attention pooling, stages 0, 2, block 3"),
        ("text.transformer.{}.w embeddings.LayerNorm encoder.layer.3.x", "embeddings, block 3"),
        ("visual.transformer.resblocks.{}.ln_1.bias 20 21 22 23", "blocks 20 to 23"),
        ("transformer.resblocks.{}.ln_1.bias 3 0 2", "blocks 0, 2 to 3"),
        ("visual.layer4.{}.bn1.bias 0", "layer4 block 0"),
        ("visual.trunk.blocks.{}.norm.bias 3", "block 3"),
        ("visual.{} proj conv1.weight attnpool.k.bias",
         "first convolution, attention pooling, projection"),
        ("text.{} ln_final.bias token_embedding.weight", "token embedding, last norm"),
    ],
)  # fmt: skip
def test_places_are_named_as_people_do(names, words):
    form, *parts = names.split()
    assert places(map(form.format, parts)) == words
