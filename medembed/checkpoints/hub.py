"""Pinned snapshots from the Hugging Face hub.

A snapshot is looked for in the cache first, without the network, and downloaded only where it is not there.
"""

import json
import re
from pathlib import Path
from typing import Any

from medembed import border
from medembed.checkpoints import remedies
from medembed.errors import (
    CheckpointError,
    CorruptFileError,
    MedEmbedError,
    MissingFileError,
    ModelNotCachedError,
    UnsafeWeightsError,
)
from medembed.storage.durable import write_text_whole

# what a model needs; never pickles, never code
WANTED = ["*.json", "*.safetensors", "*.txt", "*.model", "README.md", "artifact.metadata"]
UNWANTED = ["onnx/*", "openvino/*", "*.bin", "*.pt", "*.py", "*.h5", "*.msgpack"]
COMMIT = re.compile(r"[0-9a-f]{40}")
RECORD = "medembed-revisions.json"


def snapshot(repo: str, revision: str | None, *, cache_dir: str | None, local_files_only: bool) -> tuple[str, Path]:
    """A model's files at one commit.

    A model whose commit is not known beforehand is resolved once, from the hub's main branch, and recorded beside the
    cache; from then on that commit is used, online and offline.

    Args:
        repo: Hub id.
        revision: Commit, tag or branch; None for the recorded commit, else main.
        cache_dir: Where snapshots are kept; None for the Hugging Face cache.
        local_files_only: Never use the network; HF_HUB_OFFLINE=1 has the same effect.

    Returns:
        The commit, and the folder of its files.

    Raises:
        ModelNotCachedError: Not in the cache, and downloading is off or failed.
        UnsafeWeightsError: The repository has weights only as pickles.
    """
    from huggingface_hub import constants

    cache = Path(cache_dir or constants.HF_HUB_CACHE).expanduser()
    wanted = revision or _recorded(cache, repo) or _cached_ref(cache, repo) or "main"
    commit = wanted if COMMIT.fullmatch(wanted) else _cached_ref(cache, repo, wanted)
    if commit and (folder := _cached(cache, repo, commit)):
        return commit, folder
    if local_files_only or constants.HF_HUB_OFFLINE:
        raise _not_cached(repo, wanted, cache, "downloading is switched off (local_files_only or HF_HUB_OFFLINE=1)")
    return _download(repo, wanted, cache)


def _cached(cache: Path, repo: str, commit: str) -> Path | None:
    """The snapshot's folder when its configuration, tokenizer and weights have all arrived."""
    folder = cache / f"models--{repo.replace('/', '--')}" / "snapshots" / commit
    # the weights are fetched last, so their presence says that the rest is there (a download may have been cut off)
    complete = (folder / "config.json").exists() and any(folder.glob("*.safetensors"))
    return folder if complete and not _missing_shards(folder) else None


def _missing_shards(folder: Path) -> bool:
    from medembed.checkpoints import tensors

    try:
        tensors.weight_files(folder)
    except MissingFileError:
        return True
    except CheckpointError:
        return False  # loading the folder says what is wrong with it
    return False


def _cached_ref(cache: Path, repo: str, name: str = "main") -> str | None:
    """The commit that a branch or tag stood at when the Hugging Face tools last downloaded it."""
    try:
        return (cache / f"models--{repo.replace('/', '--')}" / "refs" / name).read_text().strip()
    except OSError:
        return None


def _recorded(cache: Path, repo: str) -> str | None:
    commit = _read_record(cache).get(repo)
    return commit if isinstance(commit, str) else None


def _record(cache: Path, repo: str, commit: str) -> None:
    write_text_whole(cache / RECORD, json.dumps({**_read_record(cache), repo: commit}, indent=1))


def _read_record(cache: Path) -> dict[str, Any]:
    try:
        return border.read_json_object(cache / RECORD, error=CorruptFileError)
    except (FileNotFoundError, CorruptFileError):
        return {}  # no record yet, or one cut short by a full disk: resolve again


def _download(repo: str, revision: str, cache: Path) -> tuple[str, Path]:
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    # the root of the HTTP library's errors: requests, httpx or httpx2, as the installed hub client happens to use
    transport_error = HfHubHTTPError.__mro__[1]
    try:
        info = HfApi().model_info(repo, revision=revision)
        commit = str(info.sha)
        _refuse_pickles(repo, [file.rfilename for file in info.siblings or []])
        # configuration and tokenizer first, weights last: see _cached
        small = [pattern for pattern in WANTED if not pattern.endswith("safetensors")]
        snapshot_download(repo, revision=commit, cache_dir=cache, allow_patterns=small, ignore_patterns=UNWANTED)
        folder = snapshot_download(
            repo, revision=commit, cache_dir=cache, allow_patterns=WANTED, ignore_patterns=UNWANTED
        )
    except (transport_error, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        if isinstance(error, MedEmbedError):
            raise
        if remedies.is_certificate_failure(error):
            raise ModelNotCachedError(remedies.trust_certificate(repo, constants.ENDPOINT)) from error
        raise _not_cached(
            repo, revision, cache, f"downloading failed ({type(error).__name__}: {_first_line(error)})"
        ) from error
    _record(cache, repo, commit)
    return commit, Path(folder)


def _refuse_pickles(repo: str, names: list[str]) -> None:
    if not any(name.endswith(".safetensors") for name in names) and any(
        name.endswith((".bin", ".pt")) for name in names
    ):
        raise UnsafeWeightsError(
            f"{repo} has its weights only as pickles, which can run code when loaded; medembed reads safetensors only. "
            f"Convert it once and load the folder: {remedies.download_pickles(repo)}"
        )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "no details")


def _not_cached(repo: str, revision: str, cache: Path, why: str) -> ModelNotCachedError:
    return ModelNotCachedError(
        f"{repo} at revision {revision} is not on this disk, and {why}. Looked in {cache}. Two ways out: on a machine with network run "
        f"`hf download {repo} --revision {revision} --cache-dir {cache}` and bring the folder here; or use the bundled model, MedEmbed('mini')."
    )


def is_cached(repo: str, revision: str | None, cache_dir: str | None = None) -> bool:
    """Tell whether a model is on this disk at the revision needed.

    That is the revision that would be used. The network is never used.
    """
    try:
        snapshot(repo, revision, cache_dir=cache_dir, local_files_only=True)
    except ModelNotCachedError:
        return False
    return True
