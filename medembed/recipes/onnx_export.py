"""The encoder as an ONNX file, the way sentence-transformers and fastembed expect it."""

from pathlib import Path

from medembed.extras import require


def export(folder: Path) -> Path:
    """Write ``onnx/model.onnx``: token ids in, last hidden state out; batch and length are free.

    Args:
        folder: A model folder with ``config.json`` and weights.

    Returns:
        The ONNX file.

    Raises:
        MissingExtraError: torch, transformers or onnx is missing.
    """
    torch, transformers = require("torch"), require("transformers")
    require("onnx")
    target = folder / "onnx" / "model.onnx"
    target.parent.mkdir(exist_ok=True)
    model = transformers.AutoModel.from_pretrained(
        str(folder), local_files_only=True, attn_implementation="eager"
    ).eval()
    ids = torch.ones(2, 8, dtype=torch.long)
    axes = {0: "batch", 1: "length"}
    names = ["input_ids", "attention_mask", "token_type_ids"]
    with torch.no_grad():
        torch.onnx.export(
            model,
            (ids, ids, torch.zeros_like(ids)),
            str(target),
            input_names=names,
            output_names=["last_hidden_state"],
            dynamic_axes=dict.fromkeys([*names, "last_hidden_state"], axes),
            opset_version=17,
            dynamo=False,
        )
    return target
