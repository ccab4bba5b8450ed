"""Pairs from a language model run by vLLM in this process: batches, seeds, answers held to a JSON schema."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from medembed.extras import require, switches
from medembed.recipes.execution import Execution
from medembed.recipes.llm import Llm
from medembed.recipes.records import Failure, Note, content_id
from medembed.recipes.words import ENGLISH, Words
from medembed.recipes.writers.interface import Written
from medembed.recipes.writers.prompts import messages, reply_schema
from medembed.recipes.writers.replies import parse_reply

# xgrammar, vLLM's default, lets raw control characters through in strings of limited length, which no JSON parser takes
# (seen with 0.32); guidance does not. Without free blanks between tokens a weak model cannot run on for ever.
_STRUCTURED = {"backend": "guidance", "disable_any_whitespace": True}


class VllmWriter:
    """Runs the language model and asks it for many notes at once.

    Args:
        settings: Model, prompt and sampling.
        execution: GPUs (``tensor_parallel``), notes per batch (``llm_batch``), further engine options (``vllm_options``).
        seed: Seed of the engine; each note samples with a seed of its own, made from this one and its hash, so that its
            answer does not depend on what else is in the batch.
        words: Abbreviations of the notes.
    """

    def __init__(self, settings: Llm, execution: Execution, *, seed: int, words: Words = ENGLISH) -> None:
        self._vllm = require("vllm")
        self._sampling = require("vllm.sampling_params")
        self._settings, self._batch, self._seed, self._words = settings, execution.llm_batch, seed, words
        options: dict[str, Any] = {
            "trust_remote_code": False,
            "model": settings.model,
            "revision": settings.revision,
            "seed": seed,
            "tensor_parallel_size": execution.tensor_parallel,
            "structured_outputs_config": _STRUCTURED,
        }
        with switches(VLLM_NO_USAGE_STATS="1"):
            self._llm: Any = self._vllm.LLM(**(options | execution.vllm_options.model_dump(exclude_none=True)))
        self._tokenizer = self._llm.get_tokenizer()
        self._context: int = self._llm.llm_engine.model_config.max_model_len

    def write(self, notes: Sequence[Note]) -> Iterator[Written]:
        """Pairs of notes, batch by batch. A prompt beyond the model's context is counted and not sent."""
        for start in range(0, len(notes), self._batch):
            batch = notes[start : start + self._batch]
            asked: list[Note] = []
            for note in batch:
                if self._fits(note):
                    asked.append(note)
                else:
                    yield Written(note.note_id, failures=[Failure(note.note_id, "prompt beyond the model's context")])
            yield from self._ask(asked)

    def close(self) -> None:
        """Free the model."""
        self._llm = None

    def _ask(self, notes: list[Note]) -> Iterator[Written]:
        if not notes:
            return
        conversations = [messages(note, self._settings) for note in notes]
        answers = self._llm.chat(conversations, [self._parameters(note) for note in notes], use_tqdm=False)
        for note, answer in zip(notes, answers, strict=True):
            output = answer.outputs[0]
            yield parse_reply(note, output.text, self._settings, cut=output.finish_reason == "length")

    def _parameters(self, note: Note) -> Any:
        settings = self._settings
        sampling = {"temperature": settings.temperature, "top_p": settings.top_p}
        return self._vllm.SamplingParams(
            max_tokens=settings.max_tokens,
            seed=int(content_id(str(self._seed), note.note_id)[:8], 16) % 2**31,
            structured_outputs=self._form(note),
            **{name: value for name, value in sampling.items() if value is not None},
        )

    def _form(self, note: Note) -> Any:
        """The form that the grammar allows, or None for anything."""
        if self._settings.response_format == "none":
            return None
        if self._settings.response_format == "json_object":
            return self._sampling.StructuredOutputsParams(json_object=True)
        return self._sampling.StructuredOutputsParams(json=json.dumps(reply_schema(note, self._settings, self._words)))

    def _fits(self, note: Note) -> bool:
        tokens = self._tokenizer.apply_chat_template(
            messages(note, self._settings), add_generation_prompt=True, tokenize=True
        )
        ids = tokens["input_ids"] if hasattr(tokens, "keys") else tokens
        return len(ids) < self._context
