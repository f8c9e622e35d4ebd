"""Files that hold CLIPs beside other things: what is in them, and each part opened by itself."""

from __future__ import annotations

import copy
import json
import shutil
import zipfile
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.compare import compare_checkpoints
from ml_core.checkpoints.expected import check_tensors
from ml_core.checkpoints.inspection_record import part_records, parts_sentence
from ml_core.checkpoints.known import KnownFile, look_up
from ml_core.checkpoints.layouts import find_layout
from ml_core.cli.app import run_command
from ml_core.jobs.demo import demo_checkpoint
from ml_core.reading import InputError, Inspection, TensorInfo, examine, inspect
from ml_core.reading.folder import hash_of_shards
from ml_core.reading.inspect import is_there
from ml_core.reading.inspection import part_of
from ml_core.reading.parts import Part, PartNeeded, beside_parts, find_parts
from ml_core.signing.keys import new_key
from tests.unit.file_bytes import tarred, torch_bytes, zipped
from tests.unit.layout_files import (
    VIT,
    as_transformers,
    assert_equal,
    bare_safetensors,
    contiguous,
    in_shards,
    lively,
    theirs,
)

MODULE = lively(VIT, seed=7)
HF = {key: value for key, value in as_transformers(MODULE).items() if "position_ids" not in key}
UNET = {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(2)}
VAE = {"first_stage_model.encoder.conv_in.weight": torch.zeros(2)}
T5 = {
    "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q.weight": torch.zeros(2)
}
LLAMA = {"model.layers.0.self_attn.q_proj.weight": torch.zeros(2)}


def tower(start: str, prefix: str, *, flat: bool = False) -> dict[str, Tensor]:
    """One tower in the transformers library's names, without its projection."""
    return {
        prefix + (key.removeprefix(start) if flat else key): value
        for key, value in HF.items()
        if key.startswith(start)
    }


def native_text(prefix: str) -> dict[str, Tensor]:
    state = contiguous(MODULE.state_dict())
    return {prefix + key: value for key, value in state.items() if not key.startswith("visual.")}


TEXT, VISION = "text_model.", "vision_model."
SD3 = tower(TEXT, "text_encoders.clip_l.transformer.") | tower(
    TEXT, "text_encoders.clip_g.transformer."
)
SD3["text_encoders.clip_g.transformer.text_projection.weight"] = HF["text_projection.weight"]
KINDS: dict[str, tuple[dict[str, Tensor], tuple[tuple[str, str], ...], set[str]]] = {
    "SD 1": (
        tower(TEXT, "cond_stage_model.transformer.") | UNET | VAE,
        (("text_encoder", "text encoder"),), {"a UNet", "a VAE"}),
    "SD 1, older names": (
        tower(TEXT, "cond_stage_model.transformer.", flat=True) | UNET,
        (("text_encoder", "text encoder"),), {"a UNet"}),
    "SD 2": (
        native_text("cond_stage_model.model.") | UNET, (("text_encoder", "text encoder"),),
        {"a UNet"}),
    "SDXL": (
        tower(TEXT, "conditioner.embedders.0.transformer.")
        | native_text("conditioner.embedders.1.model.") | UNET | VAE,
        (("text_encoder", "text encoder"), ("text_encoder_2", "text encoder")),
        {"a UNet", "a VAE"}),
    "SD 3": (
        SD3 | T5 | {"model.diffusion_model.joint_blocks.0.x": torch.zeros(2)},
        (("clip_g", "text encoder"), ("clip_l", "text encoder")),
        {"a T5 text encoder", "a diffusion transformer"}),
    "Flux": (
        tower(TEXT, "text_encoders.clip_l.transformer.") | T5
        | {"double_blocks.0.img_attn.qkv.weight": torch.zeros(2)},
        (("clip_l", "text encoder"),), {"a T5 text encoder", "a diffusion transformer"}),
    "clip_l of ComfyUI": (tower(TEXT, ""), (("model", "text encoder"),), set()),
    "clip_vision of ComfyUI": (
        tower(VISION, "") | {"visual_projection.weight": HF["visual_projection.weight"]},
        (("model", "image encoder"),), set()),
    "LLaVA": (
        tower(VISION, "model.vision_tower.vision_tower.") | LLAMA
        | {"model.mm_projector.0.weight": torch.zeros(2)},
        (("vision_tower", "image encoder"),), {"a language model", "a projector"}),
    "LLaVA of transformers 5": (
        tower(VISION, "vision_tower.", flat=True)
        | {"language_model.lm_head.weight": torch.zeros(2)},
        (("vision_tower", "image encoder"),), {"a language model"}),
    "CLIPTextModel of transformers 5": (
        tower(TEXT, "", flat=True), (("model", "text encoder"),), set()),
    "a CLIP and its moving average": (
        contiguous(MODULE.state_dict(), "state_dict.")
        | contiguous(MODULE.state_dict(), "model_ema."),
        (("state_dict", "CLIP"), ("model_ema", "CLIP")), set()),
}  # fmt: skip


