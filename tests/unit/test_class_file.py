"""CleanCLIP's classes.py gives what evaluating it would, and is never evaluated."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_core.data.labels import load_label_set
from ml_core.reading import InputError
from ml_core.reading.class_file import MAX_BYTES, read_class_file

GOOD = """
# ImageNet
{"classes": ["tench", 'great ' "white shark", "T\\u00fcr"],
 "templates": [
    lambda c: f"a bad photo of a {c}.",
    lambda name: f'{name}, twice {name}',
 ]}
"""


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "classes.py"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_it_gives_what_evaluating_it_gives(tmp_path: Path) -> None:
    classes, templates = read_class_file(write(tmp_path, GOOD))
    evaluated = eval(GOOD.strip(), {})
    assert list(classes) == evaluated["classes"]
    for template, function in zip(templates, evaluated["templates"], strict=True):
        assert template.replace("{}", "cat") == function("cat")


def test_superclasses_are_left_out(tmp_path: Path) -> None:
    """CleanCLIP's own files for ImageNet and CIFAR-100 have them."""
    text = '{"superclasses": {"fish": ["tench"]}, "classes": ["tench"], "templates": []}'
    assert read_class_file(write(tmp_path, text)) == (("tench",), ())


def test_a_label_set_is_made_of_it(tmp_path: Path) -> None:
    found = load_label_set(write(tmp_path, GOOD))
    assert found.class_names == ("tench", "great white shark", "Tür")
    assert found.templates == ("a bad photo of a {}.", "{}, twice {}")
    bare = load_label_set(write(tmp_path, '{"classes": ["cat"]}'))
    assert len(bare.templates) == 80


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("__import__('os').system('x')", "Line 1 .* not the table"),
        ("import os\n{}", "Line 1 .* not the table"),
        ("{", "not the table"),
        ("", "not the table"),
        (b"\xff\xfe{}", "not the table"),
        (b"{'classes': ['a\0b']}", "not the table"),
        ("(" * 5000, "not the table"),
        ("[1]", "Line 1 .* not the table"),
        ("{}", "missing"),
        ('{"classes": []}', "no classes"),
        ('{"classes": ["a"], "classes": ["b"]}', "only"),
        ('{"classes": ["a"],\n "other": print("x")}', "Line 2 .* only"),
        ('{**{"classes": ["a"]}}', "only"),
        ('{"classes": [open("x").read()]}', "plain text"),
        ('{"classes": ["a" + "b"]}', "plain text"),
        ('{"classes": [f"a"]}', "plain text"),
        ('{"classes": ["a\\nb"]}', "control characters"),
        ('{"classes": list(range(9))}', "missing"),
        ('{"classes": ["a"], "templates": [print]}', "one f-string"),
        ('{"classes": ["a"], "templates": [lambda c: c]}', "one f-string"),
        ('{"classes": ["a"], "templates": [lambda c: f"{c.x}"]}', "class name and text only"),
        ('{"classes": ["a"], "templates": [lambda c: f"{c!r}"]}', "class name and text only"),
        ('{"classes": ["a"], "templates": [lambda c: f"{c:>9}"]}', "class name and text only"),
        ('{"classes": ["a"], "templates": [lambda c: f"{exit()}{c}"]}', "class name and text only"),
        ('{"classes": ["a"], "templates": [lambda c: f"none"]}', "lacks the class name"),
        ('{"classes": ["a"], "templates": [lambda c: f"{{}} {c}"]}', "braces"),
        ('{"classes": ["a"], "templates": [lambda c=exit(): f"{c}"]}', "one argument"),
        ('{"classes": ["a"], "templates": [lambda *c: f"{c}"]}', "one argument"),
    ],
)
def test_anything_else_is_refused_with_its_line(
    tmp_path: Path, text: str | bytes, words: str
) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_class_file(write(tmp_path, text))
    assert caught.value.code == "unsupported"
    assert "not evaluated" in caught.value.sentence


def test_what_is_said_of_superclasses_is_passed_over(tmp_path: Path) -> None:
    more = '{"classes": ["a"], "superclasses": {"pet": [0, (1, None)], "x": {"y"}}}'
    assert read_class_file(write(tmp_path, more)) == (("a",), ())
    for value in ("open('x')", "[1 + 1]", "{'a': f'{exit()}'}", "[lambda c: c]", "-1"):
        with pytest.raises(InputError, match="only"):
            read_class_file(write(tmp_path, f'{{"classes": ["a"], "superclasses": {value}}}'))


@pytest.mark.parametrize("part", ["'a',", "1+", "-", "a.", "[],", "0 if 0 else "])
def test_a_file_of_too_many_parts_is_not_parsed(tmp_path: Path, part: str) -> None:
    text = '{"classes": ["a",\n' + part * 310_000 + "1]}"
    with pytest.raises(InputError, match=r"Line 2 .* more parts"):
        read_class_file(write(tmp_path, text[:MAX_BYTES]))


def test_an_encoding_is_not_believed(tmp_path: Path) -> None:
    raw = b"# coding: utf-7\n{'classes': ['+AGE-']}"
    assert read_class_file(write(tmp_path, raw)) == (("+AGE-",), ())


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="4 MB"):
        read_class_file(write(tmp_path, b" " * (MAX_BYTES + 1)))


@pytest.mark.parametrize("text", ["(" * 300_000, "-" * 300_000 + "1", "[" * 90 + "]" * 90, "\0"])
def test_deep_and_broken_files_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "classes.py"
    path.write_text(text)
    with pytest.raises(InputError, match="it is not evaluated"):
        read_class_file(path)
