"""sentence-transformers and mteb over a MedEmbed: they find what they find over the same folder loaded by sentence-transformers."""

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medembed import MedEmbed, demo
from medembed.errors import SettingError
from medembed.rows.beir import open_folder
from tests import tiny_bert

sentence_transformers = pytest.importorskip("sentence_transformers")
from medembed.sentence_transformer import as_sentence_transformer  # noqa: E402 - it needs them

util = pytest.importorskip("sentence_transformers.util")
TEXTS = ["myocardial infarction", "fracture of the tibia", "itchy skin", "heart attack", "broken leg"]
PROMPTS = {"query": "query: ", "document": "passage: ", "topic": "topic: "}
# kind of folder → how it is made, and its default prompt
FOLDERS: dict[str, tuple[dict[str, Any], str | None]] = {
    "cosine": ({}, None),
    "prompts": ({"prompts": PROMPTS}, None),
    "default-prompt": ({"prompts": PROMPTS}, "topic"),
    "prompt-named-default": ({"prompts": {**PROMPTS, "default": "any: "}}, "topic"),
    "query-prompt-by-default": ({"prompts": PROMPTS}, "query"),
    "dot": ({"prompts": PROMPTS, "normalize": False, "similarity": "dot"}, None),
    "euclidean": ({"normalize": False, "similarity": "euclidean"}, None),
    "manhattan-unit": ({"similarity": "manhattan"}, None),
}


def test_semantic_search_ranks_as_the_models_similarity(mini: MedEmbed) -> None:
    query, texts = mini.encode_query(["heart attack"]), mini.encode_document(TEXTS)
    hits = util.semantic_search(query, texts, top_k=len(TEXTS))[0]
    scores = mini.similarity(query, texts)[0]
    assert [hit["corpus_id"] for hit in hits] == np.argsort(-scores, kind="stable").tolist()
    np.testing.assert_allclose([hit["score"] for hit in hits], np.sort(scores)[::-1], atol=1e-5)


def test_community_detection_finds_the_same_things_in_other_words(mini: MedEmbed) -> None:
    found = util.community_detection(mini.encode(TEXTS), threshold=0.3, min_community_size=2)
    assert sorted(sorted(group) for group in found) == [[0, 3], [1, 4]]


