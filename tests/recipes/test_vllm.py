"""Both vLLM writers for real: a tiny LLaMA with random weights, in this process and behind vLLM's server on loopback.

vLLM pins a torch and a transformers of its own, so this runs in an environment of its own: ``make test-vllm``.
"""

import json
import os
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medembed.recipes.execution import Execution
from medembed.recipes.llm import Llm
from medembed.recipes.records import Note, content_id
from medembed.recipes.vllm_options import VllmOptions
from medembed.recipes.writers.interface import PairWriter, Written
from medembed.recipes.writers.openai_endpoint import EndpointWriter
from medembed.recipes.writers.prompts import reply_schema

pytest.importorskip("vllm", reason="vLLM has an environment of its own: make test-vllm")

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "OMP_NUM_THREADS": "1",
}
STRUCTURED = {"backend": "guidance", "disable_any_whitespace": True}
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@pytest.fixture(scope="module", autouse=True)
def _environment() -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(ENVIRONMENT)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaMA of two layers with random weights, and a BPE vocabulary learnt from the standard library's sources."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("llama")
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|bos|>", "<|eos|>", "<|user|>", "<|assistant|>", "<|system|>"]
    files = [str(path) for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[:120]]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train(
        files,
        trainers.BpeTrainer(vocab_size=2000, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    tokens = {"bos_token": "<|bos|>", "eos_token": "<|eos|>", "pad_token": "<|pad|>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, model_max_length=4096, **tokens)
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        num_key_value_heads=4,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        **shape,
        **ids,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def settings(model: str, **changed: Any) -> Llm:
    """Short answers: a model with random weights would fill any length it is given."""
    bounds: dict[str, Any] = {
        "max_query_chars": 40,
        "max_passage_chars": 60,
        "pairs_per_note": 2,
        "max_tokens": 900,
        "temperature": 1.0,
    }
    return Llm(model=model, **(bounds | changed))


@pytest.fixture(scope="module")
def medical_notes() -> list[Note]:
    texts = [
        f"A woman of {40 + number} years came with gout in the left foot. Allopurinol was given for {number + 2} weeks. The pain went away."
        for number in range(6)
    ]
    return [Note(content_id(text), f"d{index}", "made", "", "", text) for index, text in enumerate(texts)]


@pytest.fixture(scope="module")
def in_process(llama: Path) -> Iterator[PairWriter]:
    from medembed.recipes.writers.vllm_local import VllmWriter

    options = VllmOptions(dtype="bfloat16", max_model_len=2048, enforce_eager=True, max_num_seqs=8)
    writer = VllmWriter(settings(str(llama), passage="sentence"), Execution(vllm_options=options), seed=7)
    yield writer
    writer.close()


@pytest.fixture(scope="module")
def server(llama: Path) -> Iterator[str]:
    """vLLM's own OpenAI-compatible server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "vllm.entrypoints.openai.api_server",
        "--model",
        str(llama),
        "--served-model-name",
        "tiny",
    ]
    command += [
        "--dtype",
        "bfloat16",
        "--max-model-len",
        "2048",
        "--enforce-eager",
        "--max-num-seqs",
        "8",
        "--host",
        "127.0.0.1",
    ]
    command += ["--port", str(port), "--structured-outputs-config", json.dumps(STRUCTURED)]
    process = subprocess.Popen(command, env={**os.environ, **ENVIRONMENT})
    deadline = time.monotonic() + 300
    try:
        while True:
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server did not start"
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                    break
            except (urllib.error.URLError, TimeoutError, ConnectionError):
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(timeout=60)


def check(notes: list[Note], written: list[Written], asked: Llm) -> None:
    """Every reply is valid JSON of the schema, and every passage a sentence of its note."""
    by_id = {note.note_id: note for note in notes}
    assert sorted(item.note_id for item in written) == sorted(by_id)
    for item in written:
        note = by_id[item.note_id]
        assert item.failures == []
        assert item.reply is not None
        pairs = json.loads(item.reply)["pairs"]
        schema = reply_schema(note, asked)["properties"]["pairs"]
        assert 1 <= len(pairs) <= schema["maxItems"]
        for pair in pairs:
            assert set(pair) == {"query", "query_type", "passage", "relevance_score"}
            assert pair["query_type"] in asked.query_types
            assert pair["relevance_score"] in range(1, 6)
        assert item.pairs
        assert all(note.text[pair.start : pair.end] == pair.passage for pair in item.pairs)


def test_in_process_writes_valid_pairs(in_process: PairWriter, llama: Path, medical_notes: list[Note]) -> None:
    check(medical_notes, list(in_process.write(medical_notes)), settings(str(llama), passage="sentence"))


def test_a_notes_answer_does_not_depend_on_its_batch(in_process: PairWriter, medical_notes: list[Note]) -> None:
    alone = [next(iter(in_process.write([note]))).reply for note in medical_notes[:2]]
    assert alone == [next(iter(in_process.write([note]))).reply for note in medical_notes[:2]]


def test_a_prompt_beyond_the_context_is_counted_and_stops_nothing(
    in_process: PairWriter, medical_notes: list[Note]
) -> None:
    long = Note("f" * 16, "d", "made", "", "", "Fever again. " * 3000)
    written = {item.note_id: item for item in in_process.write([long, medical_notes[0]])}
    assert [failure.reason for failure in written["f" * 16].failures] == ["prompt beyond the model's context"]
    assert written[medical_notes[0].note_id].pairs


def test_behind_its_server_it_writes_valid_pairs_too(server: str, medical_notes: list[Note]) -> None:
    asked = settings("tiny", passage="sentence")
    writer = EndpointWriter(asked, Execution(endpoint=server, concurrency=4, timeout_s=240), seed=7)
    check(medical_notes, list(writer.write(medical_notes)), asked)
    long = Note("f" * 16, "d", "made", "", "", "Fever again. " * 3000)
    [refused] = writer.write([long])
    assert [failure.reason for failure in refused.failures] == ["prompt beyond the model's context"]
    writer.close()
