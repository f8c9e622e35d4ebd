"""What all pages share: the templates, the style and the policy that lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ml_core.reports.html import fields


def page(template: str, margin_note: str, **values: Any) -> str:
    """A whole page.

    Parameters
    ----------
    template
        File name of a template that extends ``base.html``.
    margin_note
        At the foot of each printed page: letters, digits, spaces, ``.``, ``-`` and ``:`` alone,
        because it stands in the style sheet.
    values
        For the template.
    """
    if not all(char.isascii() and (char.isalnum() or char in " .:-") for char in margin_note):
        raise ValueError(f"no note for the margin: {margin_note!r}")
    made = _environment()
    style = "\n" + made.get_template("style.css").render(margin_note=margin_note) + "\n"
    # The policy names the one style sheet by its hash: no other could be smuggled in.
    hashed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return made.get_template(template).render(
        style=Markup(style), style_hash=f"sha256-{hashed}", **values
    )


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("ml_core.reports.html"),
        autoescape=lambda name: name is not None and name.endswith(".html"),
        undefined=StrictUndefined,
        finalize=fields.finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters.update(
        percent=fields.percent,
        points=fields.points,
        range=fields.span,
        points_range=fields.points_span,
        p_value=fields.p_value,
        duration=fields.duration,
        exactly=fields.exactly,
        digest=fields.digest,
        opening=fields.opening,
    )
    made.tests.update(
        something=lambda value: fields.raw(value) not in (None, "", [], {}),
        text=lambda value: isinstance(fields.raw(value), str),
        fraction=lambda value: isinstance(fields.raw(value), float) and 0 <= fields.raw(value) <= 1,
    )
    return made
