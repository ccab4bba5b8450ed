"""Our tokenizer held against transformers' own, for the classes that transformers builds anew from its settings."""

from typing import Any

from medembed.checkpoints.checkpoint import Checkpoint
from medembed.errors import UnsupportedModelError
from medembed.runtime.tokenizer import Tokenizer

# capitals, accents (composed and not), digits, punctuation, scripts without spaces, odd spaces, tokens written in a text
PROBES = (
    "The Patient's HbA1c was 7.5%; BP 120/80 (SpO\u2082 98\u2009%).",
    "Ménière, Sjögren, me\u0301nie\u0300re, ÉCHO, straße, İ, ΑΣ",
    " two  spaces,\ttab\nnew line\u00a0no-break\u200bzero ",
    "患者さん 慢性肾病 \u0634\u0643\u0631 \U0001f489",
    "[MASK] [CLS] <mask> <s> </s> <pad> [SEP] <extra_id_0> <unk>",
    "don't re-admit; e-mail: a_b@c.org, 5-HT3, COVID-19, 1,000 μg/dL",
    "a " * 3000,
)


def check(tokenizer: Tokenizer, checkpoint: Checkpoint, transformers: Any) -> None:
    """Refuse a folder that transformers tokenizes in another way.

    Args:
        tokenizer: Ours.
        checkpoint: The model.
        transformers: The library.

    Raises:
        UnsupportedModelError: Other ids, or transformers cannot read the folder's tokenizer.
    """
    folder = checkpoint.files.encoder
    try:
        theirs = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        settings = {"truncation": True, "max_length": tokenizer.max_seq_length}
        expected = [list(theirs(text, **settings)["input_ids"]) for text in PROBES]
    except Exception as error:  # any class of any model's tokenizer, and whatever it raises
        raise UnsupportedModelError(
            f"transformers {transformers.__version__} cannot read the tokenizer in {folder} ({type(error).__name__}): "
            "download the model again, or use a model with a tokenizer.json"
        ) from error
    if [tokenizer([text]).ids[0] for text in PROBES] != expected:
        raise UnsupportedModelError(
            f"{folder}: transformers' {type(theirs).__name__} does not give the tokens of tokenizer.json, so that vectors would differ from "
            'sentence-transformers\': save the model again with it, or write "tokenizer_class": "PreTrainedTokenizerFast" into '
            "tokenizer_config.json if tokenizer.json is right"
        )
