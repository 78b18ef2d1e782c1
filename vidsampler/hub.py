"""Files of the Hugging Face hub: from its cache, else fetched, else a clear error."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from vidsampler.errors import VidsamplerError

T = TypeVar("T")

OFFLINE_HINT = (
    "download the file where there is a network and give its path with --pretrained FILE, or fill "
    "the hub's cache (HF_HOME), or take --pretrained none for random weights"
)


def hub_file(what: str, repository: str, names: Sequence[str], *, hint: str = OFFLINE_HINT) -> Path:
    """The first of these files that a repository has.

    Args:
        what: for the message.
        repository: `ORG/NAME`.
        names: files in it.
        hint: of the error.

    Raises:
        VidsamplerError: The hub cannot be reached, or has none of them.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    for name in names:
        if (path := cached_file(repository, name)) is not None:
            return path
    failure: Exception | None = None
    try:
        _reach_hub()
        for name in names:
            try:
                return Path(hf_hub_download(repository, name))
            except EntryNotFoundError as error:
                failure = failure or error
    except Exception as error:  # the hub's own errors, the HTTP library's, the disk's
        failure = error
    assert failure is not None
    raise cannot_fetch(what, failure, hint) from failure


def cached_file(repository: str, name: str) -> Path | None:
    """A file of a repository where it is in the hub's cache."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, name)
    return Path(found) if isinstance(found, str) else None


def from_hub_or_folder(what: str, name: str, fetch: Callable[[], T]) -> T:
    """Runs something of Hugging Face's that reads a folder, or fetches a repository.

    Args:
        what: for the message.
        name: the folder, or the repository.
        fetch: does it.

    Raises:
        VidsamplerError: It failed.
    """
    try:
        if not Path(name).is_dir() and cached_file(name, "config.json") is None:
            _reach_hub()
        return fetch()
    except Exception as error:  # every library between here and the network has its own classes
        raise cannot_fetch(what, error) from error


def _reach_hub() -> None:
    """Fails at once where the hub cannot be reached: its own client tries for half a minute."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        raise ConnectionError("HF_HUB_OFFLINE is set")
    get_session().head(constants.ENDPOINT, timeout=10)


def cannot_fetch(what: str, error: Exception, hint: str = OFFLINE_HINT) -> VidsamplerError:
    """The error of something that was not fetched, with the cause that lies deepest."""
    root: BaseException = error
    while root.__cause__ or root.__context__:
        root = root.__cause__ or root.__context__ or root
    reason = re.split(r"[\n]|(?<=\w)\. ", str(root).strip() or type(root).__name__)[0].rstrip(".")
    return VidsamplerError(f"cannot fetch {what}: {reason[:160]}", hint=hint, code="network")
