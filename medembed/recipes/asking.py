"""Questions that a language model writes about notes, for `medembed assess`."""

from collections.abc import Callable, Sequence

from medembed.evaluation.own_questions import OwnNote, OwnQuestion, chosen
from medembed.recipes.execution import Execution
from medembed.recipes.llm import Llm
from medembed.recipes.records import Note, content_id
from medembed.recipes.writers.openai_endpoint import EndpointWriter

# what one reply offers; the first that the model itself calls a good one is taken
OFFERED, GOOD = 3, 4
KIND = "llm"


def endpoint_questions(
    endpoint: str, model: str, *, api_key_env: str | None = None, seed: int = 0
) -> Callable[[Sequence[OwnNote], int], list[OwnQuestion]]:
    """A writer of questions behind an OpenAI-compatible address. Each chosen note is sent there.

    Args:
        endpoint: ``http://HOST:PORT/v1``.
        model: The model's name there.
        api_key_env: Variable that holds the key; None to send none.
        seed: Of the notes that are chosen, and of the sampling.

    Raises:
        MissingExtraError: ``httpx2`` is not installed.
        RecipeConfigError: The address or the key cannot be used.
    """
    settings = Llm(model=model, pairs_per_note=OFFERED)
    execution = Execution(endpoint=endpoint, api_key_env=api_key_env)

    def write(notes: Sequence[OwnNote], most: int) -> list[OwnQuestion]:
        by_id: dict[str, OwnNote] = {content_id(note.id, note.whole): note for note in chosen(notes, most, seed)}
        windows = [Note(key, note.id, "own", note.title, "", note.whole) for key, note in by_id.items()]
        writer = EndpointWriter(settings, execution, seed=seed)
        try:
            best = {
                written.note_id: max(written.pairs, key=lambda pair: pair.relevance_score)
                for written in writer.write(windows)
                if written.pairs
            }
        finally:
            writer.close()
        return [
            OwnQuestion(KIND, best[key].query, note.id)
            for key, note in by_id.items()
            if key in best and best[key].relevance_score >= GOOD
        ]

    return write
