"""ONNX models: their CLIP, what does not belong to it, and the files beside them."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch.nn.functional import normalize

from ml_core.checkpoints.convert import convert_to_safetensors
from ml_core.checkpoints.identity import identify
from ml_core.checkpoints.inspection_record import assess
from ml_core.checkpoints.open import open_checkpoint
from ml_core.checkpoints.recognise import uses_quick_gelu
from ml_core.checkpoints.tensor_stats import tensor_stats
from ml_core.checkpoints.tensors import read_tensors
from ml_core.cli.app import run_command
from ml_core.reading import examine, inspect
from ml_core.reading.errors import InputError
from ml_core.signing import check_checkpoint, sign_path
from ml_core.signing.curve import new_private_key
from tests.onnx_models import (
    EXPORTS,
    IDS,
    PIXELS,
    PLANTED,
    beside,
    embeddings,
    exact_name,
    library_model,
    planted,
    quantised,
    swapped_scales,
    turned_rounded,
)

WHOLE = (
    "Every initialiser belongs to this CLIP, the graph is the exporter's, and nothing is left over."
)


def result_of(assessed):
    """Its sentence, in which descriptions of nodes count as nothing."""
    return re.sub(r" but descriptions \([\d,]+ bytes\)", "", assessed.graph_sentence)


@pytest.fixture(scope="session")
def export(tmp_path_factory):
    """Writes an export once; its path."""
    folder = tmp_path_factory.mktemp("onnx")

    def write(kind):
        path = folder / f"{kind}.onnx"
        if not path.exists():
            EXPORTS[kind](path)
        return path

    return write


def own_embeddings(path, donor=None):
    """As the opened checkpoint embeds the same pixels and tokens."""
    module = open_checkpoint(path, donor).build().module
    with torch.no_grad():
        return {
            "image": normalize(module.encode_image(PIXELS), dim=-1),
            "text": normalize(module.encode_text(IDS), dim=-1),
        }


@pytest.mark.parametrize("kind", EXPORTS)
def test_an_export_is_the_clip_that_it_was_made_of(kind, export, tmp_path):
    path = export(kind)
    inspection = examine(path)
    assessed = assess(inspection)
    assert (assessed.verdict, assessed.reasons) == ("loads", ())
    assert result_of(assessed) == WHOLE
    copy = convert_to_safetensors(inspection, tmp_path / "copy.safetensors")
    expected = embeddings(path)
    whole = export(kind.partition(",")[0]) if len(expected) == 1 else None
    tolerance = 5e-3 if "fp16" in kind else 1e-4
    for file in (path, copy):
        ours = own_embeddings(file, whole)
        for tower, value in expected.items():
            assert (ours[tower] - value).abs().max() < tolerance, (file.name, tower)


def test_a_folder_with_an_export_is_added_and_has_no_config(export, tmp_path, capsys):
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(export("library"), folder / "model.onnx")
    assert run_command(["known", "add", str(folder), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["files"]) == 1
    *_, identity = identify(examine(folder))
    assert identity.sentences[0].endswith("model.onnx: it is the same file.")


# With 8 bits a processor without VNNI saturates, and the runtime itself is off by a twentieth.
@pytest.mark.parametrize("options", [{}, {"per_channel": True}])
def test_rounded_weights_are_scaled_back(options, export, tmp_path):
    options |= {"reduce_range": True}
    path = quantised(export("library"), tmp_path / "model_quantized.onnx", **options)
    inspection = examine(path)
    assessed = assess(inspection)
    assert assessed.verdict == "caution"
    (reason,) = assessed.reasons
    assert "rounded to 8 bits or fewer" in reason
    assert result_of(assessed) == WHOLE
    tensors = {item.name: numpy_helper.to_array(item) for item in onnx.load(path).graph.initializer}
    own = read_tensors(inspection)
    exact = library_model().state_dict()
    rounded = [info for info in inspection.tensors if info.scales]
    assert len(rounded) > 20
    for info in rounded:
        step = max(info.scales)
        assert (own[info.name] - exact[info.name]).abs().max() <= step, info.name
    base = "text_model.embeddings.token_embedding.weight"
    q, scale, zero = (tensors[f"{base}_{end}"] for end in ("quantized", "scale", "zero_point"))
    assert np.array_equal(own[base].numpy(), (q.astype(np.float32) - zero) * scale)
    copy = convert_to_safetensors(inspection, tmp_path / "copy.safetensors")
    assert assess(inspect(copy)).reasons == (reason,)
    again = read_tensors(inspect(copy))
    assert all(torch.equal(again[name], own[name]) for name in own)
    stats = {item.name: item for item in tensor_stats(inspection, rounded)}
    assert all(abs(stats[i.name].max - own[i.name].max().item()) < 1e-6 for i in rounded)
    ours, expected = own_embeddings(path), embeddings(path)
    for tower, value in expected.items():
        assert ((ours[tower] * value).sum(-1) > 0.97).all()


@pytest.mark.parametrize(
    ("kind", "exporter"),
    [(kind, name) for kind, (_, _, *names) in PLANTED.items() for name in names or ["library"]],
)
def test_what_is_planted_is_named(kind, exporter, export, tmp_path):
    path = planted(export(exporter), tmp_path / "model.onnx", kind)
    assessed = assess(examine(path))
    assert assessed.verdict == "caution"
    assert PLANTED[kind][1] in " ".join(assessed.reasons)
    assert "the reasons" in assessed.graph_sentence


@pytest.mark.parametrize("change", [exact_name, swapped_scales, turned_rounded])
def test_numbers_follow_from_the_nodes_not_from_names(change, export, tmp_path):
    source = export("library")
    if change is swapped_scales:
        source = quantised(source, tmp_path / "source.onnx")
    model = onnx.load(source)
    change(model)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    ours = own_embeddings(path)
    for tower, value in embeddings(path).items():
        tolerance = 0.03 if change is swapped_scales else 1e-4
        assert ((ours[tower] * value).sum(-1) > 1 - tolerance).all()
    assert result_of(assess(examine(path))) == WHOLE


def test_tensors_beside_the_model(export, tmp_path):
    path = beside(export("open_clip"), tmp_path / "model.onnx")
    inspection = examine(path)
    assert result_of(assess(inspection)) == WHOLE
    data = path.with_name("model.onnx_data")
    assert {stamp.file for stamp in inspection.files} == {"", data.name}
    assert inspection.size == path.stat().st_size + data.stat().st_size
    ours, expected = own_embeddings(path), embeddings(path)
    assert all((ours[tower] - expected[tower]).abs().max() < 1e-4 for tower in expected)
    with data.open("r+b") as file:
        file.write(b"\xff")
    with pytest.raises(InputError, match="changed since it was examined"):
        read_tensors(inspection)


def _payload(model, folder):
    """Fewer bytes than programs add to align tensors."""
    with (folder / "model.onnx_data").open("ab") as file:
        file.write(b"PAYLOAD.")


def _hidden_function(model, folder):
    body = [helper.make_node("Constant", [], ["b"], value=numpy_helper.from_array(np.ones(9)))]
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("own", "idle", ["a"], ["b"], body, opsets))


def _description(model, folder):
    model.graph.doc_string = "PAYLOAD." * 4096


def _odd_attribute(model, folder):
    node = next(node for node in model.graph.node if node.op_type == "MatMul")
    node.attribute.append(helper.make_attribute("own", numpy_helper.from_array(np.ones(9))))


LEFT_OVER = {
    "behind the tensors": (_payload, "bytes that no tensor has"),
    "a function": (_hidden_function, "'idle' of the domain 'own' (nodes: 1, tensors: 1)"),
    "a description": (_description, "longer than an exporter's (32,768 bytes)"),
    "an attribute": (_odd_attribute, "tensors in attributes of the node '/vision_model/"),
}


@pytest.mark.parametrize("case", LEFT_OVER)
def test_what_no_node_uses_is_listed(case, export, tmp_path):
    change, words = LEFT_OVER[case]
    path = beside(export("library, vision"), tmp_path / "model.onnx")
    model = onnx.load(path, load_external_data=False)
    change(model, tmp_path)
    onnx.save(model, path)
    assessed = assess(examine(path))
    assert words in " ".join(assessed.inspection.unread)
    assert assessed.graph_sentence != WHOLE


def test_a_model_beside_its_tensors_may_be_renamed(export, tmp_path, capsys):
    path = beside(export("library, vision"), tmp_path / "model.onnx")
    found = examine(path)
    capitals = examine(path.rename(tmp_path / "OTHER.ONNX"))
    assert capitals.sha256 == found.sha256 != ""
    assert run_command(["inspect", str(capitals.path)]) == 0
    text = "".join(capsys.readouterr().out.replace("│", " ").split())
    data = capitals.files[1]
    assert f"{data.file},{data.size}bytes,SHA-256{data.sha256}" in text
    assert capitals.facts["SHA-256 of model.onnx_data"] == data.sha256
    strange = examine(capitals.path.rename(tmp_path / "other"))
    assert "only read beside a model whose name ends in .onnx; rename it" in strange.reasons[0]


def test_operators_of_onnxruntime_tell_the_activation(export, tmp_path):
    model = onnx.load(export("library, vision"))
    for node in model.graph.node:
        if node.op_type == "Sigmoid":
            node.op_type, node.domain = "QuickGelu", "com.microsoft"
    onnx.save(model, tmp_path / "model.onnx")
    inspection = examine(tmp_path / "model.onnx")
    assert "is of the domain 'com.microsoft': what it computes" in " ".join(inspection.reasons)
    assert uses_quick_gelu(inspection)
    operators = {"com.microsoft:BiasGelu": 12}
    other = replace(inspection, graph=replace(inspection.graph, operators=operators))
    assert uses_quick_gelu(other) is False


def _location(name):
    def change(model, folder):
        for tensor in model.graph.initializer:
            for pair in tensor.external_data:
                if pair.key == "location":
                    pair.value = name

    return change


def _entry(key, value):
    def change(model, folder):
        tensor = next(item for item in model.graph.initializer if item.external_data)
        next(pair for pair in tensor.external_data if pair.key == key).value = value

    return change


def _link(model, folder):
    (folder / "model.onnx_data").rename(folder.parent / "elsewhere")
    (folder / "model.onnx_data").symlink_to("../elsewhere")


def _huge(model, folder):
    os.truncate(folder / "model.onnx_data", 3 << 40)  # of which little is on the disk


OUTSIDE = {
    "missing": (_location("gone.data"), "keeps tensors in 'gone.data', which cannot be read"),
    "above": (_location("../model.onnx_data"), "no file name of its folder"),
    "absolute": (_location("/etc/passwd"), "no file name of its folder"),
    "itself": (_location("model.onnx"), "no file name of its folder"),
    "a device": (_location("NUL:"), "no file name of its folder"),
    "a link": (_link, "a link to a file outside the folder"),
    "past its end": (_entry("offset", "99999999"), "does not lie inside model.onnx_data"),
    "before it": (_entry("offset", "-1"), "does not lie inside model.onnx_data"),
    "shorter": (_entry("length", "4"), "does not lie inside model.onnx_data"),
    "overlapping": (_entry("offset", "128"), "two of its tensors overlap"),
    "no place": (_entry("offset", "x"), "no valid place"),
    "huge": (_huge, "model.onnx_data has 3 TiB, more than any checkpoint"),
}


@pytest.mark.parametrize("case", OUTSIDE)
def test_tensors_that_lie_where_they_must_not(case, export, tmp_path):
    change, words = OUTSIDE[case]
    folder = tmp_path / "folder"
    folder.mkdir()
    path = beside(export("library, vision"), folder / "model.onnx")
    model = onnx.load(path, load_external_data=False)
    change(model, folder)
    onnx.save(model, path)
    inspection = examine(path)
    assert inspection.refused
    assert words in inspection.reasons[0]


@pytest.mark.parametrize(("count", "words"), [(48, "holds no tensors"), (49, "more than 48 files")])
def test_tensors_in_many_files(count, words, tmp_path):
    tensors = [numpy_helper.from_array(np.full(2, n, np.float32), f"t{n}") for n in range(count)]
    ends = [helper.make_empty_tensor_value_info(item.name) for item in tensors]
    graph = helper.make_graph([], "g", [], ends, tensors)
    path = tmp_path / "model.onnx"
    onnx.save(
        helper.make_model(graph), path, save_as_external_data=True, size_threshold=0,
        all_tensors_to_one_file=False,
    )  # fmt: skip
    assert words in examine(path).reasons[0]


def test_a_model_of_packed_bits_is_refused_by_name(export, tmp_path):
    model = onnx.load(export("open_clip, visual"))
    node = next(node for node in model.graph.node if node.op_type == "MatMul")
    node.op_type, node.domain = "MatMulNBits", "com.microsoft"
    onnx.save(model, tmp_path / "model_q4.onnx")
    inspection = examine(tmp_path / "model_q4.onnx")
    assert inspection.verdict == "unsupported"
    assert "(operator MatMulNBits); take its copy in fp32 or fp16" in inspection.reasons[0]


def test_the_command_line_prints_the_graph(export, answer_of, capsys, tmp_path):
    path = planted(export("library"), tmp_path / "model.onnx", "If")
    graph = answer_of("inspect", path)["graph"]
    assert graph["exporter"].startswith("pytorch")
    assert graph["opsets"] == {"ai.onnx": 17}
    assert graph["operators"]["LayerNormalization"] == 11
    assert graph["control_flow"] == ["planted_if"]
    assert graph["inputs"][1] == "pixel_values [images, 3, 32, 32]"
    assert "planted_if" in " ".join(graph["findings"])
    assert run_command(["inspect", str(export("library"))]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "operators of ai.onnx 17" in text
    assert "Conv 1" in text
    assert WHOLE in text


def test_a_signature_covers_the_tensors_beside(export, tmp_path):
    path = beside(export("library, vision"), tmp_path / "model.onnx")
    key = new_private_key("Ada")

    def state():
        return check_checkpoint(examine(path), [key.public]).state

    sign_path(path, key)
    assert state() == "bad"  # the numbers are not signed
    (tmp_path / "model.sig").unlink()
    sign_path(tmp_path, key)
    assert state() == "good"
    with (tmp_path / "model.onnx_data").open("r+b") as file:
        file.write(b"\1")
    assert state() == "bad"


def test_a_folder_of_onnx_models_says_what_to_open(tmp_path):
    (tmp_path / "onnx").mkdir()
    (tmp_path / "config.json").write_text("{}")
    assert "open one of those in its folder onnx" in inspect(tmp_path).reasons[0]
