"""What is refused: the call, its code, and words of its one sentence, a table for each package."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.convert import convert_to_open_clip, convert_to_safetensors
from ml_core.checkpoints.hub import fetch
from ml_core.checkpoints.library_names import S0_MARK
from ml_core.checkpoints.write_safetensors import save_head
from ml_core.cleaning.halving import candidates_of
from ml_core.cleaning.presets import preset
from ml_core.cleaning.recipes import make_recipe, read_recipe, write_recipe
from ml_core.cleaning.state import read_facts
from ml_core.data.detect import detect
from ml_core.data.exclusions import read_exclusions, write_exclusions
from ml_core.data.images import open_images
from ml_core.data.labels import load_label_set, load_templates
from ml_core.data.pairs import open_pairs
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.evaluation.embedding_map import pca_map, principal_plane
from ml_core.evaluation.tsne import tsne_map
from ml_core.reading import InputError, inspect, read_image, read_lines
from ml_core.reading.class_file import read_class_file
from ml_core.reading.clip_config import check_model_config, check_preprocess
from ml_core.reading.tables import iter_rows, read_columns, resolver
from ml_core.triggers import (
    Trigger,
    badnets_patch,
    from_image,
    load_trigger,
    painted_layer,
    save_trigger,
)
from ml_core.triggers.published import import_trigger
from tests.unit.layout_files import VIT, as_transformers, bare_vision, contiguous, lively
from tests.unit.pair_files import pairs_of
from tests.unit.test_architectures import SIZES
from tests.unit.test_embedding_map import clouds
from tests.unit.test_reading import CONFIG
from tests.unit.test_trigger_arrays import npy, values
from tests.unit.test_trigger_files import array_trigger, mixed

Refuse = Callable[[Path], object]
Row = tuple[Refuse, str, str]


def rows(call: Callable[[Any, Path], object], code: str, *cases: tuple[Any, ...]) -> Iterator[Row]:
    """A row of the table for each input and its words, and its code where that is another."""
    for given, words, *other in cases:
        yield partial(call, given), other[0] if other else code, words


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# ---- reading ----


def class_file(text: str | bytes, folder: Path) -> object:
    return read_class_file(written(folder, "classes.py", text))


def changed(path: str, value: Any) -> dict[str, Any]:
    """The small config with another value at a place."""
    config: dict[str, Any] = json.loads(json.dumps(CONFIG))
    *parents, last = path.split(".")
    target = config
    for parent in parents:
        target = target[parent]
    target[last] = value
    return config


def config(change: tuple[str, Any], folder: Path) -> object:
    return check_model_config(changed(*change), "c.json")


def table(content: bytes, folder: Path) -> object:
    path = written(folder, "t.csv", content)
    return list(iter_rows(path, read_columns(path)))


def picture(content: bytes, folder: Path) -> object:
    return read_image(written(folder, "picture.png", content))


def png_header(width: int, height: int, kind: int) -> bytes:
    """A PNG of this size and kind of colour, of which no pixel is there."""

    def chunk(name: bytes, data: bytes = b"") -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    size = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT") + chunk(b"IEND")


def inside(text: str, folder: Path) -> object:
    (folder / "set" / "sub").mkdir(parents=True)
    return resolver(folder / "set")(text)


READING = (
    *rows(
        class_file, "unsupported",
        ("__import__('os').system('x')", "Line 1 .* not the table.* not evaluated"),
        ("{}", "missing"), ('{"classes": []}', "no classes"),
        ('{"classes": ["a"],\n "other": print("x")}', "Line 2 .* only"),
        ('{"classes": [open("x").read()]}', "plain text"),
        ('{"classes": ["a\\nb"]}', "control characters"),
        *(
            (f'{{"classes": ["a"], "templates": [{template}]}}', words)
            for template, words in {
                "print": "one f-string",
                'lambda c: f"{c.x}"': "class name and text only",
                'lambda c: f"{c:>9}"': "class name and text only",
                'lambda c: f"none"': "lacks the class name", 'lambda c: f"{{}} {c}"': "braces",
                'lambda c=exit(): f"{c}"': "one argument",
            }.items()
        ),
        ("""{"classes": ["a"], "superclasses": open('x')}""", "only"),
        ('{"classes": ["a",\n' + "'a'," * 310_000 + "1]}", "Line 2 .* more parts"),
        ("(" * 300_000, "it is not evaluated"),
    ),
    *rows(
        config, "unsupported",
        (("vision_cfg.layers", 10**9), "vision_cfg.layers is 1000000000"),
        (("vision_cfg.image_size", [64, 32]), "image_size"),
        (("text_cfg.output_tokens", True), "output_tokens"),
        (("surprise", 1), "surprise"),
        (("vision_cfg", {"layers": 200, "width": 16384, "image_size": 224}), r"6\.4e\+11 param"),
    ),
    *rows(
        config, "damaged",
        (("vision_cfg.width", 25), "odd width"), (("vision_cfg.image_size", 65), "multiple of 32"),
        (("vision_cfg.head_width", 16000), "0 attention heads"),
        (("text_cfg", []), "no text_cfg"), (("embed_dim", None), "no embed_dim"),
    ),
    *rows(
        lambda given, folder: check_preprocess(given, 64, "c"), "unsupported",
        ({"std": [1, 1, 0]}, "std"), ({"mode": "BGR"}, "mode"),
    ),
    (lambda f: inspect(f / "absent.safetensors"), "usage", "absent"),
    (partial(table, b"a,a\n1,2\n"), "damaged", "two columns called 'a'"),
    (lambda f: list(iter_rows(written(f, "t.csv", "x,y\n1,2\n"), ("z",))),
     "usage", "no column 'z'; its columns are x, y"),
    *rows(
        inside, "usage",
        *((text, "leads out of the table's folder") for text in (
            "sub/../../x.png", "/etc/passwd", "sub\\..\\..\\x.png",
        )),
        ("file:///etc/passwd", "is a URL"), ("C:a.png", "names a drive"),
        ("\\\\host\\share\\a.png", "a network path"),
    ),
    (lambda f: read_lines(written(f, "c.txt", b"cat\nd\x00g\n")),
     "damaged", "Line 2 of c.txt holds control"),
    *rows(
        picture, "unsupported",
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "picture.png is not a PNG"),
        (png_header(9000, 9000, 6), "over 300 MB to decode"),
        (png_header(20_000, 5001, 2), "100 megapixels"),
    ),
)  # fmt: skip


# ---- checkpoints ----


def opened(tensors: Mapping[str, torch.Tensor], folder: Path, **metadata: str) -> object:
    save_file(dict(tensors), folder / "x.safetensors", metadata or None)
    return open_checkpoint(folder / "x.safetensors")


def named(names: tuple[str, ...], folder: Path) -> object:
    return opened({name: torch.zeros(2, 2) for name in names}, folder)


def with_tensor(change: tuple[dict[str, Any], str, torch.Tensor], folder: Path) -> object:
    """A CLIP of this config with one tensor that is another."""
    config, name, tensor = change
    return opened(contiguous(lively(config).state_dict()) | {name: tensor}, folder)


def transformers(files: dict[str, Any], folder: Path) -> object:
    """A transformers folder with this config or this preprocessor."""
    save_file(as_transformers(lively(VIT)), folder / "model.safetensors")
    for name, record in ({"config": {"model_type": "clip"}} | files).items():
        (folder / f"{name}.json").write_text(json.dumps(record))
    return open_checkpoint(folder)


def tower_and_config(config: dict[str, Any], folder: Path) -> object:
    """An image encoder alone whose config says little."""
    model = folder / "model"
    model.mkdir()
    (model / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    state = contiguous(lively(VIT).visual.state_dict(), "visual.")
    save_file(state, model / "open_clip_model.safetensors")
    save_file(contiguous(lively(VIT, seed=5).state_dict()), folder / "donor.safetensors")
    return open_checkpoint(model, folder / "donor.safetensors")


def unequal_thirds(folder: Path) -> object:
    state = as_transformers(lively(VIT))
    state["text_model.encoder.layers.1.self_attn.k_proj.weight"] = torch.zeros(128, 64)
    save_file(state, folder / "model.safetensors")
    return open_checkpoint(folder / "model.safetensors").build()


def converted(given: tuple[Any, str], folder: Path) -> object:
    value, name = given
    torch.save(value, folder / "m.pt")
    return convert_to_safetensors(inspect(folder / "m.pt"), folder / name)


def damaged_clip(folder: Path) -> object:
    state = lively(VIT).state_dict()
    del state["visual.ln_post.bias"]
    torch.save(state, folder / "m.pt")
    return convert_to_open_clip(inspect(folder / "m.pt"), folder / "x.safetensors")


CHECKPOINTS = (
    (lambda f: save_head(inspect(bare_vision(lively(VIT), f)), f / "h.safetensors"),
     "usage", "holds no linear head"),
    *rows(
        named, "unsupported",
        (("base_model.model.q_proj.lora_A.weight",), "^x.safetensors .*LoRA weights"),
        (("conv1.weight", "layer1.0.conv1.weight", "fc.weight"), "plain ResNet"),
        (("vision_model.embeddings.class_embedding",), "no tensor visual.conv1.weight"),
        (("visual.conv1.weight",), "has 2 dimensions instead of 4"),
        (("image_encoder.model.patch_embed.0.rbr_conv.0.conv.weight",
          f"{S0_MARK}layer_scale"), "Apple's MobileCLIP-S0.*take MobileCLIP2-S0"),
    ),
    *rows(
        with_tensor, "unsupported",
        ((VIT, "visual.conv1.weight", torch.zeros(0, 4, 1, 1)), "is empty"),
        ((SIZES["narrow"], "visual.positional_embedding", torch.zeros(1 + 6, 96)),
         "7 positions are not a square grid"),
    ),
    *rows(
        lambda metadata, folder: opened({"a": torch.zeros(2)}, folder, open_clip_config=metadata),
        "damaged", ("{", "x.safetensors"),
    ),
    (partial(tower_and_config, {"embed_dim": 24}), "damaged", "no vision_cfg or no embed_dim"),
    (unequal_thirds, "damaged", "query, key and value"),
    *rows(
        transformers, "unsupported",
        ({"preprocessor_config": {"resample": [3]}}, "interpolation"),
        ({"preprocessor_config": {"rescale_factor": 1.0}}, "rescale_factor"),
        ({"preprocessor_config": {"image_mean": "x"}}, "preprocess_cfg.mean"),
        ({"config": {"model_type": "siglip2"}},
         r"NaFlex.*take.*google/siglip2-base-patch16-256\.$"),
        ({"config": {"model_type": "blip"}}, "model type 'blip'"),
        ({"config": {"model_type": "siglip", "vision_config": {"hidden_size": 9}}},
         "no published SigLIP has"),
        ({"config": {"model_type": "siglip", "text_config": {"hidden_act": "relu"}}},
         "activation relu"),
        *(({"config": {"model_type": "clip", **change}}, *answer) for change, *answer in (
            ({"vision_config": {"hidden_act": "relu"}}, "activation relu"),
            ({"vision_config": 3}, "no table vision_config", "damaged"),
            ({"vision_config": {"hidden_size": "x"}}, "hidden_size is x", "damaged"),
            ({"text_config": {"layer_norm_eps": 1e-6}}, "layer_norm_eps 1e-06"),
            ({"vision_config": {"num_attention_heads": 7}}, "7 attention heads", "damaged"),
        )),
    ),
    *rows(
        lambda change, folder: check_model_config(
            SIZES["wide text"] | {change[0]: SIZES["wide text"][change[0]] | change[1]}, "x"
        ),
        "damaged",
        (("vision_cfg", {"head_width": 200}), "heads of 200"),
        (("text_cfg", {"eos_id": 49408}), "eos_id 49408 in a vocabulary"),
    ),
    *rows(
        converted, "unsupported",
        (({"__metadata__": torch.zeros(1)}, "m.safetensors"), "__metadata__"),
    ),
    (damaged_clip, "damaged", r"visual\.ln_post\.bias"),
    (lambda f: fetch("hf-hub:../x"), "usage", "names no repository"),
)  # fmt: skip


# ---- data ----


def label_set(given: tuple[str, bytes], folder: Path) -> object:
    return load_label_set(written(folder, *given))


def pair_table(content: bytes, folder: Path) -> object:
    path = str(written(folder, "x.csv", content))
    return open_pairs(PairSpec(kind=detect(path), path=path))


def single_picture(folder: Path) -> object:
    Image.new("RGB", (8, 8)).save(folder / "x.png")
    return open_images(ImageSpec(kind="file", path=str(folder / "x.png")))


DATA = (
    *rows(
        lambda name, folder: open_images(ImageSpec(kind="folder", path=str(folder / name))),
        "usage", ("", "holds no PNG, JPEG"), ("absent", "does not exist or is not a folder"),
    ),
    (lambda f: write_exclusions(f / "gone" / "x.json", pairs_of(f, [10]), {}),
     "usage", "could not be written to x.json"),
    *rows(
        label_set, "unsupported",
        (("empty.txt", b"\n\n"), "empty.txt", "usage"),
        (("x.yaml", b"!!python/object:os.system x\n"),
         "is no plain label set; write one class name"),
        (("huge.py", b"#" * (5 << 20)),
         "larger than 4 MB; write one class per line in a text file"),
        (("huge.txt", b"a" * (17 << 20)), "larger than 16 MB; shorten it"),
        (("long.txt", b"a\n" * 500_001), "has over 500,000 lines; shorten it"),
        (("many.txt", b"a\n" * 100_001), "has over 100,000 classes; shorten it"),
    ),
    (lambda f: load_label_set(f / "gone.txt"), "usage", "gone.txt"),
    (lambda f: load_templates(written(f, "t.txt", "a {}\n\na photo\n")), "usage", "Line 3 of t"),
    (lambda f: load_templates(written(f, "t.txt", "\n\n")), "usage", "holds no template"),
    *rows(
        pair_table, "usage",
        (b"image,caption\nb\xe4r.png,a\n",
         r"^No picture of x.csv.*\(row 2: not UTF-8 text\); save the table as UTF-8"),
        (b"image,caption\na.png,%s\n" % (b"x" * 140_000), "; correct its rows"),
        (b"image,caption\n../a.png,a\n", "; its paths are taken from its own folder"),
        (b"image,caption\na\0.png,a\n", "row 2 holds a NUL character; save it as UTF-8 text",
         "damaged"),
        (b'image,caption\na.png,"' + b"a" * 3_000_000, "look for a quote that does not close",
         "unsupported"),
    ),
    (single_picture, "usage", r"x\.png is a single picture: give its folder, "),
    *rows(
        lambda content, folder: read_exclusions(written(folder, "x.json", content)), "damaged",
        (json.dumps({"set_name": "x", "set_key": "0" * 64, "pairs": [{"identity": "../x"}]}),
         "Entry 1 of .*identity"),
    ),
    (lambda f: read_exclusions(
        written(f, "x.json", '{"format": "cleanclip-exclusions", "version": 2}')),
     "unsupported", "newer version"),
)  # fmt: skip


# ---- triggers ----


def changed_trigger(change: dict[str, Any], folder: Path) -> object:
    _, path = save_trigger(array_trigger(), folder / "t")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    return load_trigger(path)


def arrays(content: dict[str, Any], folder: Path) -> object:
    np.savez(folder / "odd.npz", **content)
    return import_trigger(folder / "odd.npz")


def saved_tensor(folder: Path) -> object:
    torch.save(torch.zeros(1).expand(1 << 20, 1 << 20), folder / "x.pt")
    return import_trigger(folder / "x.pt")


def doctored(header: str, body: bytes = b"1234") -> bytes:
    return npy(f"{{{header}}}", body)


F4 = "'descr': '<f4', 'fortran_order': False, "
TRIGGERS = (
    *rows(
        changed_trigger, "damaged",
        ({"source_sha256": "../etc"}, "source_sha256"),
        ({"arrays_sha256": "0" * 64}, r"array beside t\.json"),
    ),
    *rows(
        changed_trigger, "usage",
        ({"rotation": 1e9}, "rotation is 1000000000"), ({"text": "{evil}"}, "text"),
        ({"kind": "combined"}, "needs 1 to 8 parts"),
        ({"kind": "prompt"}, "needs a text"), ({"kind": "wanet"}, "must have 2 channels"),
    ),
    *rows(
        lambda fields, folder: Trigger(**fields), "usage",
        ({"kind": "patch"}, "needs a picture"), ({"kind": "watermark"}, "kind"),
        ({"kind": "patch", "pixels": np.zeros((4, 4, 3), np.uint8)}, "RGBA"),
        ({"kind": "blended", "array": np.zeros((4, 4))}, "height x width x channels"),
        ({"kind": "blended", "mask": np.zeros((4, 4, 1))}, "height and width of its array"),
        ({"kind": "wanet", "absolute": True}, "needs a grid"),
        ({"kind": "sig", "parts": (badnets_patch(),)}, "has no parts"),
        ({"kind": "sig", "jpeg": True, "levels": "round"}, "jpeg"),
        ({"kind": "sig", "stripe": 1.5}, "whole number"),
        ({"kind": "combined", "parts": (mixed(),)}, "do not nest"),
    ),
    (lambda f: replace(array_trigger(), pixels=np.zeros((2, 2, 4), np.uint8)), "usage", "not both"),
    (lambda f: painted_layer(np.zeros((8, 8, 4), np.uint8)), "usage", "Nothing is painted"),
    (lambda f: from_image(Image.new("RGBA", (4, 4), (9, 9, 9, 0)), name="Ghost"),
     "usage", "Ghost is wholly transparent"),
    *rows(
        lambda raw, folder: import_trigger(written(folder, "bad.npy", raw)), "damaged",
        *((raw, r"bad\.npy") for raw in (
            b"\x93NUMPY",
            doctored(f"{F4}'shape': (99999999999999,), "),
            doctored("'descr': __import__('os'), 'fortran_order': False, 'shape': (1,), "),
            npy("[" * 60_000, version=1), npy("[" * 200_000, version=2),
            doctored(f"{F4}'shape': (" + "1," * 9 + "), "),
        )),
    ),
    *rows(
        arrays, "unsupported",
        ({"a": values(4, 4, 3), "b": values(4, 4, 3)}, "holds 2 arrays"),
    ),
    *rows(
        arrays, "damaged",
        ({"a": np.full((4, 4, 3), np.nan)}, "NaN"),
        ({"a": values(4, 4, 3, high=1e6)}, "no brightness"),
        ({"a": values(1025, 4, 3)}, "over 1024", "usage"),
        ({"mask": values(4, 4), "pattern": values(5, 5, 3)}, "differ in size"),
        ({"mask": np.zeros((4, 4)), "pattern": values(4, 4, 3)}, "0 all over"),
        ({"mask": values(4, 4, high=1.9), "pattern": values(4, 4, 3)}, "beyond 0 to 1"),
        ({"t": values(4, 4, 3) + 0.1, "tm": np.ones((4, 4, 3))}, "keeps all of it", "unsupported"),
        ({"t": values(4, 4, 3), "tm": np.zeros((5, 5, 3))}, "differ in size"),
    ),
    (saved_tensor, "damaged", r"x\.pt"),
)  # fmt: skip


# ---- evaluation and cleaning ----


EVALUATION = (
    (lambda f: next(tsne_map([clouds(n=2)])), "usage", "t-SNE needs at least"),
    (lambda f: pca_map([clouds(), clouds(width=8)]), "usage", "8 and 16"),
    (lambda f: pca_map([]), "usage", "no embeddings"),
    (lambda f: principal_plane(np.zeros((1, 3), np.float32)), "usage", "at least two"),
    (lambda f: principal_plane(np.full((3, 3), np.nan, np.float32)), "damaged", "not numbers"),
)
CLEANING = (
    (lambda f: preset("wash", "paper"), "usage", "Unknown method 'wash'"),  # type: ignore[arg-type]
    *rows(
        lambda content, folder: read_recipe(written(folder, "bad.json", json.dumps(content))),
        "damaged",
        *(({"format": "cleanclip-recipe", **more}, *answer) for more, *answer in (
            ({"version": True, "recipe": {}}, "it has no version"),
            ({"version": 1, "recipe": []}, "holds no recipe"),
        )),
    ),
    (lambda f: write_recipe(preset("par", "quick"), f), "usage", "cannot be saved"),
    (lambda f: preset("par", "quick").changed(lr=float("nan")),
     "usage", r"Learning rate \(lr\) should be a finite number"),
    *rows(
        lambda fields, folder: make_recipe(fields), "usage",
        ({"lambda_clip": 0, "lambda_image": 0, "lambda_text": 0}, "nothing would be trained"),
        ({"method": "par", "lambda_clip": 0}, "repulsion alone would only destroy the model"),
        ({"method": "interpolate", "alpha": 1.5}, "goes beyond the reference"),
        ({"method": "interpolate", "alpha": 0}, "leaves the checkpoint as it is"),
    ),
    *rows(
        lambda method, folder: candidates_of((method,), (1.0,), 1e-3), "usage",
        ("supervised", "a search judges the zero-shot model"),
    ),
    (lambda f: read_facts(written(f, "state.safetensors", "junk")), "damaged", "is damaged"),
)  # fmt: skip
PACKAGES: dict[str, tuple[Row, ...]] = {
    "reading": READING, "checkpoints": CHECKPOINTS, "data": DATA, "triggers": TRIGGERS,
    "evaluation": EVALUATION, "cleaning": CLEANING,
}  # fmt: skip


@pytest.mark.parametrize(
    ("refuse", "code", "words"),
    [
        pytest.param(*row, id=f"{package}-{number}-{row[2][:30]}")
        for package, table in PACKAGES.items()
        for number, row in enumerate(table)
    ],
)
def test_it_is_refused_in_one_sentence(
    refuse: Refuse, code: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words) as caught:
        refuse(tmp_path)
    sentence = caught.value.sentence
    assert caught.value.code == code
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert not sentence.startswith(("Traceback", "[Errno"))
    assert len(sentence) < 3000
