"""What is read from files and written to them: checked, and never changed afterwards."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A frozen record without unknown fields, and without NaN.

    What checks a record is built when the first of its kind is made: most kinds are never met
    before the program ends.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    def to(self, kind: type[Other], **own: Any) -> Other:
        """A record of another kind: the fields that both kinds have, and its ``own`` ones."""
        shared = type(self).model_fields.keys() & kind.model_fields.keys() - own.keys()
        return kind(**{name: getattr(self, name) for name in shared}, **own)


Other = TypeVar("Other", bound=Record)
