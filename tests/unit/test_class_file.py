"""CleanCLIP's classes.py gives what evaluating it would, and is never evaluated."""

from __future__ import annotations

from ml_core.data.labels import load_label_set
from ml_core.reading.class_file import read_class_file

GOOD = """
# ImageNet
{"classes": ["tench", 'great ' "white shark", "T\\u00fcr"],
 "templates": [
    lambda c: f"a bad photo of a {c}.",
    lambda name: f'{name}, twice {name}',
 ]}
"""


def write(folder, text):
    path = folder / "classes.py"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_it_gives_what_evaluating_it_gives(tmp_path):
    classes, templates = read_class_file(write(tmp_path, GOOD))
    evaluated = eval(GOOD.strip(), {})
    assert list(classes) == evaluated["classes"]
    for template, function in zip(templates, evaluated["templates"], strict=True):
        assert template.replace("{}", "cat") == function("cat")


def test_superclasses_are_left_out(tmp_path):
    """CleanCLIP's own files for ImageNet and CIFAR-100 have them."""
    text = '{"superclasses": {"fish": ["tench"]}, "classes": ["tench"], "templates": []}'
    assert read_class_file(write(tmp_path, text)) == (("tench",), ())


def test_a_label_set_is_made_of_it(tmp_path):
    found = load_label_set(write(tmp_path, GOOD))
    assert found.class_names == ("tench", "great white shark", "Tür")
    assert found.templates == ("a bad photo of a {}.", "{}, twice {}")
    bare = load_label_set(write(tmp_path, '{"classes": ["cat"]}'))
    assert len(bare.templates) == 80


def test_what_is_said_of_superclasses_is_passed_over(tmp_path):
    more = '{"classes": ["a"], "superclasses": {"pet": [0, (1, None)], "x": {"y"}}}'
    assert read_class_file(write(tmp_path, more)) == (("a",), ())


def test_an_encoding_is_not_believed(tmp_path):
    raw = b"# coding: utf-7\n{'classes': ['+AGE-']}"
    assert read_class_file(write(tmp_path, raw)) == (("+AGE-",), ())
