"""The report as a page: every figure names its field, nothing is fetched, no text does harm."""

from __future__ import annotations

import hashlib
import html.parser
import io
import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

from ml_core.reading import InputError
from ml_core.reading.errors import plain
from ml_core.reports.html.charts import draw_charts
from ml_core.reports.html.report import _patch_png, commands, render_html
from ml_core.reports.record import EVIDENCE_FILE, ChartFacts, Evidence, QuotedClaim
from tests import evidence_samples
from tests.evidence_samples import Files, reading

VOID = {"meta", "img", "br", "path", "rect", "circle", "polygon", "polyline"}
FIXED = ("95 %", "SHA-256")
"""Numbers that the page's own words hold."""


@dataclass
class Piece:
    """Text of the page, and the elements that it lies in."""

    text: str
    inside: tuple[tuple[str, dict[str, str]], ...]

    def nearest(self, name: str) -> dict[str, str] | None:
        return next((attrs for _, attrs in reversed(self.inside) if name in attrs), None)


@dataclass
class Page(html.parser.HTMLParser):
    source: str
    pieces: list[Piece] = field(default_factory=list)
    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[tuple[str, dict[str, str]]] = []
        self.feed(self.source)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        one = (tag, {name: value or "" for name, value in attrs})
        self.tags.append(one)
        if tag not in VOID:
            self._open.append(one)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        self.pieces.append(Piece(data, tuple(self._open)))

    @property
    def headings(self) -> list[str]:
        return [p.text for p in self.pieces if p.inside and p.inside[-1][0] == "h2"]

    @property
    def text(self) -> str:
        return "".join(p.text for p in self.pieces if p.inside and p.inside[-1][0] != "style")


def rendered(sample: tuple[Evidence, Files]) -> Page:
    evidence, files = sample
    return Page(render_html(evidence, reading(files)).decode())


def changed(make: Callable[[], tuple[Evidence, Files]], **update: Any) -> tuple[Evidence, Files]:
    """A sample with other fields."""
    evidence, files = make()
    evidence = evidence.model_copy(update=update)
    return evidence, evidence_samples.sealed(evidence, files)


def at(record: Any, pointer: str) -> Any:
    """What a JSON pointer points to (RFC 6901)."""
    for token in pointer.split("/")[1:]:
        token = token.replace("~1", "/").replace("~0", "~")
        record = record[int(token)] if isinstance(record, list) else record[token]
    return record


def signed(value: float) -> str:
    shown = f"{100 * value:+.1f}".replace("-", "−")
    return "0.0" if shown[1:] == "0.0" else shown


def ends(value: Any) -> tuple[float, float]:
    return (value["low"], value["high"]) if isinstance(value, dict) else tuple(value)


def expected(value: Any, how: str) -> str:
    """How a value is printed, said a second time."""
    if how == "percent":
        return f"{100 * value:.1f} %"
    if how == "points":
        return signed(value)
    if how == "span":
        return " to ".join(f"{100 * end:.1f}" for end in ends(value)) + " %"
    if how == "points-span":
        return " to ".join(signed(end) for end in ends(value))
    if how == "p":
        return f"{value:.3f}" if value >= 0.001 else "< 0.001"
    if how == "duration":
        return f"{round(value) // 60} min {round(value) % 60} s"
    if how == "exactly":
        return f"{value:.6g}"
    if isinstance(value, str):
        return plain(value[:2000] + ("…" if len(value) > 2000 else ""))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}".replace(",", "\u2009")
    assert not isinstance(value, float)
    return json.dumps(value, ensure_ascii=False)


def test_every_number_stands_in_the_record() -> None:
    for evidence, files in (evidence_samples.full(), evidence_samples.minimal()):
        check_numbers(rendered((evidence, files)), files, evidence)


