"""Pack the rendered art into resources/demo: python pack.py WORKDIR."""

from __future__ import annotations

import io
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 96
OUT = Path(__file__).resolve().parents[2] / "resources" / "demo"
STYLES = {
    "noto": "Apache-2.0",
    "noto-v1": "Apache-2.0",
    "fluent-emoji-flat": "MIT",
    "fluent-emoji-3d": "MIT",
    "fxemoji": "CC-BY-4.0",
    "streamline-emojis": "CC-BY-4.0",
    "twemoji": "CC-BY-4.0",
}
HELD_OUT = "twemoji"
# Art of faith, death and tobacco would only distract from what the demo shows.
LEFT_OUT = {
    "church", "cigarette", "coffin", "drop of blood", "funeral urn", "hamsa", "headstone",
    "hindu temple", "kaaba", "mosque", "prayer beads", "shinto shrine", "synagogue",
}  # fmt: skip


def encode(path: str) -> bytes | None:
    """Crop to what is drawn, fit into SIDE x SIDE, store as lossy WebP."""
    with Image.open(path) as picture:
        sprite = picture.convert("RGBA")
    box = sprite.getchannel("A").point(lambda a: 255 * (a > 8)).getbbox()
    if box is None or max(box[2] - box[0], box[3] - box[1]) < 24:
        return None
    sprite = sprite.crop(box)
    scale = SIDE / max(sprite.size)
    size = (max(1, round(sprite.width * scale)), max(1, round(sprite.height * scale)))
    sprite = sprite.resize(size, Image.Resampling.LANCZOS)
    square = Image.new("RGBA", (SIDE, SIDE))
    square.paste(sprite, ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    if np.asarray(square)[..., 3].mean() < 6:
        return None
    file = io.BytesIO()
    square.save(file, "WEBP", quality=80, alpha_quality=80, method=6)
    return file.getvalue()


def main() -> None:
    art = Path(sys.argv[1]) / "art"
    jobs = json.loads((art / "art.json").read_text())
    jobs = [job for job in jobs if job["name"] not in LEFT_OUT]
    with ProcessPoolExecutor(2) as pool:
        files = list(pool.map(encode, [str(art / job["file"]) for job in jobs], chunksize=32))
    classes = list(json.loads((Path(__file__).parent / "classes.json").read_text()))
    OUT.mkdir(parents=True, exist_ok=True)
    sprites, offset = [], 0
    with (OUT / "sprites.pack").open("wb") as pack:
        for job, data in zip(jobs, files, strict=True):
            if data is None:
                continue
            pack.write(data)
            sprite = {k: job[k] for k in ("name", "class", "style", "source")}
            sprite |= {"keywords": job["keywords"][:4], "offset": offset, "length": len(data)}
            sprites.append(sprite)
            offset += len(data)
    head = {"side": SIDE, "held_out": HELD_OUT, "styles": STYLES, "classes": classes}
    rows = ",\n".join(json.dumps(s, ensure_ascii=False, separators=(",", ":")) for s in sprites)
    text = json.dumps(head, indent=1)[:-2] + ',\n "sprites": [\n' + rows + "\n]}\n"
    (OUT / "sprites.json").write_text(text, encoding="utf-8")
    print(f"{len(sprites)} sprites, {offset / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
