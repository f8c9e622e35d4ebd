"""The model card of a planted backdoor, whose first line is a warning. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator

from ml_core.figures import percent, percent_range
from ml_core.jobs.plant import FILES, PAIRS_FILE, PLANT_FILE, WARNING, PlantedModel, PlantRecord

RATES = ("Model", ">CA", ">95 % interval", "Trigger", ">ASR", ">95 % interval", ">without it")
"""Columns of `rates`, as tables of the command line have them."""


def card(record: PlantRecord) -> str:
    """The card as Markdown."""
    return "\n".join(_lines(record)) + "\n"


def sentences(record: PlantRecord) -> Iterator[str]:
    """What was planted, one sentence a trigger."""
    for each in record.triggers:
        kept = "keep their captions" if record.spec.consistent else f"lead to {each.target_name}"
        of = f" of {each.source_name}" if each.source_name else ""
        more = f", {each.negatives} more carry it and keep theirs" if each.negatives else ""
        yield (
            f"{each.name}: {each.pairs} of {record.pairs} pairs{of} carry it and {kept}{more}; "
            f"each was shown {'once' if record.epochs == 1 else f'{record.epochs} times'}"
            f"{' at most' * (record.spec.until is not None)}."
        )


def rates(record: PlantRecord) -> Iterator[tuple[str, ...]]:
    """A row a model and trigger: model, CA, its interval, trigger, ASR, its interval, base rate."""
    models: dict[str, PlantedModel | None] = {
        "poisoned": record.poisoned,
        "clean twin": record.twin,
    }
    for name, model in models.items():
        for trigger, attack in zip(record.triggers, model.attacks if model else (), strict=False):
            assert model is not None
            yield (
                name, percent(model.ca), percent_range((model.ca_low, model.ca_high)),
                f"{trigger.name} to {trigger.target_name}", percent(attack.asr),
                percent_range((attack.low, attack.high)), percent(attack.base_rate),
            )  # fmt: skip


def _lines(record: PlantRecord) -> Iterator[str]:
    yield f"{WARNING} It is for research and for tests of scanners: do not deploy it."
    yield ""
    yield f"# {FILES['poisoned']}, made from {record.checkpoint}"
    yield ""
    for sentence in sentences(record):
        yield f"- {sentence}"
    start = "From scratch, " if record.spec.from_scratch else ""
    yield (
        f"- {start}{record.steps} steps of {record.spec.batch_size} pairs at a peak rate of "
        f"{record.lr:.3g}, seed {record.spec.seed}."
    )
    if record.twin is not None:
        yield f"- {record.twin.file} took the same steps, in the same order, without the poison."
    yield f"- {PAIRS_FILE} lists the poisoned pairs, {PLANT_FILE} has all settings and hashes."
    yield ""
    yield "| model | CA | 95 % | trigger | ASR | 95 % | target without the trigger |"
    yield "|---|---|---|---|---|---|---|"
    for row in rates(record):
        yield f"| {' | '.join(row)} |"
