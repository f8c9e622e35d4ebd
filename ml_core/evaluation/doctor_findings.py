"""The loader doctor's trials as sentences and a proposal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ml_core.checkpoints.choice import Choice
from ml_core.evaluation.candidates import QUESTIONS, answer, words
from ml_core.evaluation.doctor_bench import Bench, mean
from ml_core.evaluation.doctor_records import Diagnosis, Trial, surely_better
from ml_core.figures import percent

_LOG_SCALES = {"CLIP's largest, 100": 100.0, "CLIP's first, 1 / 0.07": 1 / 0.07}
_PLAUSIBLE = (1.0, 200.0)


def explain(bench: Bench, opened: Choice, best: Choice) -> Diagnosis:
    """Turn the trials into sentences, question by question."""
    architecture = bench.checkpoint.architecture
    unsure: set[str] = set(architecture.questions)
    if "heads" in unsure:
        unsure |= {"text heads", "image heads"}
    top = bench.trials[best]
    findings: list[str] = []
    warnings: list[str] = []
    kept: dict[str, Any] = {}
    for question in QUESTIONS:
        right, said = words(best, question), words(opened, question)
        if answer(opened, question) != answer(best, question):
            kept |= answer(best, question)
            worse = bench.trials.get(replace(best, **answer(opened, question)))
            rates = ""
            if worse is not None:
                both = percent(top.accuracy), percent(worse.accuracy)
                rates = f" ({' against '.join(both)} of {bench.n} images)"
            if question in unsure:
                findings.append(
                    f"The file does not state the {question}: {said} was assumed, and {right} "
                    f"scores better{rates}."
                )
            else:
                warnings.append(
                    f"File and behaviour disagree on the {question}: the file says {said}, and it "
                    f"behaves like {right}{rates}."
                )
        elif question in unsure:
            kept |= answer(best, question)
            rivals = [
                trial
                for trial in bench.trials.values()
                if trial.settings != best
                and all(
                    answer(trial.settings, other) == answer(best, other)
                    for other in QUESTIONS
                    if other != question
                )
            ]
            findings.append(_confirmed(question, right, top, rivals, bench.n))
    scale, said = _logit_scale(bench, best, "logit scale" in architecture.questions)
    if scale is not None:
        kept["logit_scale"] = scale
        (findings if "logit scale" in architecture.questions else warnings).append(said)
    choice = None
    first = bench.trials.get(opened)
    if kept:
        answers = [words(best, q) for q in QUESTIONS if answer(best, q).items() <= kept.items()]
        if scale is not None:
            answers.append(f"a logit scale of {scale:.4g}")
        score = percent(top.accuracy)
        if first is not None and first is not top:
            score += f" instead of {percent(first.accuracy)}"
        choice = Choice(
            **kept,
            evidence=(
                f"Chosen with the loader doctor on {bench.n} labelled images of {bench.source}: "
                f"{', '.join(answers)}; {score} right among {len(bench.classes)} classes."
            ),
        )
    return Diagnosis(
        tuple(bench.trials.values()), first, top, choice, tuple(findings), tuple(warnings)
    )


def _confirmed(question: str, right: str, top: Trial, rivals: list[Trial], n: int) -> str:
    """Whether the images tell an answer from its rivals."""
    if not rivals:
        return f"The file does not state the {question}: {right} is the only one that fits."
    rival = max(rivals, key=lambda trial: (trial.correct, -trial.nll))
    said = words(rival.settings, question)
    rates = f"{percent(top.accuracy)} against {percent(rival.accuracy)} of {n} images"
    if surely_better(top, rival):
        return (
            f"The file does not state the {question}: {right} was assumed and scores better than "
            f"{said} ({rates})."
        )
    return (
        f"The file does not state the {question}, and the images cannot distinguish {right} from "
        f"{said} ({rates}): the assumption is kept."
    )


def _logit_scale(bench: Bench, best: Choice, unsure: bool) -> tuple[float | None, str]:
    """The likeliest logit scale, if the file has none or one that no CLIP has."""
    low, high = _PLAUSIBLE
    if low <= bench.scale <= high and not unsure:
        return None, ""
    options = dict(_LOG_SCALES)
    raw = bench.state.get("logit_scale")
    if raw is not None and raw.numel() == 1 and low <= float(raw) <= high:
        options["the stored number itself"] = float(raw)
    cosines = bench.cosines(best)
    name = min(options, key=lambda name: mean(bench.losses(cosines, options[name])))
    said = "has no logit scale" if unsure else f"says a logit scale of {bench.scale:.3g}"
    return options[name], f"The file {said}: {name} ({options[name]:.4g}) is the likeliest."
