"""Make the folder of a bundled model from a plain one: compact weights, quantization ranges, the same tokenizer.

    python -m medembed.recipes.bundle SOURCE TARGET

SOURCE is any BERT folder that MedEmbed loads. The int8 ranges are calibrated on the demonstration corpus, passages and
titles, so that the same source always gives the same folder. The card, ``README.md``, is written by hand or by the recipe
that made the model; one in TARGET is kept.

Where SOURCE is a late-interaction model over TARGET's own encoder (recipe ``mini/colbert``), only what it adds is put beside that
encoder, in ``TARGET/late_interaction``: settings, and the projection as float16. ``MedColBERT(TARGET)`` then works.
"""

import argparse
import json
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from medembed import border, demo, vectors
from medembed.checkpoints import keys, lengths, model_files, shortening, tensor_files, tensors
from medembed.checkpoints.checkpoint import HEAD, MADE_FOR, fetch, fingerprint
from medembed.errors import CorruptFileError, SettingError
from medembed.model import MedEmbed
from medembed.storage import paths
from medembed.storage.durable import write_folder

# git and code reviews stay comfortable below this; a model of any size splits into such shards
SHARD_BYTES = 16 << 20
# dimensions a user is most likely to cut to; other cuts calibrate for themselves
METADATA = {"format": "medembed-compact"}
MODULE_FILES = ("config.json", tensors.WHOLE)
CUTS = (64, 128, 256, 384, 512, 768, 1024)
KEPT = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "modules.json",
    "config_sentence_transformers.json",
    shortening.FILE,
)


def bundle(source: Path, target: Path, texts: Sequence[str], *, max_seq_length: int | None = None) -> None:
    """Write ``target`` from ``source``.

    Args:
        source: A BERT model folder.
        target: Folder to write; an earlier bundle is replaced, except for its ``README.md``.
        texts: Sample for the ranges, at least 100.
        max_seq_length: Tokens the bundled model reads unless told otherwise; None for as many as ``source``.

    Raises:
        MedEmbedError: ``source`` cannot be loaded, or the sample is too small.
        SettingError: ``target`` is there and holds anything that this function does not write.
    """
    if not source.is_dir() or source.resolve() == target.resolve():
        raise SettingError(f"{source} must be a folder other than {target}")
    _check_replaceable(target, _bundle_files(target) | {f"{HEAD}/{name}" for name in _head_files(target / HEAD)})
    limit = max_seq_length or fetch(str(source)).spec.max_seq_length

    def fill(folder: Path) -> None:
        _copy_settings(source, folder)
        _write_json(folder / "sentence_bert_config.json", {"max_seq_length": limit, "do_lower_case": False})
        lengths.declare(folder, limit)
        _write_shards(folder, {k: v for k, v in tensors.read_tensors(source).items() if "pooler." not in k})
        _write_json(folder / "vector_ranges.json", _ranges(folder, texts))
        if (target / "README.md").is_file():
            shutil.copyfile(target / "README.md", folder / "README.md")

    write_folder(target, fill)


def _copy_settings(source: Path, folder: Path) -> None:
    (folder / "1_Pooling").mkdir()
    for name in (*KEPT, "1_Pooling/config.json"):
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    tokenizer = border.read_json_object(folder / "tokenizer.json", error=CorruptFileError)
    (folder / "tokenizer.json").write_text(
        json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")), encoding="utf-8"
    )


def bundle_head(source: Path, target: Path) -> None:
    """Put what makes a late-interaction model beside the encoder that it shares with ``target``.

    Args:
        source: A late-interaction folder of sentence-transformers' layout, its encoder frozen while it was trained.
        target: The bundled model; an earlier head is replaced, except for its ``README.md``.

    Raises:
        MedEmbedError: ``source`` cannot be loaded.
        SettingError: Its encoder is another, or ``target`` holds an earlier head with anything that this function does not write.
    """
    _check_replaceable(target / HEAD, _head_files(target / HEAD))
    ours, theirs = (_encoder_weights(folder) for folder in (target, source))
    if ours.keys() != theirs.keys() or not all(np.array_equal(ours[name], theirs[name]) for name in ours):
        raise SettingError(
            f"the encoder of {source} is not that of {target}: train the late-interaction model with base.model={target} and "
            "train.trainable=projection, then bundle it again"
        )
    # sentence-transformers may leave the limit to the tokenizer's settings, which stay with the encoder
    limit = {"max_seq_length": fetch(str(source), late_interaction=True).spec.max_seq_length}

    def fill(folder: Path) -> None:
        for path in (source / "modules.json", source / keys.SENTENCE_CONFIG, target / HEAD / "README.md"):
            if path.is_file():
                shutil.copyfile(path, folder / path.name)
        settings = model_files.read_json(source / "sentence_bert_config.json")
        _write_json(folder / "sentence_bert_config.json", settings | limit)
        for _, module in model_files.read_modules(source):
            if module.resolve() != source.resolve():
                _copy_module(module, folder / module.name)
        _write_json(folder / MADE_FOR, {"encoder": fingerprint(target)})

    write_folder(target / HEAD, fill)


