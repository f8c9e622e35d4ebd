"""An inspection as one page that is safe to open: no script, no link, nothing fetched."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ml_core.reading.plain import plain
from ml_core.reading.verdict_text import verdict_words

_MAX_ROWS = 100_000
_MAX_CELL = 2000
_TONES = {"loads": "ok", "caution": "caution", "dangerous": "danger", "damaged": "danger"}
_GROUPS = (
    ("unknown", "Code that this tool does not know"),
    ("code", "Pickled program objects, kept as inert records"),
    ("data", "Plain data"),
    ("tensors", "Builds tensors"),
)
_STYLE = """
:root { color-scheme: light dark; --edge: #c2cbd4; --soft: #f4f6f8; --muted: #56626e;
  --ok: #1a7340; --caution: #8a5200; --danger: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --edge: #4a545f; --soft: #1e2329;
  --muted: #a0abb6; --ok: #74d39b; --caution: #f3b75e; --danger: #ff9186; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
.verdict { border-left: 6px solid; padding: .8rem 1rem; background: var(--soft);
  margin: 0 0 1rem; }
.verdict b { display: block; font-size: 1.1rem; }
.ok { border-color: var(--ok); } .ok b { color: var(--ok); }
.caution { border-color: var(--caution); } .caution b { color: var(--caution); }
.danger { border-color: var(--danger); } .danger b { color: var(--danger); }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .25rem .6rem;
  border-bottom: 1px solid var(--edge); overflow-wrap: anywhere; }
th { color: var(--muted); font-weight: 600; }
.facts th { width: 12rem; }
code, pre { font: 13px/1.45 ui-monospace, monospace; overflow-wrap: anywhere; }
ul { margin: 0; padding-left: 1.2rem; }
footer { color: var(--muted); margin: 2rem 0; }
"""


def html_page(record: Mapping[str, Any]) -> str:
    """The page of a record that `inspection_record` gives.

    Every text of the file is escaped, invisible and reordering characters too.
    """
    verdict = verdict_words(record["verdict"], record["reason_code"])
    tone = _TONES[record["verdict"]]
    reasons = record["reasons"]
    body = [
        f"<h1>{_text(record['name'])}</h1>",
        f'<div class="verdict {tone}"><b>{_text(verdict)}</b>'
        f"{_text(reasons[0] if reasons else 'Nothing in the file was run.')}</div>",
        _list("Also", reasons[1:]),
        _facts("File", _file_facts(record)),
        _said("What other loaders would do", record["elsewhere"]),
        _said("Second opinion", record["second_opinion"]),
        _said("Signature", (record["signature"] or {}).get("sentence", "")),
        _said("What is known about it", " ".join(record["known"])),
        *_architecture(record["architecture"]),
        *(_list(title, record["globals"].get(group, ())) for group, title in _GROUPS),
        _list("Program code in the file (not run)", record["embedded_code"]),
        _list("Not read", record["unread"]),
        _facts("Values", record["facts"].items()),
        _facts("Metadata", record["metadata"].items()),
        _tensors(record["tensors"]),
    ]
    tool = record["tool"]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{_text(record['name'])}: {_text(verdict)}</title>\n"
        f"<style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + f"\n<footer>{_text(tool['name'])} {_text(tool['version'])}, rules "
        f"{_text(record['rules'])}. No check of the file can show whether its weights hide a "
        "backdoor.</footer>\n</body></html>\n"
    )


def _text(value: object) -> str:
    """Text of the file as text of the page."""
    shown = str(value)
    cut = shown[:_MAX_CELL] + "…" if len(shown) > _MAX_CELL else shown
    return html.escape(plain(cut))


def _section(title: str, content: str) -> str:
    return f"<h2>{_text(title)}</h2>\n{content}"


def _said(title: str, sentences: str) -> str:
    """A paragraph, or nothing."""
    return _section(title, f"<p>{_text(sentences)}</p>") if sentences else ""


def _list(title: str, items: Sequence[str]) -> str:
    """A list, or nothing."""
    if not items:
        return ""
    rows = "".join(f"<li><code>{_text(item)}</code></li>" for item in items[:_MAX_ROWS])
    return _section(title, f"<ul>{rows}</ul>{_rest(items)}")


def _facts(title: str, pairs: Iterable[tuple[str, object]]) -> str:
    """A table of names and values, or nothing."""
    rows = "".join(
        f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>" for name, value in pairs
    )
    return _section(title, f'<table class="facts">{rows}</table>') if rows else ""


def _file_facts(record: Mapping[str, Any]) -> list[tuple[str, object]]:
    totals = record["totals"]
    facts: list[tuple[str, object]] = [
        ("Path", record["path"]),
        *_hub(record["hub"]),
        ("Format", record["format"]),
        ("Size", f"{record['size']:,} bytes"),
        ("SHA-256", record["sha256"] or "not computed"),
    ]
    if totals["tensors"]:
        kinds = ", ".join(f"{count:,} {dtype}" for dtype, count in totals["dtypes"].items())
        facts.append(("Tensors", f"{totals['tensors']:,}"))
        facts.append(("Parameters", f"{totals['parameters']:,} ({kinds})"))
    for name, state in (record["sandbox"] or {}).items():
        facts.append((f"Sandbox: {name}", state))
    return facts


def _hub(hub: Mapping[str, str] | None) -> list[tuple[str, object]]:
    if hub is None:
        return []
    return [("Hugging Face Hub", f"{hub['repository']} at revision {hub['revision']}")]


def _architecture(architecture: Mapping[str, Any] | None) -> list[str]:
    if architecture is None:
        return []
    facts = [
        ("Model", architecture["name"]),
        ("Source", architecture["source"]),
        *_donor(architecture),
        *(("Assumed", sentence) for sentence in architecture["assumptions"]),
        *(("Also in it", sentence) for sentence in architecture["notes"]),
    ]
    return [_facts("Architecture", facts), *_keys(architecture["keys"])]


def _donor(architecture: Mapping[str, Any]) -> list[tuple[str, str]]:
    donor = architecture.get("donor")
    if donor is None:
        return []
    return [("Donor of the other encoder", f"{donor['name']}, SHA-256 {donor['sha256']}")]


def _keys(keys: Mapping[str, Any] | None) -> list[str]:
    """All missing and unexpected tensors, and those of another shape."""
    if keys is None:
        return []
    shapes = [
        f"{one['name']}: {one['found']} instead of {one['expected']}" for one in keys["wrong_shape"]
    ]
    return [
        _list(f"{title} ({len(items):,})", items)
        for title, items in (
            ("Missing tensors", keys["missing"]),
            ("Unexpected tensors, left out", keys["unexpected"]),
            ("Tensors of another shape", shapes),
        )
    ]


def _tensors(tensors: Sequence[Mapping[str, Any]]) -> str:
    """The table of tensors, or nothing."""
    if not tensors:
        return ""
    rows = "".join(
        f"<tr><td><code>{_text(tensor['name'])}</code></td>"
        f"<td>{_text(' × '.join(map(str, tensor['shape'])) or 'scalar')}</td>"
        f"<td>{_text(tensor['dtype'])}</td><td>{tensor['nbytes']:,}</td></tr>"
        for tensor in tensors[:_MAX_ROWS]
    )
    head = "<tr><th>Name</th><th>Shape</th><th>Type</th><th>Bytes</th></tr>"
    return _section("Tensors", f"<table>{head}{rows}</table>{_rest(tensors)}")


def _rest(items: Sequence[object]) -> str:
    """Say how many rows are left out."""
    left = len(items) - _MAX_ROWS
    return f"<p>{left:,} more are not listed.</p>" if left > 0 else ""
