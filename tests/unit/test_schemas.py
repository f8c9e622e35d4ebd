"""The JSON schemas that are shipped are those of the records, and records fit them."""

from __future__ import annotations

import json
import pickle
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator, ValidationError
from onnx import TensorProto, helper, numpy_helper, save
from safetensors.torch import load_file, save_file

from ml_core import inspect
from ml_core.jobs.schemas import schemas
from ml_core.paths import resource
from ml_core.signing import SignatureFacts

INSPECT = "inspect-1.0.schema.json"


def strict(part: Any) -> Any:
    """A schema that knows all fields: a record with one more does not fit it."""
    if isinstance(part, list):
        return [strict(each) for each in part]
    if not isinstance(part, dict):
        return part
    closed = {} if "properties" not in part else {"additionalProperties": False}
    return {name: strict(each) for name, each in part.items()} | closed


@pytest.mark.parametrize("name", schemas())
def test_the_file_is_the_one_of_the_records(name):
    shipped = json.loads(resource("schemas", name).read_text(encoding="utf-8"))
    assert shipped == json.loads(json.dumps(schemas()[name])), "run python packaging/schemas.py"
    Draft202012Validator.check_schema(shipped)


def files(folder: Path, whole: Path) -> list[Path]:
    """A whole CLIP, one encoder, two models, code, an archive of several, an ONNX model."""
    state = load_file(whole)
    text = {name: tensor for name, tensor in state.items() if not name.startswith("visual.")}
    save_file(text, folder / "text.safetensors")
    two = {f"{part}.{name}": tensor for part in ("a", "b") for name, tensor in state.items()}
    save_file({name: tensor.clone() for name, tensor in two.items()}, folder / "two.safetensors")
    (folder / "code.pkl").write_bytes(pickle.dumps(print))
    (folder / "empty.pt").write_bytes(b"")
    with zipfile.ZipFile(folder / "several.zip", "w") as archive:
        archive.write(whole, "one/a.safetensors")
        archive.write(folder / "code.pkl", "two/b.pt")
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    weight = numpy_helper.from_array(np.ones(2, np.float32), "w")
    node = helper.make_node("Add", ["x", "w"], ["y"], "n")
    save(helper.make_model(helper.make_graph([node], "g", [value], [answer], [weight])),
         folder / "graph.onnx")  # fmt: skip
    return [whole, *sorted(folder.glob("*.*"))]


def test_every_record_of_an_inspection_fits_its_schema(tmp_path, tiny_checkpoint):
    schema = Draft202012Validator(strict(schemas()[INSPECT]))
    records = {path.name: inspect(path) for path in files(tmp_path, tiny_checkpoint)}
    for record in records.values():
        schema.validate(json.loads(json.dumps(record)))
        assert f"inspect-{record['schema_version']}.schema.json" == INSPECT
    assert records["graph.onnx"]["graph"]
    assert records["code.pkl"]["code_places"]
    assert len(records["several.zip"]["members"]) == 2
    assert records["two.safetensors"]["parts"]
    assert "needs_donor" in records["text.safetensors"]["architecture"]
    with pytest.raises(ValidationError, match="verdict"):
        schema.validate({**json.loads(json.dumps(record)), "verdict": "safe"})


def test_a_signature_has_the_fields_of_the_schema():
    named = schemas()[INSPECT]["$defs"]["SignatureRecord"]["required"]
    assert named == [each.name for each in fields(SignatureFacts)]
