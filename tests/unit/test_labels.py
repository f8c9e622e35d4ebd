"""Label sets, prompt templates and the finding of labels."""

import pytest

from ml_core.data.images import open_images
from ml_core.data.labels import (
    LabelSet,
    duplicates,
    fill,
    load_label_set,
    map_labels,
    normalise_name,
    prompts,
)
from ml_core.data.specs import ImageSpec
from ml_core.reading.class_file import read_class_file
from tests.unit.pair_files import png


def test_imagenet_is_open_clips():
    imagenet = load_label_set("imagenet-1k")
    assert len(imagenet.class_names) == 1000
    assert len(imagenet.templates) == 80
    assert imagenet.class_names[954] == "banana"
    assert imagenet.ids[0] == "n01440764"
    assert imagenet.templates[0] == "a bad photo of a {}."
    assert duplicates(imagenet) == {"missile": (657, 744), "sunglasses": (836, 837)}


@pytest.mark.parametrize(("name", "count"), [("cifar-10", 10), ("cifar-100", 100)])
def test_cifar(name, count):
    cifar = load_label_set(name)
    assert len(set(cifar.class_names)) == count
    assert len(set(cifar.templates)) == 18
    assert "a photo of the big {}." in cifar.templates
    assert duplicates(cifar) == {}
    assert not any("_" in class_name for class_name in cifar.class_names)


def test_fill_takes_braces_literally():
    assert fill("a {0} {} {x}", "{cat!r}") == "a {0} {cat!r} {x}"
    assert prompts("cat", ["a {}", "the {}."]) == ["a cat", "the cat."]


def test_own_list_and_templates(tmp_path):
    (tmp_path / "c.txt").write_text("red fox\ncat\n")
    (tmp_path / "t.txt").write_text("a {}\n\nmy {}\n")
    own = load_label_set(tmp_path / "c.txt", templates=tmp_path / "t.txt")
    assert own == LabelSet("c.txt", ("red fox", "cat"), ("a {}", "my {}"))
    assert len(load_label_set(tmp_path / "c.txt").templates) == 80


_TEMPLATES = '"templates": [lambda c: f"a {c}."]'


@pytest.mark.parametrize(
    ("name", "content", "notes"),
    [
        ("c.txt", "red fox\ncat\n", []),
        ("one.txt", "cat\n", ["one.txt has a single class"]),
        ("c.py", f'{{"classes": ["a", "b"], {_TEMPLATES}}}', []),
        ("c.py", '{"classes": ["a", "b"]}', ["c.py has no templates, and the 80 of OpenAI"]),
        ("two.txt", "a\nb\na\nB\n", ["two.txt names 'a' 2 times, and 1 more names: classes of"]),
        (
            "c.py", f'{{"classes": ["a", "b", "A", "c", "a"], {_TEMPLATES}}}',
            ["c.py names 'a' 3 times: classes of one name cannot be told apart"],
        ),
    ],
)  # fmt: skip
def test_what_is_odd_about_a_list_is_told_with_the_pictures(name, content, notes, tmp_path):
    (tmp_path / name).write_text(content)
    own = load_label_set(tmp_path / name)
    assert len(own.notes) == len(notes)
    assert all(note.startswith(start) for note, start in zip(own.notes, notes, strict=True))
    (tmp_path / "0.png").write_bytes(png(1))
    problems = open_images(ImageSpec(kind="folder", path=str(tmp_path)), own).problems
    assert problems[-len(own.notes) :] == own.notes or not notes


def test_names_match_whatever_their_spelling():
    assert normalise_name("  Red__Fox-Cub ") == "red fox cub"
    label_set = LabelSet("own", ("red fox", "cat"), ("{}",), ids=("n1", "n2"))
    mapping = map_labels(["Red_Fox", "CAT", "n2", "1", "2", "wolf", "red-fox"], label_set)
    assert mapping.labels.tolist() == [0, 1, 1, 1, -1, -1, 0]
    assert mapping.unmatched == ("2", "wolf")
    assert mapping.ambiguous == ()
    digits = LabelSet("digits", ("one", "0", "7"), ("{}",))  # numbers are names there
    assert map_labels(["7", "0", "1"], digits).labels.tolist() == [2, 1, -1]
    mapping = map_labels(["missile", "657", "744"], load_label_set("imagenet-1k"))
    assert mapping.labels.tolist() == [657, 657, 744]
    assert mapping.ambiguous == ("missile",)


# -- CleanCLIP's classes.py gives what evaluating it would, and is never evaluated ---------------

GOOD = """
# ImageNet
{"classes": ["tench", 'great ' "white shark", "T\\u00fcr"],
 "templates": [
    lambda c: f"a bad photo of a {c}.",
    lambda name: f'{name}, twice {name}',
 ]}
"""


def test_a_class_file_gives_what_evaluating_it_gives(tmp_path):
    path = tmp_path / "classes.py"
    path.write_text(GOOD)
    classes, templates = read_class_file(path)
    evaluated = eval(GOOD.strip(), {})
    assert list(classes) == evaluated["classes"]
    for template, function in zip(templates, evaluated["templates"], strict=True):
        assert template.replace("{}", "cat") == function("cat")
    label_set = load_label_set(path)
    assert label_set.class_names == ("tench", "great white shark", "Tür")
    assert label_set.templates == ("a bad photo of a {}.", "{}, twice {}")
    path.write_text('{"classes": ["cat"]}')
    assert len(load_label_set(path).templates) == 80


@pytest.mark.parametrize(
    ("text", "classes"),
    [  # superclasses are passed over, and an encoding is not believed
        ('{"superclasses": {"fish": ["a"]}, "classes": ["a"], "templates": []}', ("a",)),
        ('{"classes": ["a"], "superclasses": {"pet": [0, (1, None)], "x": {"y"}}}', ("a",)),
        ("# coding: utf-7\n{'classes': ['+AGE-']}", ("+AGE-",)),
    ],
)
def test_what_else_a_class_file_says_is_passed_over(text, classes, tmp_path):
    (tmp_path / "classes.py").write_text(text)
    assert read_class_file(tmp_path / "classes.py") == (classes, ())
