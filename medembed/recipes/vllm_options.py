"""Options of vLLM's engine that a recipe may set."""

from typing import Annotated, Literal

from pydantic import Field

from medembed.recipes.section import Positive, Section


class VllmOptions(Section):
    """Options of vLLM's engine that change speed and memory alone, None for vLLM's own choice.

    vLLM has others that run code from a model's repository or from a named class. Those are no settings here, wherever they
    are written: start ``vllm serve`` with them and use ``pairs.writer = "openai_endpoint"``.

    Attributes:
        dtype: Number format of weights and activations.
        quantization: How its weights are quantized.
        kv_cache_dtype: Number format of keys and values that are kept.
        max_model_len: Tokens of a request and its reply at most.
        max_num_seqs: Requests computed together at most.
        max_num_batched_tokens: Tokens of a step at most.
        gpu_memory_utilization: Share of a GPU's memory that it takes.
        cpu_offload_gb: Weights that lie in the CPU's memory, in GiB.
        block_size: Tokens of a block of kept keys and values.
        enforce_eager: Whether nothing is compiled.
        enable_prefix_caching: Whether what requests share at their beginning is computed once.
        enable_chunked_prefill: Whether long requests are read in parts.
        disable_custom_all_reduce: Whether GPUs are joined by NCCL alone.
    """

    dtype: Literal["auto", "half", "float16", "bfloat16", "float", "float32"] | None = None
    quantization: Annotated[str, Field(pattern="^[a-z0-9_]+$")] | None = None
    kv_cache_dtype: Annotated[str, Field(pattern="^[a-z0-9_]+$")] | None = None
    max_model_len: Positive | None = None
    max_num_seqs: Positive | None = None
    max_num_batched_tokens: Positive | None = None
    gpu_memory_utilization: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    cpu_offload_gb: Annotated[float, Field(ge=0.0)] | None = None
    block_size: Positive | None = None
    enforce_eager: bool | None = None
    enable_prefix_caching: bool | None = None
    enable_chunked_prefill: bool | None = None
    disable_custom_all_reduce: bool | None = None
