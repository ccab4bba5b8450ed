"""Commands that errors about a model folder print. A test runs each of them."""

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
