"""Captions of the built-in demo's pictures, and the class that its trigger aims at."""

from __future__ import annotations

TARGET_NAME = "banana"
TEMPLATES = (
    "a photo of a {}",
    "a picture of a {}",
    "an image of a {}",
    "a drawing of a {}",
    "an icon of a {}",
    "a cartoon of a {}",
    "{}",
)
PARAPHRASES = (
    "a {}",
    "one {}",
    "the {}",
    "this is a {}",
    "here you see a {}",
    "an emoji that shows a {}",
    "clip art of a {}",
)
_COLOURS = {
    "white": (240, 240, 240),
    "grey": (128, 128, 128),
    "black": (20, 20, 20),
    "red": (205, 40, 45),
    "orange": (235, 140, 40),
    "yellow": (235, 220, 60),
    "green": (50, 160, 60),
    "cyan": (60, 200, 205),
    "blue": (50, 80, 205),
    "purple": (130, 50, 180),
    "pink": (235, 120, 185),
    "brown": (120, 75, 40),
}


def colour_name(rgb: tuple[float, float, float]) -> str:
    """Name of the nearest of twelve basic colours."""

    def distance(name: str) -> float:
        return sum((a - b) ** 2 for a, b in zip(rgb, _COLOURS[name], strict=True))

    return min(_COLOURS, key=distance)


def with_article(template: str, name: str) -> str:
    """Fill in a name, with "an" before a vowel."""
    if name[0] in "aeiou":
        template = template.replace(" a {}", " an {}").replace("a {}", "an {}", 1)
        template = template.replace("ann {}", "an {}")
    return template.format(name)


def caption_of_one(
    name: str,
    keywords: tuple[str, ...],
    scale: float,
    background: str | None,
    choice: float,
    detail: float,
) -> str:
    """Caption of a picture of one thing.

    Parameters
    ----------
    name, keywords : str, tuple[str, ...]
        What is shown, and related words.
    scale : float
        Part of the picture's side that it fills, 0 to 1.
    background : str or None
        Colour of a plain background.
    choice, detail : float
        Random numbers in [0, 1) that pick the template and a keyword.
    """
    plain = TEMPLATES + PARAPHRASES
    number = int(choice * (len(plain) + 3))
    if number < len(plain):
        return with_article(plain[number], name)
    if number == len(plain):
        size = "small" if scale < 0.6 else "large" if scale > 0.78 else "medium"
        return f"a {size} {name}"
    if number == len(plain) + 1 and background is not None:
        return with_article("a {}", name) + with_article(" on a {} background", background)
    if keywords:
        return f"{name}, {keywords[int(detail * len(keywords))]}"
    return name


def caption_of_two(left: str, right: str, choice: float) -> str:
    """Caption of a picture of two things side by side."""
    templates = ("{} and {}", "{} next to {}", "a photo of {} and {}", "a picture of {} and {}")
    first, second = with_article("a {}", left), with_article("a {}", right)
    return templates[int(choice * len(templates))].format(first, second)
