"""Make the folder of a bundled model from a plain one: compact weights, quantisation ranges, the same tokenizer.

    python -m medembed.bundle SOURCE TARGET

SOURCE is any BERT folder that MedEmbed loads. The int8 ranges are calibrated on the demonstration corpus, passages and
titles, so that the same source always gives the same folder. The card, ``README.md``, is written by hand or by the recipe
that made the model; one in TARGET is kept.
"""

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from medembed import demo, tensors, vectors
from medembed.errors import SettingError
from medembed.model import MedEmbed

# git and code reviews stay comfortable below this; a model of any size splits into such shards
SHARD_BYTES = 16 << 20
# dimensions a user is most likely to cut to; other cuts calibrate for themselves
CUTS = (64, 128, 256, 384, 512, 768, 1024)
KEPT = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "modules.json",
    "config_sentence_transformers.json",
)


def bundle(source: Path, target: Path, texts: Sequence[str], *, max_seq_length: int) -> None:
    """Write ``target`` from ``source``.

    Args:
        source: A BERT model folder.
        target: Folder to write; replaced when it exists, except for its ``README.md``.
        texts: Sample for the ranges, at least 100.
        max_seq_length: Tokens the bundled model reads unless told otherwise.

    Raises:
        MedEmbedError: ``source`` cannot be loaded, or the sample is too small.
    """
    if not source.is_dir() or source.resolve() == target.resolve():
        raise SettingError(f"{source} must be a folder other than {target}")
    aside = target.with_name(target.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    (aside / "1_Pooling").mkdir(parents=True)
    for name in (*KEPT, "1_Pooling/config.json"):
        if (source / name).is_file():
            shutil.copyfile(source / name, aside / name)
    _write_json(aside / "sentence_bert_config.json", {"max_seq_length": max_seq_length, "do_lower_case": False})
    _write_shards(aside, {k: v for k, v in tensors.read_tensors(source).items() if "pooler." not in k})
    _write_json(aside / "vector_ranges.json", _ranges(aside, texts))
    if (target / "README.md").is_file():
        shutil.copyfile(target / "README.md", aside / "README.md")
    shutil.rmtree(target, ignore_errors=True)
    aside.rename(target)


def _write_shards(folder: Path, weights: tensors.Tensors) -> None:
    from safetensors.numpy import save_file

    shards: list[tensors.Tensors] = [{}]
    stored = tensors.compact(weights)
    for name in sorted(weights):
        parts = {key: stored[key] for key in (name, name + tensors.SCALE) if key in stored}
        if sum(array.nbytes for array in (*shards[-1].values(), *parts.values())) > SHARD_BYTES and shards[-1]:
            shards.append({})
        shards[-1] |= parts
    names = [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):
        save_file(shard, folder / name)
        (folder / name).chmod(
            0o644
        )  # the library writes 0600, which other users of an installed package could not read
    index = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
    _write_json(folder / tensors.INDEX, {"metadata": {"format": "medembed-compact"}, "weight_map": index})


def _ranges(folder: Path, texts: Sequence[str]) -> dict[str, list[list[float]]]:
    with MedEmbed(folder, precision="fp32") as model:
        rows = model.encode_document(texts)
    cuts = [cut for cut in CUTS if cut <= rows.shape[1]]
    return {
        str(cut): [[round(float(x), 6) for x in side] for side in vectors.calibrate(vectors.cut(rows, cut))]
        for cut in cuts
    }


def _write_json(path: Path, content: object) -> None:
    path.write_text(
        json.dumps(content, indent=None if path.name == "vector_ranges.json" else 1) + "\n", encoding="utf-8"
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--max-seq-length", type=int, default=256)
    given = parser.parse_args()
    texts = [text for passage in demo.passages() for text in (passage.title, passage.text)]
    bundle(given.source, given.target, texts, max_seq_length=given.max_seq_length)


if __name__ == "__main__":
    main()
