"""Names that look like another: letters of other scripts, accents, signs between."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from ml_core.signing.curve import PublicKey

# Lower-case letters of Cyrillic and Greek (of which some look so as capitals alone), and digits.
_LATIN = str.maketrans(
    "авекмнорстухіјѕԁһԛԝ" "αβεζηικμνορτυχ" "01|",
    "abekmhopctyxijsdhqw" "abezhikmvoptyx" "oll",
)  # fmt: skip


def look_alike(key: PublicKey, others: Iterable[PublicKey]) -> PublicKey | None:
    """The first other key whose name a reader could take this one's for."""
    shape = _shape(key.name)
    return next(
        (one for one in others if one.key_id != key.key_id and _shape(one.name) == shape), None
    )


def _shape(name: str) -> str:
    """What is seen of a name: letters and digits alone, as Latin ones where they look so."""
    parts = unicodedata.normalize("NFKD", name).casefold()
    return "".join(char for char in parts.translate(_LATIN) if char.isalnum()).replace("i", "l")