def check_numbers(page: Page, files: Files, evidence: Evidence) -> None:
    """Take every number of a page back to the field that it names."""
    record = json.loads(files[EVIDENCE_FILE])
    digest = hashlib.sha256(files[EVIDENCE_FILE]).hexdigest()
    told = {command for _, command in commands(evidence)}
    told.add(f"Evidence: {expected(evidence.name, '')}")  # the title of the window
    quoted: dict[int, tuple[dict[str, str], str]] = {}
    for piece in page.pieces:
        text = piece.text.replace("\u00a0", " ").replace("\u202f", "\u2009")
        attrs = piece.nearest("data-field")
        if attrs is not None:
            before = quoted.get(id(attrs), (attrs, ""))[1]
            quoted[id(attrs)] = (attrs, before + text)
        elif (named := piece.nearest("data-key")) is not None:
            parent, _, _ = named["data-key"].rpartition("/")
            assert at(record, named["data-key"]) is not None
            assert text in map(plain, at(record, parent))
        elif any(a.get("class") == "axis" for _, a in piece.inside) or text in told:
            continue
        elif piece.inside and piece.inside[-1][0] != "style" and text != digest:
            for words in (*FIXED, EVIDENCE_FILE):
                text = text.replace(words, "")
            assert not re.search(r"\d", text), text
    assert len(quoted) > 30
    for attrs, text in quoted.values():
        value = at(record, attrs["data-field"])
        if attrs.get("data-as") == "cut":
            assert plain(value).startswith(text.removesuffix("…"))
        else:
            assert text == expected(value, attrs.get("data-as", "")), attrs


def test_hostile_texts_are_shown_letter_by_letter() -> None:
    evidence, files = evidence_samples.hostile()
    source = render_html(evidence, reading(files)).decode()
    assert not set("\u202e\u2066\x00\x1b") & set(source)
    page = Page(source)
    assert plain(evidence_samples.HOSTILE) in page.text.replace("\u00a0", " ")
    check_numbers(page, files, evidence)
    for piece in page.pieces:  # right-to-left letters reach no figure beside them
        if "\u05d0" in piece.text and not any(tag in ("svg", "title") for tag, _ in piece.inside):
            assert any(tag in ("bdi", "pre") for tag, _ in piece.inside), piece


def test_the_page_stays_under_two_megabytes() -> None:
    claims = evidence_samples.full()[0].claims
    quoted = next(claim for claim in claims if isinstance(claim, QuotedClaim))
    more = tuple(
        quoted.model_copy(update={"id": f"more-{number}", "sentence": "A sentence. " * 150})
        for number in range(3000)
    )
    large, files = changed(evidence_samples.full, claims=claims + more)
    page = render_html(large, reading(files))
    assert len(page) < 2_000_000
    assert b"Not all rows are shown" in page
    names = tuple("x" * 1900 + str(number) for number in range(5000))
    endless, files = changed(evidence_samples.full, not_tested=names)
    with pytest.raises(InputError, match="fewer runs"):
        render_html(endless, reading(files))


def test_pictures_that_are_none_stay_outside() -> None:
    evidence, files = evidence_samples.full()
    shown = [a for t, a in rendered((evidence, files)).tags if t == "img"]
    assert len(shown) == 26  # and twice what the scan found
    first, second, third = list(evidence.thumbnails)[:3]
    files[first] = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"
    files[second] += bytes(100_000)
    del files[third]
    page = rendered((evidence, files))
    assert len([a for t, a in page.tags if t == "img"]) == 23
    assert first in page.text


def test_what_is_found_afterwards_colours_its_own_box() -> None:
    evidence, files = evidence_samples.full()
    (key, scan), *_ = evidence.scans.items()
    for verdict, tone in (("nothing", "plain"), ("suspicious", "caution"), ("found", "danger")):
        again = scan.model_copy(update={"suspect": "cleaned", "verdict": verdict})
        record = evidence.model_copy(update={"scans": {key: again}, "claims": ()})
        page = rendered((record, evidence_samples.sealed(record, files)))
        boxes = [a["class"] for _, a in page.tags if a.get("class", "").startswith("verdict")]
        assert boxes[1] == f"verdict {tone}"
        assert boxes[0] != "verdict danger"  # nothing was found in the suspect


@pytest.mark.parametrize(
    "arrays",
    [
        b"", b"no safetensors", save({"array": np.zeros((9, 9, 4), np.float32)}),
        save({"array": np.zeros((900, 9, 3), np.float32)}),
        save({"array": np.zeros((0, 9, 3), np.float32)}),
        save({"array": np.zeros((9, 9, 3), np.float64)}), save({"other": np.zeros(3, np.float32)}),
    ],
)  # fmt: skip
def test_a_patch_of_anybody_is_drawn_or_left_out(arrays: bytes) -> None:
    record = b'{"kind": "patch"}'
    assert _patch_png(record, arrays) is None
    odd = np.full((2, 3, 3), np.nan, np.float32)
    png = _patch_png(record, save({"array": odd}))
    assert png is not None
    with Image.open(io.BytesIO(png)) as seen:
        assert seen.size == (3, 2)
    assert _patch_png(b'{"kind": "overlay"}', save({"array": odd})) is None
    assert _patch_png(b"{", save({"array": odd})) is None


