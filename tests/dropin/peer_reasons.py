"""The files of sentence-transformers' tests that are run over a MedEmbed, what of them is not about it, and why what differs differs."""

from collections.abc import Sequence
from dataclasses import dataclass

FORMS = ("theirs", "itself", "familiar", "saved", "functions")
MODEL = ("itself", "familiar", "saved")
# file under their tests → the forms it is run in, beside their own class
FILES: dict[str, Sequence[str]] = {
    "sentence_transformer/test_model.py": MODEL,
    "base/test_model.py": MODEL,
    "sentence_transformer/test_compute_embeddings.py": ("itself", "familiar"),
    "sentence_transformer/modules/test_pooling.py": ("itself", "familiar", "functions"),
    "sentence_transformer/evaluation/test_binary_classification_evaluator.py": ("familiar",),
    "sentence_transformer/evaluation/test_information_retrieval_evaluator.py": ("familiar",),
    "sentence_transformer/evaluation/test_paraphrase_mining_evaluator.py": ("familiar",),
    "sentence_transformer/evaluation/test_triplet_evaluator.py": ("familiar",),
    "util/test_retrieval.py": ("familiar",),
    "util/test_similarity.py": ("functions",),
}

# what is not about a MedEmbed → parts of the names of its tests, which are not run
NOT_ABOUT: dict[str, Sequence[str]] = {
    "uploads, downloads and model cards": (
        "to_hub", "load_with_revision", "load_with_safetensors", "load_with_pytorch_bin", "use_auth_token", "cache_folder", "model_card",
        "model_path_pointing", "default_pooling_mode",
    ),
    "training, and the torch modules inside": (
        "adapter", "peft", "gradient", "torch_dtype", "fp16", "test_to", "test_dtype", "device_map", "device_argument", "flatten_inputs",
        "live_flash", "transformers_model", "test_config_", "module_call", "test_evaluate_", "module_class", "third_party", "private_load",
        "requirements", "modules_and_path", "empty_modules", "serialization_fallback", "model_kwargs", "idempotent", "processing_kwargs",
        "test_save_none", "legacy", "pooling_config", "invalid_mode", "config_dict", "rejects_unknown",
    ),
    "other kinds of models and inputs": (
        "sparse", "cross_encoder", "clip", "router", "maxsim", "multi_vector", "modality", "Preprocess", "preprocess", "is_singular",
        "conversion_ignores", "converting_model", "test_sentence_transformer", "test_supports", "angle", "image",
    ),
    "functions that a MedEmbed has no part in": (
        "parse_model_config", "get_model_type", "tokenize_deprecation", "community_detection", "semantic_search", "chunk_ranges",
        "low_precision", "hps_", "float32_inputs", "empty_document", "euclidean_sim", "manhattan_sim", "find_best", "distance_metrics",
        "test_is_",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Reason:
    """Why tests differ.

    Attributes:
        forms: The forms in which they do.
        tests: Names of test functions.
        sentence: The reason.
    """

    forms: Sequence[str]
    tests: Sequence[str]
    sentence: str


REASONS: Sequence[Reason] = (
    Reason(
        ("itself",),
        ("test_encode_truncate", "test_encode_quantization", "test_empty_encode", "test_encode_with_dataset_column"),
        "Tensors, lists and other kinds of numbers are refused with the line that makes them: `encode` always gives float32 of numpy.",
    ),
    Reason(
        ("itself",),
        (
            "test_prompts", "test_encode_query_document_vs_encode", "test_encode_document_prompt_priority", "test_similarity_score",
            "test_similarity_fn_name_set_via_enum",
        ),
        "The folder names prompts and similarity: setting them on a loaded model is refused.",
    ),
    Reason(
        ("itself",),
        ("test_encode_query", "test_encode_document", "test_encode_advanced_parameters"),
        "Prompts are set on the model, then calls inside theirs are spied on, with its former and free keywords.",
    ),
    Reason(
        ("itself", "familiar"),
        ("test_encode_token_embeddings", "test_prompt_output_value_None", "test_prompt_length_calculation", "test_pooling_respects_include_prompt"),
        "Vectors of tokens are `MedColBERT`'s, and the tokenizer is not exchanged: one vector a text comes out.",
    ),
    Reason(
        ("itself", "familiar"),
        (
            "test_safe_serialization", "test_load_local_without_normalize_directory", "test_save_load_prompts", "test_similarity_score_save",
            "test_similarity_fn_name_constructor_overrides_saved", "test_safetensors", "test_save_creates_expected_files",
            "test_save_pretrained_delegates_to_save", "test_save_load_roundtrip", "test_load_logs_no_modules_json",
        ),
        "It has no modules to add to and saves nothing: the model's own folder is copied.",
    ),
    Reason(
        ("itself", "familiar"),
        ("test_encode_numpy_2d_string_array",),
        "A pair of texts is refused: texts are embedded one by one.",
    ),
    Reason(
        ("itself",),
        ("test_device_property", "test_get_max_seq_length"),
        "`device` is a `str`, and `max_seq_length` has no second name.",
    ),
    Reason(
        ("saved",),
        ("test_safetensors", "test_save_load_roundtrip"),
        "Rows of a cosine model come at unit length, where theirs keep their own; CNN, LSTM, weighted layers and word vectors are not read.",
    ),
    Reason(
        ("saved",),
        ("test_save_load_prompts",),
        "The prompt for all texts is called `default`, beside the folder's own names.",
    ),
    Reason(
        ("saved",),
        ("test_load_logs_no_modules_json",),
        "The folder is read, but without the line that their loader logs.",
    ),
    Reason(
        ("functions",),
        ("test_pooling_cls_uses_cls_token_embeddings",),
        "A first state apart from the others comes from word vectors alone, which a `MedEmbed` does not read.",
    ),
)  # fmt: skip


def left_out(name: str) -> str | None:
    """Why a test is not about a MedEmbed; None if it is.

    Args:
        name: The test with its class, as pytest names it; its parameters do not count.
    """
    name = name.partition("[")[0]
    return next((why for why, parts in NOT_ABOUT.items() if any(part in name for part in parts)), None)
