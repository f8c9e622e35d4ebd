"""``cleanclip audit``: look for poisoned pairs in a cleaning set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from ml_core.cli import output
from ml_core.cli.arguments import checkpoint_path, image_spec, pair_spec
from ml_core.cli.options import (
    CaptionColumn,
    Checkpoint,
    CocoPictures,
    Device,
    Donor,
    Exclude,
    ImageColumn,
    Json,
    NoChoice,
    Pairs,
    Threads,
)
from ml_core.cli.run import run_to_result
from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import read_file

if TYPE_CHECKING:
    from ml_core.detection.records import Audit, Distribution

_MEDIAN, _PERCENTILE_99 = 3, 6  # positions in `Distribution.percentiles`


def audit(
    checkpoint: Checkpoint,
    output_dir: Annotated[Path, typer.Option("--output", "-o", help="Folder of what is found.")],
    pairs: Pairs = "demo",
    pictures: CocoPictures = None,
    exclude: Exclude = None,
    image_column: ImageColumn = "image",
    caption_column: CaptionColumn = "caption",
    n: Annotated[
        int | None, typer.Option("--n", min=1, help="A seeded random part of the pairs.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="Pairs known to be clean, to compare with; columns as above."),
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(help="Evaluation images that must not be among the pairs; repeatable."),
    ] = None,
    k: Annotated[int, typer.Option("--k", min=2, max=256, help="Neighbours.")] = 16,
    chunk_size: Annotated[
        int,
        typer.Option(
            min=64, max=16_384, help="Pairs among which they are looked for, 4 k or more."
        ),
    ] = 1024,
    unit: Annotated[
        bool, typer.Option("--unit", help="Compare unit vectors, not what the encoder gives.")
    ] = False,
    worst: Annotated[
        int, typer.Option(min=1, max=1000, help="Pairs kept of each score, with pictures.")
    ] = 100,
    show: Annotated[int, typer.Option(min=0, max=1000, help="Pairs listed.")] = 10,
    by: Annotated[
        str,
        typer.Option(
            help="Score to list and exclude by: dao, slof, k_distance, lid, closeness, isolation "
            "or clip_score."
        ),
    ] = "dao",
    exclude_worst: Annotated[
        int,
        typer.Option(
            min=0, max=1000, help="Write the N worst by --by to exclusions.json, unseen by anyone."
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the chunks and the forest.")] = 0,
    donor: Donor = None,
    no_choice: NoChoice = False,
    device: Device = "auto",
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Look for poisoned pairs in a cleaning set, with the suspect checkpoint's own eyes.

    Scores every pair (DAO, SLOF, k-distance, LID, isolation forest, CLIPScore), writes audit.json,
    scores.csv and the pictures of the worst, and tells how each stands among all. A score ranks
    and does not decide. Of several captions of a picture the worst by CLIPScore counts and is
    shown; what is excluded is the picture with all its captions. Even 5 poisoned pairs in
    100 000 can undo CleanCLIP.

    Examples:

        cleanclip audit epoch_10.pt --pairs pairs.csv --images photos/ -o audit

        cleanclip audit model.safetensors --pairs crawl.tsv --reference clean.csv -o audit --json
    """
    from ml_core.detection.exclude import exclude as write_exclusions
    from ml_core.detection.records import SCORE, read_audit
    from ml_core.jobs.audit_spec import AUDIT_FILE, EXCLUSIONS_FILE, AuditSpec

    audited = pair_spec(
        pairs, image_column, caption_column, seed, pictures=pictures, exclude=exclude
    )
    trusted = None
    if reference is not None:
        trusted = pair_spec(reference, image_column, caption_column, seed)
    spec = AuditSpec(
        checkpoint=str(checkpoint_path(checkpoint).resolve()),
        donor=None if donor is None else str(checkpoint_path(donor).resolve()),
        use_choice=not no_choice,
        pairs=audited.model_copy(update={"n": n}),
        reference=trusted,
        images=tuple(image_spec(text) for text in images or ()),
        k=k,
        chunk_size=chunk_size,
        unit=unit,
        worst=max(worst, exclude_worst, show),
        seed=seed,
        output_dir=str(output_dir.resolve()),
        device=device,
        threads=threads,
    )
    if by not in SCORE:
        raise InputError(f"There is no score {by!r}; choose one of {', '.join(SCORE)}.")
    from ml_core.jobs.audit import audit as run_audit
    from ml_core.jobs.overall import audit_plan

    result = run_to_result(lambda control: run_audit(spec, control), audit_plan(spec))
    folder = Path(spec.output_dir)
    found = read_audit(read_file(folder / AUDIT_FILE), AUDIT_FILE)
    exclusions = None
    if exclude_worst:
        exclusions = folder / EXCLUSIONS_FILE
        earlier = Path(spec.pairs.exclude) if spec.pairs.exclude else None
        write_exclusions(exclusions, found, found.worst[by][:exclude_worst], by, earlier)
    if json:
        wanted = set(found.worst[by][:show])
        shown = [pair for pair in found.to_dict()["pairs"] if pair["index"] in wanted]
        shown.sort(key=lambda pair: pair["standings"][by]["rank"])
        place = None if exclusions is None else str(exclusions)
        output.print_json(result | {"by": by, "pairs": shown, "exclusions": place})
        return
    _print(found, by, show)
    output.show(output.cell(f"Written: {folder} (audit.json, scores.csv, thumbnails.npy)"))
    if exclusions is not None:
        output.show(output.cell(f"Exclusions: {exclusions}"))


def _print(found: Audit, by: str, show: int) -> None:
    """Print the distributions, the worst by one score, and the notes."""
    from ml_core.detection.records import SCORE

    facts = found.facts
    title = f"{facts['pairs']}: {found.n} pairs, k = {facts['k']}, chunks of {facts['chunk_size']}"
    output.show(_distributions(title, found.distributions))
    known = {pair.index: pair for pair in found.pairs}
    table = Table(
        title=f"most suspicious by {SCORE[by].title}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for name in ("rank", SCORE[by].title, "share"):
        table.add_column(name, justify="right")
    table.add_column("picture")
    table.add_column("caption")
    for index in found.worst[by][:show]:
        pair = known[index]
        at = pair.standings[by]
        also = " (also evaluated)" if pair.evaluated else ""
        table.add_row(
            str(at.rank),
            f"{at.value:.4g}",
            f"{at.share:.2g}",
            output.cell(pair.name + also),
            output.cell(pair.caption[:120]),
        )
    if show:
        output.show(table)
    for note in found.notes:
        output.show(output.cell(note))


def _distributions(title: str, rows: Sequence[Distribution]) -> Table:
    """How each score is spread."""
    from ml_core.detection.records import SCORE

    table = Table(
        title=output.cell(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("score")
    table.add_column("suspicious")
    for name in ("lowest", "median", "99th percentile", "highest"):
        table.add_column(name, justify="right")
    for row in rows:
        score = SCORE[row.score]
        numbers = (row.low, row.percentiles[_MEDIAN], row.percentiles[_PERCENTILE_99], row.high)
        end = "high" if score.high else "low"
        table.add_row(score.title, end, *(f"{number:.4g}" for number in numbers))
    return table