def _check_replaceable(folder: Path, ours: Collection[str]) -> None:
    """Refuse to replace a folder that holds more than what we wrote: it would be lost."""
    paths.check_tree(folder)
    present = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    if folder.is_symlink() or folder.is_file() or not set(present) <= set(ours):
        raise SettingError(
            f"{folder} exists and is not what this command writes: name a new folder, or move it away first"
        )


def _bundle_files(target: Path) -> set[str]:
    """Names of a bundle's files. There are none where there is no bundle of ours."""
    index = model_files.read_json(target / tensors.INDEX) if target.is_dir() else {}
    if index.get("metadata") != METADATA:
        return set()
    written = (tensors.INDEX, "1_Pooling/config.json", "sentence_bert_config.json", "vector_ranges.json", "README.md")
    return {*KEPT, *written, *index["weight_map"].values()}


def _head_files(head: Path) -> set[str]:
    """Names of a head's files. There are none where there is no head of ours."""
    if not (head / MADE_FOR).is_file():
        return set()
    modules = {f"{module.name}/{name}" for _, module in model_files.read_modules(head) for name in MODULE_FILES}
    return {"modules.json", keys.SENTENCE_CONFIG, "sentence_bert_config.json", "README.md", MADE_FOR, *modules}


def _encoder_weights(folder: Path) -> tensor_files.Tensors:
    return {name: array for name, array in tensors.plain(tensors.read_tensors(folder)).items() if "pooler." not in name}


def _copy_module(source: Path, target: Path) -> None:
    """A module's settings, and its weights as float16."""
    target.mkdir()
    if (source / "config.json").is_file():
        shutil.copyfile(source / "config.json", target / "config.json")
    if (source / tensors.WHOLE).is_file():
        tensor_files.write(tensors.compact(tensors.read_tensors(source)), target / tensors.WHOLE)


def _write_shards(folder: Path, weights: tensor_files.Tensors) -> None:
    shards: list[tensor_files.Tensors] = [{}]
    stored = tensors.compact(weights)
    for name in sorted(weights):
        parts = {key: stored[key] for key in (name, name + tensors.SCALE) if key in stored}
        if sum(array.nbytes for array in (*shards[-1].values(), *parts.values())) > SHARD_BYTES and shards[-1]:
            shards.append({})
        shards[-1] |= parts
    names = [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):
        tensor_files.write(shard, folder / name)
    index = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
    _write_json(folder / tensors.INDEX, {"metadata": METADATA, "weight_map": index})


def _ranges(folder: Path, texts: Sequence[str]) -> dict[str, list[list[float]]]:
    with MedEmbed(folder, precision="fp32") as model:
        rows = model.encode_document(texts)
    directions = shortening.read(folder, rows.shape[1])
    sizes = [size for size in CUTS if size <= rows.shape[1]]
    return {
        str(size): [
            [round(float(x), 6) for x in side] for side in vectors.calibrate(shortening.shorten(rows, size, directions))
        ]
        for size in sizes
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
    parser.add_argument("--max-seq-length", type=int, help="as many tokens as SOURCE reads, if not given")
    given = parser.parse_args()
    if fetch(str(given.source), late_interaction=None).late_interaction:
        bundle_head(given.source, given.target)
        return
    texts = [text for passage in demo.passages() for text in (passage.title, passage.text)]
    bundle(given.source, given.target, texts, max_seq_length=given.max_seq_length)


if __name__ == "__main__":
    main()
