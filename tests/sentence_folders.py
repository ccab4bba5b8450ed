"""Random tiny model folders of every layout and architecture, saved by sentence-transformers and transformers themselves."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from medembed.checkpoints.checkpoint import BUNDLED_FOLDER
from tests import tiny_bert

# numbers that make any transformers encoder tiny; each configuration takes those that it knows
SMALL: Mapping[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 30522,
    "max_position_embeddings": 80, "embedding_size": 32, "dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4, "d_model": 32,
    "d_ff": 64, "d_kv": 8, "num_layers": 2, "num_heads": 4, "emb_dim": 32, "d_inner": 64, "n_layer": 2, "n_head": 4, "d_head": 8,
    "num_key_value_heads": 4, "head_dim": 8, "pad_token_id": 0, "bos_token_id": 101, "eos_token_id": 102, "sep_token_id": 102,
    "cls_token_id": 101, "input_embedding_size": 32, "output_embedding_size": 32, "embedding_dim": 32, "type_vocab_size": 2,
    "encoder_layers": 2, "encoder_ffn_dim": 64, "encoder_attention_heads": 4, "decoder_layers": 1, "decoder_ffn_dim": 64,
    "decoder_attention_heads": 4, "ffn_dim": 64, "n_embd": 32, "n_inner": 64, "n_positions": 80, "use_cache": False,
    "attention_window": [16, 16], "num_hidden_groups": 1, "block_sizes": [1, 1], "num_decoder_layers": 1, "num_buckets": 8,
    "intra_bottleneck_size": 16, "true_hidden_size": 16, "bottleneck_size": 16, "tie_word_embeddings": True,
    "num_encoder_layers": 2, "ngram": 2, "local_attention": 16, "layer_types": None, "global_attn_every_n_layers": 2,
    "num_encoder_attention_heads": 4, "num_decoder_attention_heads": 4, "conv_kernel_size": 3, "head_ratio": 1,
}  # fmt: skip

# what single architectures need beside
OWN: Mapping[str, Mapping[str, Any]] = {
    "funnel": {"without": ("num_hidden_layers", "num_layers")},
    "xlnet": {"without": ("max_position_embeddings", "n_positions")},
    "lilt": {"with": {"channel_shrink_ratio": 4, "hidden_size": 48}},
    "xmod": {"with": {"languages": ["en_XX"], "default_language": "en_XX"}},
}


def encoder(folder: Path, model_type: str, **changes: Any) -> Path:
    """Write a random encoder of a model type, with the bundled vocabulary, as a folder of sentence-transformers."""
    import torch
    import transformers
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    torch.manual_seed(0)
    kind = transformers.CONFIG_MAPPING[model_type]
    usual = kind()
    known = {key for key in SMALL if hasattr(usual, key) and SMALL[key] is not None}
    own = OWN.get(model_type, {})
    config = kind(
        **{key: SMALL[key] for key in known if key not in own.get("without", ())} | own.get("with", {}) | changes
    )
    model = transformers.AutoModel.from_config(config)
    for name, weight in model.named_parameters():
        torch.nn.init.normal_(weight, 1.0 if weight.ndim == 1 and "bias" not in name else 0.0, 0.2)
    raw = folder.with_name(folder.name + ".raw")
    model.save_pretrained(raw)
    shutil.copyfile(BUNDLED_FOLDER / "tokenizer.json", raw / "tokenizer.json")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 64,
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
    }
    settings |= {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    (raw / "tokenizer_config.json").write_text(json.dumps(settings))
    transformer = Transformer(str(raw))
    pooling = Pooling(transformer.get_embedding_dimension())
    SentenceTransformer(modules=[transformer, pooling], device="cpu").save_pretrained(str(folder))
    return folder


Change = Callable[[Path], object]


def edit(path: Path, **changes: object) -> Path:
    """Change keys of a JSON object on disk; a file that is not there starts empty."""
    path.parent.mkdir(exist_ok=True)
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**before, **changes}))
    return path


def changed(folder: Path, name: str, *, without: str = "", **changes: object) -> Path:
    """The tiny BERT with changes to one of its files."""
    made = tiny_bert.make(folder, prompts={"query": "query: ", "document": "passage: "})
    edit(made / name, **changes)
    if without:
        content = json.loads((made / name).read_text())
        del content[without]
        (made / name).write_text(json.dumps(content))
    return made


def layout(folder: Path, make: Callable[[int], list[Any]], **settings: Any) -> Path:
    """The tiny BERT under modules of sentence-transformers, saved by it.

    Args:
        folder: Where to write.
        make: The width of a token's state → the modules after the Transformer.
        settings: Of SentenceTransformer: prompts, similarity_fn_name, truncate_dim …
    """
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Transformer

    bare = tiny_bert.make(folder.with_name(folder.name + ".bare"))
    torch.manual_seed(0)
    transformer = Transformer(str(bare), max_seq_length=64)
    modules = make(transformer.get_embedding_dimension())
    for module in modules:
        for weight in module.parameters():
            torch.nn.init.normal_(weight, 0, 0.3)
    SentenceTransformer(modules=[transformer, *modules], device="cpu", **settings).save_pretrained(str(folder))
    return folder
