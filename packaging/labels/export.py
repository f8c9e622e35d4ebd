"""Write resources/labels/*.json from open_clip's ImageNet lists and the CIFAR class names.

Run: python packaging/labels/export.py (needs open_clip_torch and timm).
"""

import json
from importlib.resources import files
from pathlib import Path

from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES, OPENAI_IMAGENET_TEMPLATES

OUT = Path(__file__).resolve().parents[2] / "resources" / "labels"

CIFAR_10 = "airplane automobile bird cat deer dog frog horse ship truck"
CIFAR_100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup
dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower
leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid
otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray
road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
wardrobe whale willow_tree wolf woman worm
"""
KINDS = (
    "photo of {} {{}}",
    "blurry photo of {} {{}}",
    "black and white photo of {} {{}}",
    "low contrast photo of {} {{}}",
    "high contrast photo of {} {{}}",
    "bad photo of {} {{}}",
    "good photo of {} {{}}",
    "photo of {} small {{}}",
    "photo of {} big {{}}",
)
CIFAR_TEMPLATES = [f"a {kind.format(article)}." for article in ("a", "the") for kind in KINDS]


def write(name: str, class_names: list[str], templates: list[str], **more: list[str]) -> None:
    content = {"class_names": class_names, "templates": templates, **more}
    text = json.dumps(content, indent=0, ensure_ascii=False) + "\n"
    (OUT / f"{name}.json").write_text(text, encoding="utf-8")


def main() -> None:
    ids = files("timm.data").joinpath("_info", "imagenet_synsets.txt").read_text().split()
    imagenet = [template("{}") for template in OPENAI_IMAGENET_TEMPLATES]
    cifar_10, cifar_100 = CIFAR_10.split(), CIFAR_100.split()
    assert (len(IMAGENET_CLASSNAMES), len(imagenet), len(ids)) == (1000, 80, 1000)
    assert (len(cifar_10), len(cifar_100), len(CIFAR_TEMPLATES)) == (10, 100, 18)
    assert sorted(cifar_100) == cifar_100
    assert sorted(ids) == ids
    OUT.mkdir(parents=True, exist_ok=True)
    write("imagenet-1k", list(IMAGENET_CLASSNAMES), imagenet, ids=ids)
    write("cifar-10", cifar_10, CIFAR_TEMPLATES)
    write("cifar-100", [name.replace("_", " ") for name in cifar_100], CIFAR_TEMPLATES)


if __name__ == "__main__":
    main()
