"""Everything the site serves that is computed, built once for each state of what it is made of."""

import hashlib
import os
import shutil
from pathlib import Path

from docs.website import corpus_map, npm, tryout
from medembed import MedEmbed, demo

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / "build" / "site-assets"


def build(target: Path) -> None:
    """Fill ``target``; what was built before from the same sources is copied.

    Args:
        target: Folder under ``docs/``; replaced.
    """
    npm.install()
    with MedEmbed(overlong="chunk") as model:
        kept = CACHE / _fingerprint(model.revision)
        if not kept.is_dir():
            _make(kept, model)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(kept, target)


def _make(kept: Path, model: MedEmbed) -> None:
    passages = demo.passages()
    print(f"Embedding {len(passages)} passages and making the try-out's model; a minute or two, once ...")
    vectors = model.encode_document([passage.text for passage in passages])
    aside = kept.with_name(kept.name + ".part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    tryout.build(aside, vectors, passages)
    corpus_map.build(aside / "map.json", vectors, passages)
    os.replace(aside, kept)


def _fingerprint(revision: str) -> str:
    """Of the weights, the passages, the JavaScript's lock file and this code."""
    sources = [
        Path(demo.__file__).with_name("passages.jsonl"),
        npm.FOLDER / "package-lock.json",
        *(HERE / name for name in ("assets.py", "corpus_map.py", "tryout.py")),
    ]
    digest = hashlib.sha256(revision.encode())
    for path in sources:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
