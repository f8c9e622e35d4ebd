"""``cleanclip audit``: look for poisoned pairs in a cleaning set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from rich import box
from rich.table import Table

from ml_core.cli import output
from ml_core.cli.arguments import checkpoint_path, image_spec, optional_checkpoint, pair_spec
from ml_core.cli.export import export
from ml_core.cli.options import (
    CaptionColumn,
    CocoPictures,
    Device,
    Donor,
    Exclude,
    ExportTo,
    ImageColumn,
    Json,
    NoChoice,
    OutputFolder,
    Overwrite,
    Pairs,
    Threads,
    given_path,
)
from ml_core.cli.run import run_spec
from ml_core.reading.errors import InputError

if TYPE_CHECKING:
    from ml_core.detection.records import Audit, Distribution
    from ml_core.jobs.audit_spec import AuditSpec, EmbeddingAuditSpec

_OF_PICTURES = (
    "pairs", "pictures", "exclude", "image_column", "caption_column", "n", "images", "donor",
    "no_choice",
)  # fmt: skip
_MEDIAN, _PERCENTILE_99 = 3, 6  # positions in `Distribution.percentiles`


def audit(
    context: typer.Context,
    output_dir: OutputFolder[Path],
    checkpoint: Annotated[
        Path | None,
        typer.Argument(
            help="A file, a folder, or hf-hub:owner/name; none with --embeddings.",
            parser=given_path,
        ),
    ] = None,
    pairs: Pairs = "demo",
    pictures: CocoPictures = None,
    exclude: Exclude = None,
    image_column: ImageColumn = "image",
    caption_column: CaptionColumn = "caption",
    n: Annotated[
        int | None, typer.Option("--n", min=1, help="Size of a random sample of the pairs.")
    ] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(
            help="Instead of checkpoint and pairs: a folder of embeddings (.npy) as clip-retrieval "
            "writes it.",
            parser=given_path,
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="Pairs known to be clean, to compare with; columns as above. With --embeddings "
            "another folder of them."
        ),
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(help="Evaluation images that must not be among the pairs; repeatable."),
    ] = None,
    k: Annotated[int, typer.Option("--k", min=2, max=256, help="Neighbours.")] = 16,
    neighbours: Annotated[
        str,
        typer.Option(
            help="Where neighbours are searched: in random chunks (chunk), as published, or in "
            "the whole set, exactly (all) or with an index (approximate, needs faiss)."
        ),
    ] = "chunk",
    chunk_size: Annotated[
        int,
        typer.Option(min=64, max=16_384, help="Pairs in a chunk, at least 4 k."),
    ] = 1024,
    unit: Annotated[
        bool, typer.Option("--unit", help="Scale embeddings to unit length first.")
    ] = False,
    worst: Annotated[
        int, typer.Option(min=1, max=1000, help="Worst pairs kept for each score, with pictures.")
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
            min=0, max=1000, help="Write the N worst by --by to exclusions.json without a review."
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the chunks and the forest.")] = 0,
    donor: Donor = None,
    no_choice: NoChoice = False,
    device: Device = "auto",
    threads: Threads = 0,
    export_to: ExportTo = None,
    processes: Annotated[
        int, typer.Option(min=1, help="With --export: processes (GPUs) that share the work.")
    ] = 1,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Look for poisoned pairs in a cleaning set, by the suspect checkpoint's own embeddings.

    Scores every pair (DAO, SLOF, k-distance, LID, isolation forest, CLIPScore), writes audit.json,
    scores.csv and the pictures of the worst, and says how each pair ranks among all. A score
    is a rank, not a verdict. Of several captions of a picture the worst by CLIPScore counts and is
    shown; what is excluded is the picture with all its captions. Even 5 poisoned pairs in
    100 000 can undo CleanCLIP.

    On several GPUs: --export writes the audit as a job, and run.sh beside it starts it with
    torchrun, one process per GPU. The processes share the chunks, and the scores are the same as
    those of one process.

    Examples:

        cleanclip audit epoch_10.pt --pairs pairs.csv --images photos/ -o audit

        cleanclip audit model.safetensors --pairs crawl.tsv --reference clean.csv -o audit --json

        cleanclip audit model.safetensors --pairs cc3m/ -o audit --export job --processes 8

        cleanclip audit --embeddings laion_embeddings/ --neighbours all -o audit
    """
    from ml_core.detection.records import SCORE, Neighbourhood, read_audit
    from ml_core.jobs.audit_spec import AUDIT_FILE, AuditSpec, EmbeddingAuditSpec

    if by not in SCORE:
        raise InputError(f"There is no score {by!r}; choose one of {', '.join(SCORE)}.")
    if neighbours not in get_args(Neighbourhood):
        raise InputError(
            f"Neighbours cannot be searched in {neighbours!r}; choose one of "
            f"{', '.join(get_args(Neighbourhood))}."
        )
    common: dict[str, Any] = {
        "k": k,
        "neighbours": neighbours,
        "chunk_size": chunk_size,
        "unit": unit,
        "worst": max(worst, exclude_worst, show),
        "seed": seed,
        "output_dir": str(output_dir.resolve()),
        "device": device,
        "threads": threads,
    }
    spec: AuditSpec | EmbeddingAuditSpec
    if embeddings is not None:
        _refuse_with_embeddings(context)
        spec = EmbeddingAuditSpec(
            embeddings=str(embeddings.resolve()),
            reference=None if reference is None else str(Path(reference).resolve()),
            **common,
        )
    elif checkpoint is None:
        raise InputError("Name the checkpoint under suspicion, or --embeddings made with it.")
    else:
        audited = pair_spec(
            pairs, image_column, caption_column, seed, pictures=pictures, exclude=exclude
        )
        trusted = None
        if reference is not None:
            trusted = pair_spec(reference, image_column, caption_column, seed)
        spec = AuditSpec(
            checkpoint=str(checkpoint_path(checkpoint).resolve()),
            donor=optional_checkpoint(donor),
            use_choice=not no_choice,
            pairs=audited.model_copy(update={"n": n}),
            reference=trusted,
            images=tuple(image_spec(text) for text in images or ()),
            **common,
        )
    if export_to is not None:
        export(spec, export_to, processes, json=json)
        return
    result = run_spec(spec, overwrite=overwrite)
    folder = Path(spec.output_dir)
    found = read_audit(folder / AUDIT_FILE)
    exclusions = None
    if exclude_worst:
        exclusions = _write_excluded(spec, found, found.worst[by][:exclude_worst], by)
    if json:
        wanted = set(found.worst[by][:show])
        shown = [pair for pair in found.to_dict()["pairs"] if pair["index"] in wanted]
        shown.sort(key=lambda pair: pair["standings"][by]["rank"])
        place = None if exclusions is None else str(exclusions)
        output.print_json(result | {"by": by, "pairs": shown, "exclusions": place})
        return
    _print(found, by, show)
    made = "audit.json, scores.csv" + ("" if embeddings is not None else ", thumbnails.npy")
    output.show(output.cell(f"Written: {folder} ({made})"))
    if exclusions is not None:
        output.show(output.cell(f"Exclusions: {exclusions}"))


