"""Triggers, methods and detectors of other distributions, which are off unless switched on.

A distribution offers them as entry points. Nothing of one is imported before it is switched on,
and what is measured afterwards names it with its version.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, distribution
from types import MappingProxyType
from typing import Any

from ml_core.reading.errors import InputError, plain

VARIABLE = "CLEANCLIP_PLUGINS"
# Group of entry points to the function that takes what one of them names.
_REGISTRIES = {
    "cleanclip.triggers": "ml_core.triggers.library:add_trigger",
    "cleanclip.methods": "ml_core.cleaning.plugin_methods:add_method",
    "cleanclip.detectors": "ml_core.detection.records:add_detector",
}
_PREFIX = "plug-in "
_active: dict[str, str] = {}
_failed: dict[str, InputError] = {}


def active() -> Mapping[str, str]:
    """Name and version of each distribution whose code was imported."""
    return MappingProxyType(_active)


def versions() -> dict[str, str]:
    """The plug-ins in `active` as records name them, beside the versions of the program's parts."""
    return {f"{_PREFIX}{name}": version for name, version in _active.items()}


def named_in(versions: Mapping[str, str]) -> Iterator[str]:
    """Name and version of each plug-in among the versions of a record."""
    for name, version in versions.items():
        if name.startswith(_PREFIX):
            yield f"{name.removeprefix(_PREFIX)} {version}"


def switch_on(names: str | None = None) -> None:
    """Import the plug-ins of this process; it does nothing for those that are imported already.

    Parameters
    ----------
    names
        Names of distributions with commas between; None takes those of `VARIABLE`. Child processes
        switch on the same.

    Raises
    ------
    InputError
        ``usage`` if one is not installed, offers nothing, or does not work.
    """
    if names is None:
        names = os.environ.get(VARIABLE, "")
    else:
        os.environ[VARIABLE] = names
    for name in filter(None, (part.strip() for part in names.split(","))):
        try:
            plugin = distribution(name)
        except (PackageNotFoundError, ValueError):
            raise InputError(
                f"The plug-in {plain(name)} is not installed here: install it, or take it out of "
                f"--plugins and {VARIABLE}.",
                "usage",
            ) from None
        if plugin.name in _failed:
            raise _failed[plugin.name]
        if plugin.name not in _active:
            try:
                _import(plugin)
            except InputError as error:  # a part of it may be there
                _failed[plugin.name] = error
                raise


def _import(plugin: Distribution) -> None:
    """Import what a distribution offers, and hand it to the registries."""
    offered = [each for each in plugin.entry_points if each.group in _REGISTRIES]
    if not offered:
        raise InputError(
            f"{plain(plugin.name)} offers no triggers, methods or detectors: take it out of "
            f"--plugins and {VARIABLE}.",
            "usage",
        )
    _active[plugin.name] = plugin.version  # from here on its code may change what is measured
    for entry in offered:
        module, _, function = _REGISTRIES[entry.group].partition(":")
        try:
            getattr(import_module(module), function)(_load(entry))
        except InputError as error:
            raise InputError(
                f"The plug-in {plain(plugin.name)} {plain(plugin.version)} cannot be used: "
                f"{error.sentence} Update it, or take it out of --plugins and {VARIABLE}.",
                "usage",
                error.details,
            ) from error


def _load(entry: EntryPoint) -> Any:
    try:
        return entry.load()
    except (Exception, SystemExit) as error:  # a stranger's code may raise anything
        raise InputError(
            f"{plain(entry.name)} ({plain(entry.value)}) failed with {type(error).__name__}: "
            f"{plain(str(error))[:200].rstrip('.')}."
        ) from error
