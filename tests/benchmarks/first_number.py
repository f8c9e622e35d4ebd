"""From the end of a stroke to the selected image's bars and to the first new ASR on screen."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch

from cleanclip_gui.talk.script import Wait
from ml_core.checkpoints import open_checkpoint
from ml_core.paths import resource
from tests.benchmarks.timing import Row, median, seconds, spread
from tests.benchmarks.window import make_window, open_demo, play, stroke

STROKES = 8


def run() -> list[Row]:
    app, window = make_window()
    taken: list[float] = []
    bars: list[float] = []
    sizes: list[int] = []
    session = window.session

    def script() -> Iterator[Wait]:
        yield from open_demo(window)
        for number in range(STROKES):
            before = session.evaluation
            stroke(window, (10 + 4 * number, 12), (18 + 4 * number, 30))
            begin = time.perf_counter()
            arrived: list[float] = []
            drawn: list[float] = []

            def note_bars(_ready: object, _older: bool) -> None:
                if not drawn:  # noqa: B023
                    drawn.append(time.perf_counter() - begin)  # noqa: B023

            window.stations["studio"].live.predicted.connect(note_bars)

            def note(found: object) -> None:
                if found is not None and not arrived:  # noqa: B023
                    arrived.append(time.perf_counter() - begin)  # noqa: B023
                    sizes.append(found.n)  # type: ignore[attr-defined]

            session.events.evaluation.connect(note)
            yield Wait(lambda: bool(arrived), 20, "no number came after a stroke")  # noqa: B023
            session.events.evaluation.disconnect(note)
            yield Wait(lambda: bool(drawn), 20, "no bars came after a stroke")  # noqa: B023
            window.stations["studio"].live.predicted.disconnect(note_bars)
            bars.append(drawn[0])
            taken.append(arrived[0])
            yield Wait(
                lambda: (
                    session.evaluation is not None
                    and session.evaluation is not before  # noqa: B023
                    and not session.evaluation.partial
                ),
                60,
                "the evaluation did not end",
            )

    play(app, window, script())
    model = open_checkpoint(resource("demo", "poisoned.safetensors")).build()
    n = round(median(sizes))
    pictures = torch.rand(n, 3, model.image_size, model.image_size)
    model.encode_images(pictures)
    bare = [seconds(lambda: model.encode_images(pictures)) for _ in range(STROKES)]
    ratios = [a / b for a, b in zip(taken, bare, strict=True)]
    return [
        Row(
            "bars of the selected image after a stroke, promised within 50 ms",
            f"{1000 * median(bars):.0f} ms",
            "50 ms",
            f"{median(bars) / 0.05:.2f}",
            f"{1000 * min(bars):.0f} to {1000 * max(bars):.0f} ms",
        ),
        Row(
            "first ASR number after a stroke, promised within 150 ms",
            f"{1000 * median(taken):.0f} ms",
            "150 ms",
            f"{median(taken) / 0.15:.2f}",
            f"{1000 * min(taken):.0f} to {1000 * max(taken):.0f} ms",
        ),
        Row(
            f"first ASR number after a stroke, against encoding its {n} images once",
            f"{1000 * median(taken):.0f} ms",
            f"{1000 * median(bare):.0f} ms",
            f"{median(ratios):.1f}",
            spread(ratios, 1),
        ),
    ]