DONOR = lively(VIT, seed=3)


@pytest.fixture(scope="module")
def donor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bare_safetensors(DONOR, tmp_path_factory.mktemp("donor"))


def written(tensors: dict[str, Tensor], path: Path) -> Path:
    save_file({key: value.clone() for key, value in tensors.items()}, path)
    return path


def expected(part: Part) -> tuple[Tensor, Tensor]:
    """Embeddings of a part completed by the donor."""
    own = copy.deepcopy(MODULE)
    with torch.no_grad():
        if not any(
            key.endswith(("visual_projection.weight", "visual.proj")) for key in part.tensors
        ):
            own.visual.proj.copy_(DONOR.visual.proj)
        if not any("text_projection" in key for key in part.tensors):
            own.text_projection.copy_(DONOR.text_projection)
    image, text = (own if tower in part.towers else DONOR for tower in ("image", "text"))
    return theirs(image)[0], theirs(text)[1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_parts_of_a_file_open_each_by_itself(kind: str, donor: Path, tmp_path: Path) -> None:
    tensors, parts, beside = KINDS[kind]
    path = written(tensors, tmp_path / "file.safetensors")
    found = inspect(path)
    assert tuple((part.name, part.words) for part in found.parts) == parts
    assert set(beside_parts(tensors, found.parts)) == beside
    hashes = {found.sha256}
    assert len(found.parts) == 1 or inspect(f"{path}#{parts[1][0]}").part == parts[1][0]
    for part in found.parts:
        opened = open_checkpoint(f"{path}#{part.name}", donor)
        check_tensors(opened.architecture, opened.inspection)
        model = opened.build()
        assert_equal(model, expected(part))
        hashes.add(opened.inspection.sha256)
        assert len(part.towers) == 2 or "of the donor" in model.assumptions[0]
    assert len(hashes) == len(found.parts) + 1


def test_several_encoders_ask_which(donor: Path, tmp_path: Path, capsys, answer_of) -> None:
    path = written(KINDS["SDXL"][0], tmp_path / "sdxl.safetensors")
    words = r"2 models: text_encoder \(text encoder\) and text_encoder_2"
    with pytest.raises(PartNeeded, match=words):
        open_checkpoint(path)
    told = answer_of("inspect", path)
    assert told["architecture"]["needs_part"] == ["text_encoder", "text_encoder_2"]
    assert [part["tensors"] for part in told["parts"]] == [36, 30]
    assert told["beside"] == {"a UNet": 1, "a VAE": 1}
    listed = answer_of("inspect", path, "--parts")
    assert listed["parts"] == told["parts"]
    assert run_command(["inspect", str(path), "--part", "text_encoder_2"]) == 0
    assert "sdxl.safetensors, SHA-256" in capsys.readouterr().out
    error = answer_of("inspect", path, "--part", "vae", code=3)["error"]
    assert "its parts: text_encoder and" in error
    alone = answer_of("inspect", path, "--part", "text_encoder", "--projection-from", donor)
    assert "the projection" in alone["architecture"]["assumptions"][0]
    target = tmp_path / "open_clip.safetensors"
    answer_of("convert", f"{path}#text_encoder", target, "--donor", donor)
    assert_equal(open_checkpoint(target).build(), expected(inspect(path).parts[0]))


def test_the_same_encoder_in_two_pipelines_is_compared(tmp_path: Path, answer_of) -> None:
    first = written(KINDS["SDXL"][0], tmp_path / "sdxl.safetensors")
    second = written(KINDS["clip_l of ComfyUI"][0], tmp_path / "clip_l.safetensors")
    changes = list(compare_checkpoints(examine(f"{first}#text_encoder"), examine(second)))
    assert len(changes) == 28
    assert {change.state for change in changes} == {"equal"}
    assert "choose one of them" in answer_of("compare", first, second, code=2)["error"]


def test_a_projection_of_another_width_is_refused(tmp_path: Path) -> None:
    path = written(KINDS["SD 1"][0], tmp_path / "sd.safetensors")
    narrow = lively(VIT | {"text_cfg": VIT["text_cfg"] | {"width": 64, "heads": 1}})
    with pytest.raises(InputError, match="no projection of 128 features") as caught:
        open_checkpoint(path, bare_safetensors(narrow, tmp_path))
    assert caught.value.code == "usage"


def test_a_llava_folder_opens_its_vision_tower(donor: Path, tmp_path: Path) -> None:
    in_shards(KINDS["LLaVA"][0], tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llava"}))
    model = open_checkpoint(tmp_path, donor).build()
    assert_equal(model, expected(inspect(tmp_path).parts[0]))
    found = inspect(tmp_path)
    beside = beside_parts((tensor.name for tensor in found.tensors), found.parts)
    assert "beside it a language model" in parts_sentence(part_records(found), beside)


CONFIG = {"model_type": "clip_text_model", "hidden_act": "quick_gelu", "hidden_size": 128,
    "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 2,
    "max_position_embeddings": 16}  # fmt: skip
INDEX = {"_class_name": "X", "text_encoder": ["transformers", "CLIPTextModel"],
    "unet": ["diffusers", "UNet2DConditionModel"], "safety_checker": [None, None],
    "image_encoder": ["x", "CLIPModel"]}  # fmt: skip


def test_the_models_of_a_diffusers_folder(donor: Path, tmp_path: Path, answer_of) -> None:
    """It lies in the cache of the Hub, whose files are links; other links are not followed."""
    root = tmp_path / "models--a--b"
    pipeline, blobs = root / "snapshots" / "0123", root / "blobs"
    for folder in (pipeline / "text_encoder", pipeline / "unet", blobs):
        folder.mkdir(parents=True)
    written(tower(TEXT, ""), blobs / "weights")
    (blobs / "config").write_text(json.dumps(CONFIG))
    (pipeline / "text_encoder" / "model.safetensors").symlink_to("../../../blobs/weights")
    (pipeline / "text_encoder" / "config.json").symlink_to("../../../blobs/config")
    (pipeline / "unet" / "evil.py").write_text("")
    (pipeline / "model_index.json").write_text(json.dumps(INDEX))
    (pipeline / "image_encoder").symlink_to("/elsewhere")
    told = answer_of("inspect", pipeline)
    (member,) = told["members"]
    assert (member["name"], member["verdict"]) == ("text_encoder", "loads")
    assert "unet/evil.py" in told["reasons"][1]
    model = open_checkpoint(f"{pipeline}#text_encoder", donor).build()
    (part,) = inspect(pipeline / "text_encoder").parts
    assert_equal(model, expected(part))
    error = answer_of("convert", pipeline, tmp_path / "x", code=2)["error"]
    assert "text_encoder; choose one" in error


@pytest.mark.parametrize("pack", [partial(zipped, method=zipfile.ZIP_DEFLATED), tarred])
def test_an_archive_of_several_checkpoints_lists_them_and_opens_one(pack, tmp_path, answer_of):
    files = {
        name: torch_bytes({"state_dict": lively(VIT, seed=seed).state_dict()})
        for seed, name in enumerate(("clean/epoch_1.pt", "poisoned/epoch_2.pt"))
    }
    path = tmp_path / "published.zip"
    path.write_bytes(pack(files | {"evil.pt": b"cos\nsystem\n(S'true'\ntR."}))
    told = answer_of("inspect", path, code=1)
    assert [(each["name"], each["verdict"]) for each in told["members"]] == [
        ("clean/epoch_1.pt", "caution"),
        ("poisoned/epoch_2.pt", "caution"),
        ("evil.pt", "dangerous"),
    ]
    model = open_checkpoint(f"{path}#poisoned/epoch_2.pt").build()
    assert_equal(model, theirs(lively(VIT, seed=1)))
    assert is_there(f"{path}#poisoned/epoch_2.pt")
    assert examine(f"{path}#evil.pt").verdict == "dangerous"
    with pytest.raises(InputError, match="3 checkpoints"):
        open_checkpoint(f"{path}#none.pt")


def test_a_file_whose_name_has_a_mark_is_a_file(tmp_path: Path) -> None:
    path = bare_safetensors(MODULE, tmp_path).rename(tmp_path / "a#b.safetensors")
    assert inspect(path).verdict == "loads"
    assert examine(path).part == ""
    assert not is_there(tmp_path / "c#b.safetensors")
    shutil.copy(path, tmp_path / "a")
    with pytest.raises(InputError, match="both are there"):
        examine(path)


def test_rounded_numbers_are_said(donor: Path, tmp_path: Path) -> None:
    rounded = {key: value.to(torch.float8_e4m3fn) for key, value in tower(TEXT, "").items()}
    opened = open_checkpoint(written(rounded, tmp_path / "clip_l_fp8.safetensors"), donor)
    assert any("rounded to 8 bits" in sentence for sentence in opened.architecture.cautions)


def test_very_many_models_are_listed_in_part() -> None:
    """Each costs a search of the names: a hostile file may hold a hundred thousand."""
    names = [f"a{number}.visual.conv1.weight" for number in range(20_000)]
    assert len(find_parts(names)) == 64


def test_a_part_of_a_member_of_an_archive_opens(donor: Path, tmp_path: Path) -> None:
    archive = tmp_path / "nest.zip"
    files = {
        f"{kind}.safetensors": written(KINDS[kind][0], tmp_path / "x").read_bytes()
        for kind in ("SDXL", "SD 1")
    }
    archive.write_bytes(zipped(files))
    found = examine(f"{archive}#SDXL.safetensors#text_encoder")
    assert (found.source, found.part) == (archive, "SDXL.safetensors#text_encoder")
    assert_equal(open_checkpoint(found.path, donor).build(), expected(found.parts[0]))
    assert {found.sha256, found.file_sha256} != {found.file_sha256}


def test_a_signature_is_asked_of_an_archive_too(tmp_path: Path) -> None:
    archive = tmp_path / "two.zip"
    new_key("mine")
    raw = bare_safetensors(MODULE, tmp_path).read_bytes()
    archive.write_bytes(zipped({"a.safetensors": raw, "b.safetensors": raw}))
    assert run_command(["inspect", str(archive)]) == 0
    command = ["inspect", str(archive), "--require-signature", "mine"]
    assert run_command(command) == 1
    assert run_command([*command, "--parts"]) == 3


def test_a_language_model_beside_an_image_encoder_is_none_of_its_tensors(tmp_path: Path) -> None:
    language = {"model.text_model.layers.0.mlp.up_proj.weight": torch.zeros(2)}
    path = written(tower(VISION, "model.") | language, tmp_path / "idefics.safetensors")
    (part,) = inspect(path).parts
    assert part.words == "image encoder"
    assert beside_parts(language, (part,)) == {"a language model": 1}


def test_two_models_never_share_a_hash_through_their_names(tmp_path: Path) -> None:
    """A part's hash is of another line than that of a checkpoint in shards."""
    path = written(KINDS["SDXL"][0], tmp_path / "m.safetensors")
    part = examine(f"{path}#text_encoder")
    assert part.sha256 != hash_of_shards({"text_encoder": part.file_sha256})
    known = KnownFile(title="a poisoned SDXL", source="here", sha256=part.file_sha256)
    (match,) = look_up(part, "", [known])
    assert match.sentence.startswith("By its SHA-256 this is a part of a poisoned SDXL")


def test_the_checkpoint_of_a_run_is_not_written_over_through_a_part(tmp_path: Path) -> None:
    source = tmp_path / "cleaned.safetensors"
    shutil.copy(demo_checkpoint(), source)
    command = ["clean", f"{source}#model", "-o", str(tmp_path), "--pairs", "demo", "--overwrite"]
    before = source.read_bytes()
    assert run_command([*command, "--method", "mmcl"]) == 3
    assert source.read_bytes() == before


FRAGMENTS = [
    "visual.", "visual.conv1.weight", "visual.trunk.", "embeddings.class_embedding", "text_model.",
    "vision_model.", "embeddings.token_embedding.weight", "embeddings.patch_embedding.bias", "~2",
    "text_model.head.weight", "image_encoder.model.patch_emb.0.block.conv.weight",
    "token_embedding.weight", "ln_final.weight", "class_embedding", "conv1.weight", "transformer.",
    "conditioner.embedders.0.", "cond_stage_model.", "model.", "module.", "a#b.", ".", "vae.", "#",
]  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.sets(st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=5).map("".join)))
def test_whatever_the_names_each_tensor_is_of_one_part_that_its_address_finds(names):
    parts = find_parts(names)
    taken = [name for part in parts for name in part.tensors]
    assert len(taken) == len(set(taken)) <= len(names)
    assert all(name.startswith(part.prefix) for part in parts for name in part.tensors)
    assert all(part.towers and part.tensors for part in parts)
    titles = [part.name for part in parts]
    assert len(set(titles)) == len(titles)
    assert sum(beside_parts(names, parts).values()) == len(names) - len(taken)
    tensors = tuple(TensorInfo(name, "F32", (1,), 0, 4) for name in sorted(names))
    whole = Inspection(Path("f"), "f", 4, "0" * 64, "safetensors", "loads", "ok", (), tensors)
    for part in parts:
        assert {tensor.name for tensor in part_of(whole, part.name).tensors} == set(part.tensors)
    with suppress(InputError):
        assert find_layout(whole).towers
