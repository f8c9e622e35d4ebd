"""Which rules a verdict was found by; they grow with what becomes known of hostile files."""

from __future__ import annotations

RULES_VERSION = 3
"""One more with every change by which the verdict of a file can change."""
