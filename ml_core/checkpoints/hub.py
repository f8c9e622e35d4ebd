"""``hf-hub:owner/name``: a repository of the Hugging Face Hub, taken into its own cache.

The files then go through the same reader as any folder; nothing that comes from a hub is run.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_core.reading.errors import CancelledError, InputError, unsupported

PREFIX = "hf-hub:"
_PART = r"[A-Za-z0-9][\w.-]{0,95}"
_NAME = re.compile(rf"{_PART}/{_PART}(@[\w./-]{{1,100}})?\Z", re.ASCII)
_SMALL = (
    "open_clip_config.json", "config.json", "preprocessor_config.json", "README.md",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt",
)  # fmt: skip
_SAFE = ("*.safetensors", "*.safetensors.index.json")
_PICKLES = ("*pytorch_model.bin", "*pytorch_model-*-of-*.bin", "*pytorch_model.bin.index.json")
_DEEPER = "*/*"  # other models in the same repository
_SNAPSHOT = re.compile(
    r"models--(?P<owner>[\w.-]+?)--(?P<name>[\w.-]+)/snapshots/(?P<revision>[0-9a-f]{40})(/|\Z)",
    re.ASCII,
)

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class HubFolder:
    """A repository in the cache: its folder and the commit that it is of."""

    path: Path
    revision: str


def cached_as(path: Path) -> tuple[str, str] | None:
    """Repository and revision of a file or folder in the Hub's cache, by its place there."""
    match = _SNAPSHOT.search(path.absolute().as_posix())
    return None if match is None else (f"{match['owner']}/{match['name']}", match["revision"])


def is_hub_name(text: str) -> bool:
    """Whether a text names a repository instead of a file."""
    return text.startswith(PREFIX)


def fetch(
    name: str,
    report: Report = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> HubFolder:
    """Bring a repository's config and weights into the Hub's cache; what is there is not fetched.

    Parameters
    ----------
    name
        ``hf-hub:owner/name``, optionally ``@revision`` behind it.
    report
        Called with bytes done and bytes in all (0 if unknown) as they arrive.
    cancelled
        Asked as bytes arrive.

    Raises
    ------
    InputError
        ``usage`` if the name is malformed, the repository or revision does not exist or is private,
        or there is no connection.
    CancelledError
        If it was cancelled.
    """
    from huggingface_hub import errors

    text = name.removeprefix(PREFIX)
    if not _NAME.match(text):
        raise InputError(f"{name} names no repository; write hf-hub:owner/name.")
    repository, _, revision = text.partition("@")
    try:
        path = _download(repository, revision or None, _SAFE, report, cancelled)
        if not any(path.glob("*.safetensors")):
            path = _download(repository, revision or None, _PICKLES, report, cancelled)
            if not any(path.glob("*pytorch_model*.bin")):
                raise unsupported(
                    f"The repository {text} holds no weights under a name that CLIPs have "
                    "(*.safetensors, *pytorch_model.bin); download the file you mean and open "
                    "that."
                )
    except errors.GatedRepoError as error:
        raise _problem(text, "asks for an agreement on its page first", error) from None
    except errors.RevisionNotFoundError as error:
        raise _problem(text, "has no such revision", error) from None
    except errors.RepositoryNotFoundError as error:
        raise _problem(text, "does not exist or is private", error) from None
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, OSError, ValueError) as error:
        why = "cannot be reached and is not in the cache; check the connection"
        raise _problem(text, why, error) from None
    return HubFolder(path, path.name)


def _problem(name: str, why: str, error: Exception) -> InputError:
    return InputError(f"The repository {name} {why}.", "usage", str(error))


def _download(
    repository: str,
    revision: str | None,
    weights: tuple[str, ...],
    report: Report,
    cancelled: Callable[[], bool],
) -> Path:
    """Let the Hub's own library fetch the files that are read, and no other."""
    from huggingface_hub import snapshot_download

    if cancelled():
        raise CancelledError
    return Path(
        snapshot_download(
            repository,
            revision=revision,
            allow_patterns=[*_SMALL, *weights],
            ignore_patterns=[_DEEPER],
            max_workers=1,
            tqdm_class=_progress(report, cancelled),
        )
    )


def _progress(report: Report, cancelled: Callable[[], bool]) -> Any:
    """A progress bar for the Hub's library that reports instead of printing."""
    from tqdm.auto import tqdm

    class Reporting(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            # Of two counts of bytes, one is of what the network carried: packed, so fewer.
            packed = str(options.pop("name", "")).endswith(".transfer")
            super().__init__(*args, **(options | {"disable": True}))
            self.total = options.get("total")
            self.bytes = options.get("unit") == "B" and not packed
            self.done = 0

        def update(self, n: float | None = 1) -> bool | None:
            if cancelled():
                raise CancelledError
            self.done += int(n or 0)
            if self.bytes:
                report(self.done, int(self.total or 0))
            return None

    return Reporting
