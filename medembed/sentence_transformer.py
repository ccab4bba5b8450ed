"""A MedEmbed in the form of a SentenceTransformer, for libraries that take nothing else.

BERTopic and KeyBERT look at the class of what they are given; the evaluators of sentence-transformers and mteb ask for tensors. Both
need torch, and so does this: the extra ``torch``.
"""

from collections.abc import Sequence
from typing import Any

from medembed.checkpoints import keys, model_files
from medembed.errors import SettingError
from medembed.extras import require
from medembed.model import MedEmbed

# a module of sentence-transformers is a module of torch
_torch: Any = require("torch")


class _Encoding(_torch.nn.Module):
    """The one module of such a model: texts in, vectors out."""

    modalities = ("text",)

    def __init__(self, model: MedEmbed) -> None:
        super().__init__()
        self.model = model

    @property
    def max_seq_length(self) -> int:
        return self.model.max_seq_length

    def get_embedding_dimension(self) -> int:
        return self.model.dimension

    def preprocess(self, inputs: Sequence[str], prompt: str | None = None, **_: object) -> dict[str, Any]:
        rows = self.model.encode(list(inputs), prompt=prompt or "", show_progress_bar=False)
        return {"sentence_embedding": _torch.from_numpy(rows)}

    def save(self, *_: object, **__: object) -> None:
        raise SettingError(
            f"as_sentence_transformer(...) holds no weights to save: copy the model's own folder, {self.model.folder}, in place of it"
        )

    def forward(self, features: dict[str, Any], **_: object) -> dict[str, Any]:
        return features


def as_sentence_transformer(model: MedEmbed) -> Any:
    """A ``SentenceTransformer`` whose vectors a MedEmbed makes.

    Prompts, length, dimension and similarity are the model's own. Whatever sentence-transformers does with vectors works:
    tensors, evaluators, saving of scores. It has no weights: it is neither trained nor saved (``save`` raises ``SettingError``).

    Args:
        model: The model. It stays open as long as this is used.

    Returns:
        A ``sentence_transformers.SentenceTransformer``.

    Raises:
        MissingExtraError: sentence-transformers is not installed.

    Example:
        >>> with MedEmbed(threads=1) as model:
        ...     as_sentence_transformer(model).encode(["chest pain"], convert_to_tensor=True).shape
        torch.Size([1, 384])
    """
    saved = model_files.read_json(model.folder / keys.SENTENCE_CONFIG)
    return require("sentence_transformers").SentenceTransformer(
        modules=[_Encoding(model)],
        device="cpu",
        prompts=dict(model.spec.prompts),
        default_prompt_name=saved.get("default_prompt_name"),
        similarity_fn_name=model.spec.similarity,
    )