def _refuse_with_embeddings(context: typer.Context) -> None:
    """Refuse what is about a checkpoint or pictures."""
    source = context.get_parameter_source("checkpoint")
    if source is not None and source.name == "COMMANDLINE":
        raise InputError(
            "The command names embeddings and a checkpoint: leave one out. Embeddings are "
            "audited without their model."
        )
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in _OF_PICTURES and source is not None and source.name == "COMMANDLINE":
            raise InputError(
                f"{max(parameter.opts, key=len)} cannot be combined with --embeddings, beside "
                "which there are no pictures: leave it out."
            )


def _write_excluded(
    spec: AuditSpec | EmbeddingAuditSpec, found: Audit, worst: Sequence[int], by: str
) -> Path:
    """Write which pairs are to be left out; the file."""
    from ml_core.detection.exclude import exclude as write_exclusions
    from ml_core.jobs.audit_spec import EXCLUDED_TABLE, EXCLUSIONS_FILE, AuditSpec
    from ml_core.jobs.embedding_audit import write_excluded

    folder = Path(spec.output_dir)
    if not isinstance(spec, AuditSpec):
        write_excluded(folder / EXCLUDED_TABLE, found, worst, by)
        return folder / EXCLUDED_TABLE
    earlier = Path(spec.pairs.exclude) if spec.pairs.exclude else None
    write_exclusions(folder / EXCLUSIONS_FILE, found, worst, by, earlier)
    return folder / EXCLUSIONS_FILE


def _print(found: Audit, by: str, show: int) -> None:
    """Print the distributions, the worst by one score, and the notes."""
    from ml_core.detection.records import SCORE

    facts = found.facts
    where = "neighbours in the whole set"
    if facts["neighbours"] == "chunk":
        where = f"chunks of {facts['chunk_size']}"
    title = f"{facts['pairs']}: {found.n} pairs, k = {facts['k']}, {where}"
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
