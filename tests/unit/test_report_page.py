"""The report as a page: every figure names its field, nothing is fetched, no text does harm."""

from __future__ import annotations

import hashlib
import html.parser
import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

import pytest

from ml_core.figures import ASR, CA, SERIES
from ml_core.reading import InputError
from ml_core.reading.errors import plain
from ml_core.reports.html.charts import draw_charts
from ml_core.reports.html.report import commands, render_html
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
        return "–".join(f"{100 * end:.1f}" for end in ends(value)) + " %"
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


def test_what_is_not_there_is_left_out_or_not_tested() -> None:
    page = rendered(evidence_samples.minimal())
    assert page.headings == [
        "Verdict", "What was not tested", "Identity", "File safety", "What was measured",
        "Scan for an unknown trigger", "How it was measured", "Claims and their evidence",
        "Limits", "How to verify",
    ]  # fmt: skip
    text = page.text
    assert "Not tested. Nobody searched" in text
    assert "not computed" in text
    claims = evidence_samples.full()[0].claims
    proofs = ("rebound", "holdout")
    claims = tuple(one for one in claims if getattr(one, "topic", "") not in proofs)
    page = rendered(changed(evidence_samples.full, claims=claims))
    assert page.text.count("Not tested.") == 2


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
    assert len(shown) == 25  # and what the scan found
    first, second, third = list(evidence.thumbnails)[:3]
    files[first] = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"
    files[second] += bytes(100_000)
    del files[third]
    page = rendered((evidence, files))
    assert len([a for t, a in page.tags if t == "img"]) == 22
    assert first in page.text


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


def test_one_step_and_gaps_can_be_drawn() -> None:
    evidence, _ = evidence_samples.minimal()
    for one in (
        chart(("Step", "ASR", "CA"), (5, None, 0.5)),
        chart(("Step", "ASR", "CA"), (0, None, None), (1, 0.2, None)),
        chart(("Run", "Step", "ASR", "CA"), ("a", 0, 1.0, 0.0)),
        chart(("step", "loss"), (0, -2.5), (3, 1e9)),
        chart(("step", "loss"), (0, 0.0)),
        chart(("step", "loss"), (-1e15, 1e-300), (1e15, 2e-300)),
    ):
        (drawn,) = draw_charts(evidence.model_copy(update={"charts": (one,)})).values()
        assert b"nan" not in drawn
        ElementTree.fromstring(drawn)


def tone_of(evidence: Evidence, files: Files) -> str:
    page = rendered((evidence, evidence_samples.sealed(evidence, files)))
    (words,) = [a["class"] for _, a in page.tags if a.get("class", "").startswith("verdict")]
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
        (works, "danger"), ([*works, moved("job-1-before-asr-excl", "reference-1")], "caution"),
        ([moved("job-1-after-asr-excl", "job-1-before")], "plain"),
    ):  # fmt: skip
        record = evidence.model_copy(update=update | {"claims": tuple(claims_made)})
        assert tone_of(record, files) == tone


def test_readable_is_no_praise_and_unopened_no_verdict() -> None:
    evidence, _ = evidence_samples.full()
    unopened = evidence.checkpoints["reference"].model_copy(
        update={
            "format": "not inspected", "architecture": "not opened", "safety": "not inspected",
            "parameters": 0, "bytes": 0, "safety_reasons": (),
        }
    )  # fmt: skip
    checkpoints = evidence.checkpoints | {"reference": unopened}
    page = rendered(changed(evidence_samples.full, checkpoints=checkpoints))
    badges = [
        (piece.inside[-1][1]["class"], piece.text) for piece in page.pieces
        if piece.inside and piece.inside[-1][1].get("class", "").startswith("badge")
    ]  # fmt: skip
    assert ("badge plain", "Readable") in badges
    assert not any("ok" in classes for classes, _ in badges)
    text = page.text
    assert "Nobody looked into the file." in text
    assert "nobody opened or inspected the file" in text
    assert "Nothing to remark" not in text
    assert not re.search(r"\b0 (parameters|bytes)", text)


def test_a_rate_has_the_colour_that_it_has_in_the_window() -> None:
    colours = {"clean accuracy": SERIES[CA], "attack success rate": SERIES[ASR]}
    space = "{http://www.w3.org/2000/svg}"
    for columns in (
        ("clean accuracy", "attack success rate"), ("Attack success rate", "Clean accuracy"),
        ("attack success rate", "other"),
    ):  # fmt: skip
        rates = chart(("step", *columns), (0, 0.75, 0.25), (10, 0.5, 0.5))
        evidence, _ = changed(evidence_samples.minimal, charts=(rates,))
        (svg,) = (ElementTree.fromstring(raw) for raw in draw_charts(evidence).values())
        lines = [
            group.attrib["stroke"] for group in svg.iter(f"{space}g")
            if len(group) > 1 and group.find(f"{space}polyline") is not None
        ]  # fmt: skip
        for name, colour in zip(columns, lines[::2], strict=True):
            assert colour == colours.get(name.lower(), colour)


def test_what_is_said_first_belongs_together() -> None:
    claims = tuple(
        claim.model_copy(update={"headline": claim.kind in ("rate", "difference")})
        for claim in evidence_samples.full()[0].claims
    )
    page = rendered(changed(evidence_samples.full, claims=claims))
    tiles = [
        [piece.text for piece in page.pieces if tile in (attrs for _, attrs in piece.inside)]
        for tag, tile in page.tags
        if tile.get("class") == "tile"
    ]
    assert len(tiles) == 4
    assert all("→" in "".join(words) for words in tiles[:3])
    assert "reference" in "".join(tiles[3])
    assert not any("Baseline" in words for tile in tiles for words in tile)


def test_every_chart_stands_once_on_the_page() -> None:
    sources = ["jobs/job-1/journal.jsonl", "jobs/job-1/rebound.json", EVIDENCE_FILE]
    sources += ["measurements/evaluation-1/per_class.csv", "scan/scan-1/scan.json", "other.json"]
    rows = (("g", "s", 0.5, 0.4, 0.6),), ((0, 0.5),), (("r", 0, 0.5, 0.4),)
    charts = tuple(
        ChartFacts(
            title=f"Chart {number}", description="D", file=f"charts/{number}.svg",
            columns=tuple("abcde"[: len(row[0])]), rows=row, source=source,
        )
        for number, (source, row) in enumerate((s, r) for s in sources for r in rows)
    )  # fmt: skip
    for make in (evidence_samples.full, evidence_samples.minimal):
        page = rendered(changed(make, charts=charts))
        captions = [p.text for p in page.pieces if "figcaption" in str(p.inside)]
        assert [captions.count(chart.title) for chart in charts] == [1] * len(charts)


def test_the_ends_of_a_band_stand_below_its_value() -> None:
    one = chart(("step", "ASR", "ASR, low", "ASR, high", "CA"), (0, 0.5, 0.4, 0.6, 0.75))
    evidence, files = changed(evidence_samples.minimal, charts=(one,))
    page = rendered((evidence, files))
    check_numbers(page, files, evidence)
    assert "40.0 % to 60.0 %" in page.text.replace("\u00a0", " ")
    heads = [p.text for p in page.pieces if ("th", {"scope": "col", "class": "number"}) in p.inside]
    assert [head for head in heads if head in one.columns] == ["step", "ASR", "CA"]
