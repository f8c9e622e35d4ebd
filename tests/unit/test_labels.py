"""Label sets, prompt templates and the finding of labels."""

from ml_core.data.labels import (
    LabelSet,
    duplicates,
    is_built_in,
    load_label_set,
    map_labels,
    normalise_name,
)
from ml_core.reading.class_file import read_class_file


def test_imagenet_is_open_clips():
    imagenet = load_label_set("imagenet-1k")
    assert (len(imagenet.class_names), len(imagenet.templates)) == (1000, 80)
    assert (imagenet.class_names[954], imagenet.ids[0]) == ("banana", "n01440764")
    assert duplicates(imagenet) == {"missile": (657, 744), "sunglasses": (836, 837)}


def test_a_class_more_that_no_picture_has():
    more = load_label_set("imagenet-1k+birthday cake")
    assert (more.class_names[1000], len(more.ids), more.notes) == ("birthday cake", 1000, ())
    assert map_labels(["n01440764", "Birthday_Cake"], more).labels.tolist() == [0, 1000]
    assert [is_built_in(name) for name in ("demo", "demo+", "demo+x", "d+x")] == [
        True, False, True, False,
    ]  # fmt: skip


def test_own_list_and_templates(tmp_path):
    (tmp_path / "c.txt").write_text("red fox\ncat\n")
    (tmp_path / "t.txt").write_text("a {}\n\nmy {}\n")
    own = load_label_set(tmp_path / "c.txt", templates=tmp_path / "t.txt")
    assert own == LabelSet("c.txt", ("red fox", "cat"), ("a {}", "my {}"))
    assert len(load_label_set(tmp_path / "c.txt").templates) == 80


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
