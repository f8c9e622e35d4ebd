"""A field of a record with all that people see of it, and fields that are no more."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator


def option(
    default: Any = ...,
    title: str = "",
    help: str = "",
    *,
    unit: str = "",
    flag: str = "",
    metavar: str = "",
    least: float | None = None,
    closed: bool = False,
    methods: str = "",
    **limits: Any,
) -> Any:
    """A pydantic field that forms, the command line and the reference page are made from.

    Parameters
    ----------
    title
        Label in a form and in messages.
    help
        One or two sentences.
    unit
        Unit beside the value in a form.
    flag
        Name on the command line if it is not that of the field, ``--a/--no-a`` for a switch both
        ways; several with spaces between.
    metavar
        What stands for the value in the help of the command line.
    least
        Least value on the command line, if it is not ``ge``.
    closed
        Whether the command line shows and checks ``le``, too; beyond it the record refuses.
    methods
        Cleaning methods that take it, with spaces between; empty means all.
    **limits
        As in `pydantic.Field`: ``ge``, ``gt``, ``le``, ``lt``, ``pattern``, ...
    """
    extra: dict[str, Any] = {"unit": unit, "methods": methods.split()}
    extra |= {"flag": flag, "metavar": metavar, "least": least, "closed": closed}
    return Field(
        default,
        title=title or None,
        description=help or None,
        json_schema_extra=extra,
        **limits,
    )


def passes_over(*names: str) -> Any:
    """A validator of a record that passes over fields which earlier versions wrote."""

    def kept(fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        return {name: value for name, value in fields.items() if name not in names}

    return model_validator(mode="before")(kept)
