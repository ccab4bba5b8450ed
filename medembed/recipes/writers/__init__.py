"""Choice of the writer of the pairs by its name. No other place chooses one."""

from medembed.recipes.schema import Recipe
from medembed.recipes.writers.interface import PairWriter


def load_writer(recipe: Recipe) -> PairWriter:
    """The writer a recipe names, ready to write.

    Args:
        recipe: The recipe; ``pairs.writer`` chooses, ``execution`` says where the language model is.

    Returns:
        A writer; close it after use.

    Raises:
        MissingExtraError: The writer needs a library that is not installed.
    """
    pairs = recipe.pairs
    if pairs.writer == "extractive":
        from medembed.recipes.writers.extractive import ExtractiveWriter

        return ExtractiveWriter(pairs.extractive, recipe.words)
    if pairs.writer == "openai_endpoint":
        from medembed.recipes.writers.openai_endpoint import EndpointWriter

        return EndpointWriter(pairs.llm, recipe.execution, seed=recipe.seed, words=recipe.words)
    if pairs.writer == "vllm_local":
        from medembed.recipes.writers.vllm_local import VllmWriter

        return VllmWriter(pairs.llm, recipe.execution, seed=recipe.seed, words=recipe.words)
    raise AssertionError(f"no writer named {pairs.writer}")
