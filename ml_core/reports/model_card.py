"""What was measured of a checkpoint, as metadata for its model card on the Hugging Face Hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_core.reading.errors import InputError
from ml_core.reading.plain import plain
from ml_core.reports.record import Evidence, Metric
from ml_core.reports.rendering import METRICS, measured_on, rates_of, subject_of

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

# Those that https://huggingface.co/metrics knows; the others keep their own name.
_TYPES: dict[Metric, str] = {"ca": "accuracy", "control_ca": "accuracy"}
_TASKS = {"zero-shot": "zero-shot-image-classification", "linear": "image-classification"}


def render_model_card_yaml(evidence: Evidence) -> bytes:
    """The ``model-index`` of the checkpoint that the report decides about, as YAML.

    It goes between the two lines of dashes at the head of a ``README.md``. Rates are fractions;
    counts and the interval stand beside each.

    Raises
    ------
    InputError
        If nothing was measured on that checkpoint.
    """
    from huggingface_hub import ModelCardData

    subject = subject_of(evidence)
    name = plain(evidence.checkpoints[subject].name)
    results = _results(evidence, subject)
    if not results:
        raise InputError(f"Nothing was measured on {name}, so its model card has no results.")
    card = ModelCardData(model_name=name, eval_results=results)
    return (card.to_yaml() + "\n").encode()


def render_eval_results_yaml(evidence: Evidence, dataset: str, task: str) -> bytes:
    """Clean accuracy as a file of ``.eval_results/``, for the leaderboard of a benchmark.

    Parameters
    ----------
    dataset, task
        Of the Hub: id of a data set that is registered as a benchmark, and the id of one of its
        tasks. The evidence cannot know them.

    Raises
    ------
    InputError
        If no clean accuracy was measured on the checkpoint that the report decides about.
    """
    from huggingface_hub.utils import yaml_dump  # type: ignore[attr-defined]

    subject = subject_of(evidence)
    entries = [
        {
            "dataset": {"id": dataset, "task_id": task},
            "value": claim.rate.value,
            "notes": plain(f"{measured_on(evidence, claim.metric, measured)}; {claim.rate.hits} of "
                           f"{claim.rate.n}"),
        }
        for claim, measured in rates_of(evidence, subject)
        if claim.metric == "ca"
    ]  # fmt: skip
    if not entries:
        name = plain(evidence.checkpoints[subject].name)
        raise InputError(f"No clean accuracy was measured on {name}; evaluate labelled images.")
    return yaml_dump(entries, sort_keys=False).encode()


def _results(evidence: Evidence, subject: str) -> list[EvalResult]:
    from huggingface_hub import EvalResult

    found = []
    for claim, measured in rates_of(evidence, subject):
        data = evidence.data[measured.data]
        found.append(
            EvalResult(
                task_type=_TASKS[measured.head],
                dataset_type=plain(data.name),
                dataset_name=plain(data.name),
                # Several sets may have one name; results are grouped by this.
                dataset_config=measured.data,
                dataset_args={"key": plain(data.key), "images": data.n},
                metric_type=_TYPES.get(claim.metric, claim.metric),
                metric_value=claim.rate.value,
                metric_name=plain(
                    f"{METRICS[claim.metric]}; {measured_on(evidence, claim.metric, measured)}"
                ),
                metric_args={
                    "hits": claim.rate.hits,
                    "n": claim.rate.n,
                    "interval": [claim.interval.low, claim.interval.high],
                    "interval_method": claim.interval.method,
                },
            )
        )
    return found