@pytest.fixture(scope="module", params=FOLDERS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A MedEmbed as a SentenceTransformer, and the SentenceTransformer of the same folder."""
    made, default = FOLDERS[request.param]
    folder = tiny_bert.make(tmp_path_factory.mktemp("folder") / "model", **made)
    saved = folder / "config_sentence_transformers.json"
    saved.write_text(json.dumps(json.loads(saved.read_text()) | {"default_prompt_name": default}))
    ours = as_sentence_transformer(MedEmbed(folder, threads=1, precision="fp32"))
    return ours, sentence_transformers.SentenceTransformer(str(folder), device="cpu")


CALLS: dict[str, Callable[[Any], Any]] = {
    "encode": lambda model: model.encode(TEXTS),
    "one": lambda model: model.encode(TEXTS[0]),
    "none": lambda model: model.encode([]),
    "query": lambda model: model.encode_query(TEXTS),
    "document": lambda model: model.encode_document(TEXTS, batch_size=2),
    "own-prompt": lambda model: model.encode(TEXTS, prompt="find: "),
    "no-prompt": lambda model: model.encode(TEXTS, prompt=""),
    "tensor": lambda model: model.encode_query(TEXTS, convert_to_tensor=True).numpy(),
    "unit": lambda model: model.encode(TEXTS, normalize_embeddings=True),
    "shorter": lambda model: model.encode(TEXTS, truncate_dim=16),
    "binary": lambda model: model.encode(TEXTS, precision="ubinary"),
    "similarity": lambda model: model.similarity(model.encode_query(TEXTS), model.encode_document(TEXTS)).numpy(),
    "numbers": lambda model: np.array([model.max_seq_length, model.get_embedding_dimension()]),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_it_answers_as_the_sentence_transformer_of_the_same_folder(
    call: Callable[[Any], Any], both: tuple[Any, Any]
) -> None:
    ours, theirs = (call(model) for model in both)
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_its_settings_have_the_names_that_the_folder_gives(both: tuple[Any, Any]) -> None:
    ours, theirs = ((model.prompts, model.default_prompt_name, model.similarity_fn_name) for model in both)
    assert ours == theirs


def test_a_medembed_compares_any_vectors_as_sentence_transformers(both: tuple[Any, Any]) -> None:
    """Also equal ones, one that is zero, and ones of other lengths than the model gives."""
    ours, theirs = both[0][0].model, both[1]
    rows = ours.encode(TEXTS)
    others = np.concatenate([rows[:1], 3 * rows[1:3], np.zeros_like(rows[:1]), rows[2:3] + rows[4:]])
    for a, b in ((rows, others), (others, rows[0]), (rows[:0], others)):
        expected = theirs.similarity(a, b).numpy()
        np.testing.assert_allclose(ours.similarity(a, b), expected, rtol=1e-4, atol=2e-3)
        assert ours.similarity(a, b).shape == expected.shape
    for a, b in ((rows, others), (rows[0], others[1])):
        found = ours.similarity_pairwise(a, b)
        np.testing.assert_allclose(found, theirs.similarity_pairwise(a, b).numpy().reshape(-1), rtol=1e-4, atol=1e-4)
    assert ours.similarity(rows, rows).dtype == ours.similarity_pairwise(rows, rows).dtype == np.float32


def test_a_prompt_of_the_model_is_known_by_its_name(both: tuple[Any, Any]) -> None:
    ours, theirs = both
    for name in [name for name, text in theirs.prompts.items() if text]:
        np.testing.assert_allclose(
            ours.encode(TEXTS, prompt_name=name), theirs.encode(TEXTS, prompt_name=name), atol=1e-4
        )


def test_saving_is_refused_with_the_folder_to_copy(both: tuple[Any, Any], tmp_path: Path) -> None:
    model = both[0]
    with pytest.raises(SettingError, match=re.escape(f"copy the model's own folder, {model[0].model.folder}")):
        model.save_pretrained(str(tmp_path / "saved"), create_model_card=False)


def test_evaluators_give_the_same_numbers(both: tuple[Any, Any]) -> None:
    evaluation = pytest.importorskip("sentence_transformers.sentence_transformer.evaluation")
    passages = demo.passages()[:30]
    retrieval = evaluation.InformationRetrievalEvaluator(
        {passage.id: passage.title for passage in passages},
        {passage.id: passage.text[:200] for passage in passages},
        {passage.id: {passage.id} for passage in passages},
        write_csv=False,
    )
    first, second = [passage.title for passage in passages[:20]], [passage.text[:100] for passage in passages[:20]]
    closeness = evaluation.EmbeddingSimilarityEvaluator(first, second, np.linspace(0, 1, 20).tolist(), write_csv=False)
    for evaluator in (retrieval, closeness):
        ours, theirs = (evaluator(model) for model in both)
        assert ours == pytest.approx(theirs, abs=1e-3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # mteb's own
@pytest.mark.thorough
def test_mteb_measures_it_as_medembed_evaluate_does(tmp_path: Path) -> None:
    """In fp32: in bf16 two passages that are nearly as near change places with the batches that they came in."""
    mteb = pytest.importorskip("mteb")
    from medembed.evaluation import mteb_bridge
    from medembed.evaluation.models import Setup, model_ref
    from medembed.evaluation.mteb_tasks import folder_task

    (tmp_path / "task" / "qrels").mkdir(parents=True)
    passages = demo.passages()[:40]
    for name, texts in (("corpus", [p.text for p in passages]), ("queries", [p.title for p in passages])):
        rows = [json.dumps({"_id": f"{n}", "title": "", "text": text}) for n, text in enumerate(texts)]
        (tmp_path / "task" / f"{name}.jsonl").write_text("\n".join(rows))
    judged = "".join(f"{n}\t{n}\t1\n" for n in range(len(passages)))
    (tmp_path / "task" / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")

    def score(model: Any, name: str) -> float:
        task = folder_task("dropin", open_folder(tmp_path / "task"))
        options = {"co2_tracker": False, "show_progress_bar": False, "cache": mteb.ResultCache(tmp_path / name)}
        return float(mteb.evaluate(model, task, **options).task_results[0].get_score())

    with MedEmbed(precision="fp32", threads=1) as mini:
        own = score(mteb_bridge.MedEmbedEncoder(model_ref("mini", Setup()), Setup(), loaded=mini), "own")
        assert score(as_sentence_transformer(mini), "as") == pytest.approx(own, abs=1e-4)


def test_a_copy_for_another_process_embeds_alike(mini: MedEmbed) -> None:
    model = as_sentence_transformer(mini)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_allclose(again.encode(TEXTS), model.encode(TEXTS), atol=1e-3)
