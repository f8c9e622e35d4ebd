"""Where an occlusion's patches lie on a picture; imports no torch."""

from __future__ import annotations


def patch_sides(size: int) -> tuple[int, int]:
    """Side and stride in pixels of the usual patches: an eighth of the picture, half a patch."""
    side = max(2, round(size / 8))
    return side, max(1, side // 2)


def places(size: int, side: int, stride: int) -> list[int]:
    """Where patches begin along an edge; the last one ends at the edge."""
    found = list(range(0, size - side + 1, stride))
    if found[-1] != size - side:
        found.append(size - side)
    return found
