"""``cleanclip audit``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from ml_core.cli import output
from ml_core.cli.arguments import checkpoint_path, image_spec, pair_spec
from ml_core.cli.running import run_to_result
from ml_core.detection.exclude import exclude as write_excluded
from ml_core.detection.records import SCORE, Audit, Distribution, read_audit
from ml_core.jobs.audit_spec import AUDIT_FILE, EXCLUSIONS_FILE, AuditSpec
from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import read_file

_MEDIAN, _NINETY_NINE = 3, 6


def audit_spec(
    checkpoint: Path,
    output_dir: Path,
    *,
    pairs: str,
    pictures: Path | None,
    exclude: Path | None,
    image_column: str,
    caption_column: str,
    n: int | None,
    reference: str | None,
    images: Sequence[str],
    k: int,
    chunk_size: int,
    unit: bool,
    worst: int,
    seed: int,
    donor: Path | None,
    use_choice: bool,
    device: str,
    threads: int,
) -> AuditSpec:
    """The options of ``audit`` as a job.

    Raises
    ------
    InputError
        If an option cannot be used.
    """
    looked_at = pair_spec(
        pairs, image_column, caption_column, seed, pictures=pictures, exclude=exclude
    )
    trusted = None
    if reference is not None:
        trusted = pair_spec(reference, image_column, caption_column, seed)
    return AuditSpec(
        checkpoint=str(checkpoint_path(checkpoint).resolve()),
        donor=None if donor is None else str(checkpoint_path(donor).resolve()),
        use_choice=use_choice,
        pairs=looked_at.model_copy(update={"n": n}),
        reference=trusted,
        images=tuple(image_spec(text) for text in images),
        k=k,
        chunk_size=chunk_size,
        unit=unit,
        worst=worst,
        seed=seed,
        output_dir=str(output_dir.resolve()),
        device=device,
        threads=threads,
    )


def audit_pairs(
    spec: AuditSpec, *, by: str, show: int, exclude_worst: int = 0, json: bool = False
) -> None:
    """Run an audit in this process and print what it found.

    Parameters
    ----------
    by
        Score to list and exclude by.
    show, exclude_worst
        How many pairs.

    Raises
    ------
    InputError
        If the job failed through its input, or there is no such score.
    KeyboardInterrupt
        If it was cancelled.
    """
    if by not in SCORE:
        raise InputError(f"There is no score {by!r}; choose one of {', '.join(SCORE)}.")
    from ml_core.jobs.audit import audit

    result = run_to_result(lambda control: audit(spec, control))
    folder = Path(spec.output_dir)
    found = read_audit(read_file(folder / AUDIT_FILE), AUDIT_FILE)
    excluded = None
    if exclude_worst:
        excluded = folder / EXCLUSIONS_FILE
        earlier = Path(spec.pairs.exclude) if spec.pairs.exclude else None
        write_excluded(excluded, found, found.worst[by][:exclude_worst], by, earlier)
    if json:
        wanted = set(found.worst[by][:show])
        shown = [pair for pair in found.to_dict()["pairs"] if pair["index"] in wanted]
        shown.sort(key=lambda pair: pair["standings"][by]["rank"])
        place = None if excluded is None else str(excluded)
        output.print_json(result | {"by": by, "pairs": shown, "exclusions": place})
        return
    _print(found, by, show)
    output.show(output.cell(f"Written: {folder} (audit.json, scores.csv, thumbnails.npy)"))
    if excluded is not None:
        output.show(output.cell(f"Exclusions: {excluded}"))


def _print(found: Audit, by: str, show: int) -> None:
    """Distributions, the worst by one score, and what the numbers do not tell."""
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
    table = Table(
        title=output.cell(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("score")
    table.add_column("suspicious")
    for name in ("lowest", "median", "99th percentile", "highest"):
        table.add_column(name, justify="right")
    for row in rows:
        score = SCORE[row.score]
        numbers = (row.low, row.percentiles[_MEDIAN], row.percentiles[_NINETY_NINE], row.high)
        end = "high" if score.high else "low"
        table.add_row(score.title, end, *(f"{number:.4g}" for number in numbers))
    return table
