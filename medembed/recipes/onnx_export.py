"""The encoder as an ONNX file, the way sentence-transformers and fastembed expect it."""

import warnings
from pathlib import Path
from typing import Any

from medembed.extras import require


def export(folder: Path) -> Path:
    """Write ``onnx/model.onnx``: token ids in, last hidden state out. Batch and length are free.

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

    class Encoder(torch.nn.Module):  # type: ignore[name-defined]
        """Takes its inputs by position, as the exporter gives them."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: Any, mask: Any, types: Any) -> Any:
            return self.model(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state

    ids = torch.ones(2, 8, dtype=torch.long)
    axes = {0: "batch", 1: "length"}
    names = ["input_ids", "attention_mask", "token_type_ids"]
    with torch.no_grad(), warnings.catch_warnings():
        # the tracing exporter is declared old but needs no onnxscript; what it warns of are branches that a BERT never takes
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Encoder(),
            (ids, ids, torch.zeros_like(ids)),
            str(target),
            input_names=names,
            output_names=["last_hidden_state"],
            dynamic_axes=dict.fromkeys([*names, "last_hidden_state"], axes),
            opset_version=17,
            dynamo=False,
        )
    return target
