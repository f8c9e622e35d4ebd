"""``cleanclip audit``: look for poisoned pairs in a cleaning set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from ml_core.cli import output
from ml_core.cli.arguments import image_spec, pair_spec, spec_fields
from ml_core.cli.options import PAIRS, Options, command
from ml_core.cli.run import run_spec
from ml_core.data.specs import PairSpec
from ml_core.jobs.audit import AUDIT_FILE, EXCLUSIONS_FILE, AuditSpec
from ml_core.options import option
from ml_core.reading.errors import InputError

if TYPE_CHECKING:
    from ml_core.detection.records import Audit, Distribution

_SPREAD = ("score", "suspicious", ">lowest", ">median", ">99th percentile", ">highest")
_MEDIAN, _PERCENTILE_99 = 3, 6  # positions in `Distribution.percentiles`


@command(
    "output_dir checkpoint pairs pictures exclude picture_column caption_column n reference "
    "images k chunk_size unit worst show by exclude_worst seed donor no_choice device threads "
    "overwrite json",
    AuditSpec,
)
def audit(
    options: Options,
    pairs: str = option("demo", help=PAIRS),
    n: int | None = option(None, help="Size of a random sample of the pairs.", ge=1),
    reference: str | None = option(
        None, help="Pairs known to be clean, to compare with; columns as above."
    ),
    images: list[str] | None = option(
        None, help="Evaluation images that must not be among the pairs; repeatable."
    ),
    show: int = option(10, help="Pairs listed.", ge=0, le=1000, closed=True),
    by: str = option(
        "dao",
        help="Score to list and exclude by: dao, slof, k_distance, lid, closeness, isolation "
        "or clip_score.",
    ),
    exclude_worst: int = option(
        0,
        help="Write the N worst by --by to exclusions.json without a review.",
        ge=0,
        le=1000,
        closed=True,
    ),
) -> None:
    """Scores every pair (DAO, SLOF, k-distance, LID, isolation forest, CLIPScore), writes
    audit.json, scores.csv and the pictures of the worst, and says how each pair ranks among
    all. A score is a rank, not a verdict. Of several captions of a picture the worst by
    CLIPScore counts and is shown; what is excluded is the picture with all its captions. Even 5
    poisoned pairs in 100 000 can undo CleanCLIP.

    Examples:

        cleanclip audit epoch_10.pt --pairs pairs.csv --images photos/ -o audit

        cleanclip audit model.safetensors --pairs crawl.tsv --reference clean.csv -o audit --json
    """
    from ml_core.detection.records import SCORE, read_audit

    if by not in SCORE:
        raise InputError(f"There is no score {by!r}; choose one of {', '.join(SCORE)}.")
    fields = spec_fields(options, AuditSpec)
    fields["worst"] = max(fields["worst"], exclude_worst, show)
    spec = AuditSpec(
        pairs=pair_spec(pairs, options, fields["seed"]).model_copy(update={"n": n}),
        reference=None if reference is None else _trusted(reference, options, fields["seed"]),
        images=tuple(image_spec(text) for text in images or ()),
        **fields,
    )
    result = run_spec(spec, overwrite=options.overwrite)
    folder = Path(spec.output_dir)
    record = read_audit(folder / AUDIT_FILE)
    exclusions = None
    if exclude_worst:
        from ml_core.detection.exclude import exclude

        exclusions = folder / EXCLUSIONS_FILE
        earlier = Path(spec.pairs.exclude) if spec.pairs.exclude else None
        exclude(exclusions, record, record.worst[by][:exclude_worst], by, earlier)
    worst = set(record.worst[by][:show])
    pairs_shown = [pair for pair in record.to_dict()["pairs"] if pair["index"] in worst]
    pairs_shown.sort(key=lambda pair: pair["standings"][by]["rank"])
    written = None if exclusions is None else str(exclusions)
    output.answer(
        options.json,
        result | {"by": by, "pairs": pairs_shown, "exclusions": written},
        *_parts(record, by, show),
        f"Written: {folder} (audit.json, scores.csv, thumbnails.npy)",
        *([] if written is None else [f"Exclusions: {written}"]),
    )


def _trusted(reference: str, options: Options, seed: int) -> PairSpec:
    """Pairs known to be clean: a table with the same columns, and nothing left out."""
    return pair_spec(reference, options.changed(pictures=None, exclude=None), seed)


def _parts(record: Audit, by: str, show: int) -> Iterator[Table | str]:
    """The distributions, the worst by one score, and the notes."""
    from ml_core.detection.records import SCORE

    facts = record.facts
    title = f"{facts['pairs']}: {record.n} pairs, k = {facts['k']}, chunks of {facts['chunk_size']}"
    yield output.table(title, _SPREAD, map(_spread, record.distributions))
    pairs = {pair.index: pair for pair in record.pairs}
    shown = [pairs[index] for index in record.worst[by][:show]]
    columns = (">rank", f">{SCORE[by].title}", ">share", "picture", "caption")
    rows = (
        (
            str(pair.standings[by].rank),
            f"{pair.standings[by].value:.4g}",
            f"{pair.standings[by].share:.2g}",
            pair.name + (" (also evaluated)" if pair.evaluated else ""),
            pair.caption[:120],
        )
        for pair in shown
    )
    if show:
        yield output.table(f"most suspicious by {SCORE[by].title}", columns, rows)
    yield from record.notes


def _spread(row: Distribution) -> tuple[str, ...]:
    """How a score is spread, as a row of the table."""
    from ml_core.detection.records import SCORE

    score = SCORE[row.score]
    numbers = (row.low, row.percentiles[_MEDIAN], row.percentiles[_PERCENTILE_99], row.high)
    return (score.title, "high" if score.high else "low", *(f"{n:.4g}" for n in numbers))