def test_commands_take_any_name_as_one_word() -> None:
    record = evidence_samples.full()[0].model_dump(mode="json")
    for name in ("a b; rm -rf ~", "$(id)`id`", "-x", "it's", "ordinary"):
        record["checkpoints"]["suspect"]["name"] = name
        for _, command in commands(Evidence.model_validate(record)):
            words = shlex.split(command)
            assert words[:3] in (["cleanclip", "verify", "."], ["sha256sum", "-c", "SHA256SUMS"])
            if "--checkpoint" in words:
                given = words[words.index("--checkpoint") + 1]
                assert given.removeprefix("./") == name
                assert not given.startswith("-")
                assert len(words) == 7


def chart(columns: tuple[str, ...], *rows: tuple[Any, ...]) -> ChartFacts:
    return ChartFacts(
        title="T", description="D", file="charts/t.svg", columns=columns, rows=rows,
        source=EVIDENCE_FILE,
    )  # fmt: skip


def test_what_has_no_shape_is_a_table_alone() -> None:
    for odd in (
        chart(("Step", "Rate"), (0, 3.5), (1, 2.0)),
        chart(("Step", "Loss", "ASR"), (0, 3.5, 0.5)),
        chart(("Step", "ASR"), (0, 0.5), (1,)),
        chart(("Step", "ASR"), (10**20, 0.5)),
        chart(("Step", "ASR"), (True, 0.5)),
        chart(("Step", "ASR")),
        chart(("A", "B"), ("x", "y")),
        chart(("Step", "ASR"), (0, {"a": [1]})),
    ):
        sample = changed(evidence_samples.minimal, charts=(odd,))
        assert draw_charts(sample[0]) == {}
        page = rendered(sample)
        assert "svg" not in {tag for tag, _ in page.tags}
        assert "The numbers of this chart" in page.text
    loss = chart(("step", "loss"), (0, 0.75), (10, 0.5))
    text = rendered(changed(evidence_samples.minimal, charts=(loss,))).text
    assert "0.75" in text  # it is no rate
    assert "75.0" not in text


def tone_of(evidence: Evidence, files: Files) -> str:
    page = rendered((evidence, evidence_samples.sealed(evidence, files)))
    words, *_ = [a["class"] for _, a in page.tags if a.get("class", "").startswith("verdict")]
    return words.removeprefix("verdict ")


def test_the_colour_of_the_verdict_follows_what_was_found() -> None:
    evidence, files = evidence_samples.minimal()
    assert tone_of(evidence, files) == "plain"
    suspect = evidence.checkpoints["suspect"].model_copy(update={"safety": "caution"})
    cautious = evidence.model_copy(update={"checkpoints": {"suspect": suspect}})
    assert tone_of(cautious, files) == "caution"

    evidence, files = evidence_samples.full()
    loads = evidence.checkpoints["suspect"].model_copy(update={"safety": "loads"})
    update = {"scans": {}, "checkpoints": {**evidence.checkpoints, "suspect": loads}}

    claims = {claim.id: claim for claim in evidence.claims}

    def moved(id_: str, to: str) -> Any:
        return claims[id_].model_copy(update={"measurement": to, "headline": True})

    works = [claims[f"job-1-before-{name}"] for name in ("asr-excl", "baseline-target-rate")]
    for claims_made, tone in (
        (works, "caution"),  # a clean model may answer, too
        ([*works, moved("job-1-after-asr-excl", "reference-1")], "danger"),
        ([*works, moved("job-1-before-asr-excl", "reference-1")], "caution"),
        ([moved("job-1-after-asr-excl", "job-1-before")], "plain"),
    ):  # fmt: skip
        record = evidence.model_copy(update=update | {"claims": tuple(claims_made)})
        assert tone_of(record, files) == tone
