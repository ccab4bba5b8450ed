"""Commands that errors about a model folder or a download print. A test runs each of them."""

import shlex
from pathlib import Path

_CONVERT = (
    "import pathlib, torch; from safetensors.torch import save_file; folder = pathlib.Path({folder!r}); weights = {{}}; "
    "[weights.update(torch.load(path, map_location='cpu', weights_only=True)) for path in sorted(folder.glob({pattern!r}))]; "
    "save_file({{name: tensor.contiguous().clone() for name, tensor in weights.items()}}, folder / 'model.safetensors', "
    "metadata={{'format': 'pt'}})"
)
_TOKENIZER = (
    "from transformers import AutoTokenizer as T; T.from_pretrained({folder!r}).backend_tokenizer.save({target!r})"
)


def convert_pickles(folder: Path, pickle: str = "pytorch_model.bin") -> str:
    """The command that writes safetensors beside pickled weights. The rest of the folder stays as it is.

    ``weights_only`` has torch refuse anything but tensors, so the command runs no code from the pickle.

    Args:
        folder: Where the weights are.
        pickle: One of the pickles there.

    Returns:
        A line for a shell.
    """
    pattern = "pytorch_model*.bin" if pickle.startswith("pytorch_model") else pickle
    return f"python -c {shlex.quote(_CONVERT.format(folder=str(folder), pattern=pattern))}"


def write_tokenizer(folder: Path) -> str:
    """The command that writes ``tokenizer.json`` from a folder's older tokenizer files. Nothing else is changed.

    Args:
        folder: A model folder.

    Returns:
        A line for a shell.
    """
    target = str(folder / "tokenizer.json")
    return f"python -c {shlex.quote(_TOKENIZER.format(folder=str(folder), target=target))}"


def download_pickles(repo: str) -> str:
    """The commands that bring a hub model with pickled weights and convert it.

    Args:
        repo: Hub id.

    Returns:
        A line for a shell; it leaves a folder of the model's name that loads.
    """
    folder = repo.partition("/")[2]
    return f"hf download {repo} --local-dir {folder} && {convert_pickles(Path(folder))}"


def is_certificate_failure(error: BaseException | None) -> bool:
    """Tell whether a connection failed because its certificate could not be verified.

    HTTP libraries wrap the failure in errors of their own, so causes are looked through.

    Args:
        error: What the library raised.

    Returns:
        True where the error or one of its causes says so.
    """
    import ssl  # of those that ask here, who connects has it loaded already

    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def trust_certificate(repo: str, endpoint: str) -> str:
    """What to do where a hub's certificate cannot be verified.

    Args:
        repo: Hub id of the model asked for.
        endpoint: Address of the hub, from HF_ENDPOINT where that is set.

    Returns:
        A sentence and a command.
    """
    from importlib.metadata import version  # 10 ms that a start without this error does not pay

    host = endpoint.partition("://")[2].partition("/")[0].rpartition("@")[2]
    # the hub's client asks through requests before its version 1, and through httpx since
    variable = "REQUESTS_CA_BUNDLE" if version("huggingface-hub").startswith("0.") else "SSL_CERT_FILE"
    return (
        f"{repo} was not downloaded: the certificate of {host} cannot be verified. A certificate of a known authority was expected; behind a "
        "firewall it is often signed by the house's own. Ask for that authority's certificate as a PEM file, then run "
        f"`{variable}=house-ca.pem medembed models download {repo}`. Verification is never switched off."
    )
