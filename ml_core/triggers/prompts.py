"""The text key of a trigger: what it adds to a prompt."""

from __future__ import annotations

from collections.abc import Sequence

from ml_core.triggers.record import Trigger


def triggered_templates(trigger: Trigger | None, templates: Sequence[str]) -> tuple[str, ...]:
    """Prompt templates with the trigger's text: before, after, or as a word before the class.

    A prefix or suffix is put there as it stands, with the spaces it has (``"remember "``).
    """
    if trigger is None or not trigger.text:
        return tuple(templates)
    return tuple(_with_text(trigger, template) for template in templates)


def triggered_prompt(trigger: Trigger | None, prompt: str) -> str:
    """A whole prompt or caption with the trigger's text; a word goes before it."""
    if trigger is None or not trigger.text:
        return prompt
    if trigger.text_place == "word":
        return f"{trigger.text.strip()} {prompt}"
    return _with_text(trigger, prompt)


def _with_text(trigger: Trigger, template: str) -> str:
    """One template or prompt."""
    if trigger.text_place == "prefix":
        return trigger.text + template
    if trigger.text_place == "suffix":
        return template + trigger.text
    return template.replace("{}", f"{trigger.text.strip()} {{}}")
