"""Which pictures a set holds: number, name and SHA-256, by which they are known again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress

from ml_core.data.digests import Learner, hash_file, known_digests
from ml_core.data.images import ImageSet
from ml_core.data.pictures import DemoPictures, FilePictures, Pictures, printable
from ml_core.data.watch import Watch, unwatched, watched
from ml_core.exports import to_csv
from ml_core.reading.errors import InputError

COLUMNS = ("index", "name", "sha256", "bytes", "label")
_BLOCK = 1024


def list_pictures(images: ImageSet, watch: Watch = unwatched) -> bytes:
    """The pictures of a set as a CSV of `COLUMNS`, in the set's order.

    The SHA-256 is of what `Pictures.raw` gives: of a file, the file; of a packed set, the bytes in
    it; of the demo, the words from which a picture is composed. A picture that cannot be read has
    none, and 0 bytes. Digests of files that are known from before are not computed again.

    Parameters
    ----------
    images
        The set.
    watch
        Is told how far it is, and may end it.
    """
    return to_csv(_rows(images, watch)).encode()


def what_is_hashed(images: ImageSet) -> str:
    """What the SHA-256 of a picture is taken of, in a few words."""
    if isinstance(images.pictures, DemoPictures):
        return "the split, seed and number that the program composes it from"
    if isinstance(images.pictures, FilePictures):
        return "its file"
    return "its bytes in the set's files"


def _rows(images: ImageSet, watch: Watch) -> Iterator[tuple[object, ...]]:
    yield COLUMNS
    seen: set[str] = set()
    digests = _digests(images.pictures)
    told = watched(digests, watch, "Listing pictures", len(images))
    for index, (digest, size) in enumerate(told):
        name = printable(images.pictures.name(index))
        if name in seen:  # a packed set may call two alike
            name = f"{name} [{index}]"
        seen.add(name)
        yield index, name, digest, size, int(images.labels[index])


def _digests(pictures: Pictures) -> Iterator[tuple[str, int]]:
    """SHA-256 in hex and bytes of each picture."""
    if isinstance(pictures, FilePictures):
        yield from _file_digests(pictures)
        return
    for index in range(len(pictures)):
        raw = b""
        with suppress(InputError):
            raw = pictures.raw(index)
        yield (hashlib.sha256(raw).hexdigest(), len(raw)) if raw else ("", 0)


def _file_digests(pictures: FilePictures) -> Iterator[tuple[str, int]]:
    learner, paths = Learner(), pictures.paths
    for start in range(0, len(paths), _BLOCK):
        block = [paths[i] for i in range(start, min(start + _BLOCK, len(paths)))]
        known: dict[int, bytes] = {}
        with suppress(OSError):  # one vanished: it is told below
            known = known_digests(block)
        for number, path in enumerate(block):
            try:
                size = path.stat().st_size
                digest = known.get(number)
                if digest is None:
                    fact, digest = hash_file(path)
                    if fact is not None:
                        size = fact.st_size
                        learner.learn(path, fact, digest)
            except OSError:
                yield "", 0
                continue
            yield digest.hex(), size
        learner.save()
