"""MedColBERT as its users meet it: shapes, limits, ranking, life and death, and what it refuses."""

import inspect
import json
import multiprocessing
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from medembed import FakeEngine, MedColBERT, MedEmbed, TruncationWarning
from medembed.errors import (
    BadWeightsError,
    ClosedModelError,
    CorruptFileError,
    InputTypeError,
    MedEmbedError,
    OverlongTextError,
    SettingError,
    UnsafeWeightsError,
    UnsupportedModelError,
)
from tests.colbert import folders

LONG = "pain " * 100


def test_one_text_gives_an_array_and_a_list_a_list(colbert: MedColBERT) -> None:
    one, several = colbert.encode_query("chest pain"), colbert.encode_query(["chest pain", "gout"])
    assert isinstance(one, np.ndarray)
    assert one.shape == (16, folders.WIDTH)
    np.testing.assert_allclose(several[0], one, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1, atol=1e-5)
    assert colbert.encode_document([]) == []


def test_many_texts_keep_their_order(colbert: MedColBERT) -> None:
    texts = [f"patient {i} has {'pain ' * (i % 13)}" for i in range(300)]
    together = colbert.encode_document(texts)
    for index in (0, 7, 150, 299):
        np.testing.assert_allclose(together[index], colbert.encode_document(texts[index]), atol=1e-5)


def test_punctuation_gives_documents_no_vectors_but_queries_theirs(colbert: MedColBERT) -> None:
    assert len(colbert.encode_document("pain, pain.")) == len(colbert.encode_document("pain pain")) == 5
    with MedColBERT(colbert._settings["model"], query_length=8, engine=FakeEngine(folders.HIDDEN)) as model:
        assert len(model.encode_query("pain, pain.")) == 8


def test_reranking_puts_the_best_first(colbert: MedColBERT) -> None:
    documents = ["gout of the toe", "a broken wrist", "kidney stone", "gout of the toe"]
    ranked = colbert.rerank("gout of the toe", documents, k=3)
    scores = colbert.similarity(colbert.encode_query(["gout of the toe"]), colbert.encode_document(documents))[0]
    # the same text twice: their sums may differ in the last bit, by where in a batch they stood
    assert {item.index for item in ranked[:2]} == {0, 3}
    assert [item.score for item in ranked] == sorted((item.score for item in ranked), reverse=True)
    assert ranked[0].score == pytest.approx(scores.max(), abs=1e-5)
    assert len(colbert.rerank("gout", documents)) == 4
    assert colbert.rerank("gout", []) == []


def test_pooling_keeps_a_share_of_the_tokens(colbert: MedColBERT) -> None:
    text = "acute kidney injury after contrast with fever and chills in an old man"
    whole, halved = colbert.encode_document(text), colbert.encode_document([text], pool_factor=2)[0]
    assert len(halved) == 1 + (len(whole) - 1) // 2
    np.testing.assert_allclose(halved[0], whole[0], atol=1e-6)


# ------------------------------------------------------------------------------------------- limits


def test_long_documents_are_cut_with_a_warning_that_counts(colbert: MedColBERT) -> None:
    before = colbert.truncated
    with pytest.warns(
        TruncationWarning, match=r"1 text was cut to 40 tokens, leaving out 63 .* overlong='chunk'"
    ) as told:
        colbert.encode_document([LONG, "pain"])
    assert told[0].filename == __file__
    assert (colbert.truncated.texts - before.texts, colbert.truncated.tokens - before.tokens) == (1, 63)


def test_long_queries_are_cut_with_a_warning_that_says_what_helps(colbert: MedColBERT) -> None:
    with pytest.warns(TruncationWarning, match=r"cut to 16 tokens.*raise query_length"):
        assert len(colbert.encode_query(LONG)) == 16


@pytest.mark.parametrize("overlong", ["error", "chunk"])
def test_queries_over_the_limit_are_refused_when_they_may_not_be_cut(colbert_folder: Path, overlong: str) -> None:
    with (
        MedColBERT(colbert_folder, overlong=overlong, engine=FakeEngine(folders.HIDDEN)) as model,  # type: ignore[arg-type]
        pytest.raises(OverlongTextError, match="text 1 has 103 tokens, but the model reads 16"),
    ):
        model.encode_query(["pain", LONG])


def test_chunked_documents_keep_the_tokens_of_every_window(colbert_folder: Path) -> None:
    with MedColBERT(colbert_folder, overlong="chunk", engine=FakeEngine(folders.HIDDEN)) as model:
        words = ["pain", "fever", "gout", "rash", "stroke", "asthma", "sepsis", "cough"]
        rows = model.encode_document([" ".join(words * 8), "pain"])
        assert len(rows[0]) > 64
        scores = model.similarity([model.encode_query("cough")[:3]], rows)
        assert scores[0, 0] > scores[0, 1]
    with (
        MedColBERT(colbert_folder, overlong="error", engine=FakeEngine(folders.HIDDEN)) as model,
        pytest.raises(OverlongTextError, match="text 0 has 103 tokens, but the model reads 40"),
    ):
        model.encode_document([LONG])


def test_lengths_can_be_set_up_to_what_the_model_reaches(colbert_folder: Path) -> None:
    with MedColBERT(colbert_folder, query_length=24, document_length=64, engine=FakeEngine(folders.HIDDEN)) as model:
        assert (model.query_length, model.document_length) == (24, 64)
        assert len(model.encode_query("pain")) == 24
    with pytest.raises(SettingError, match="document_length=65: this model takes a whole number from 3 to 64"):
        MedColBERT(colbert_folder, document_length=65)
    with pytest.raises(SettingError, match="query_length=2: "):
        MedColBERT(colbert_folder, query_length=2)


def test_tokens_are_counted_before_anything_is_cut(colbert: MedColBERT) -> None:
    assert colbert.count_tokens(["pain", LONG]) == [4, 103]
    assert colbert.count_tokens(["pain"], role="query") == [4]
    with pytest.raises(SettingError, match="role='passage': choose one of query, document"):
        colbert.count_tokens(["pain"], role="passage")  # type: ignore[arg-type]


def test_a_first_stage_keeps_its_share_of_the_score(colbert: MedColBERT) -> None:
    documents = ["gout of the toe", "a broken wrist", "kidney stone"]
    alone = {item.index: item.score for item in colbert.rerank("gout of the toe", documents)}
    late = np.array([alone[index] for index in range(3)])
    late = (late - late.min()) / (late.max() - late.min())
    both = colbert.rerank("gout of the toe", documents, first_scores=[2.0, 6.0, 3.0], share=0.4)
    expected = 0.6 * late + 0.4 * np.array([0.0, 1.0, 0.25])
    assert [item.index for item in both] == list(np.argsort(-expected))
    np.testing.assert_allclose([item.score for item in both], sorted(expected, reverse=True), atol=1e-5)
    assert colbert.rerank("gout", [], first_scores=[]) == []


# ------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: model.encode_document([None]), "text 0 is a NoneType, not a str"),
        (lambda model: model.encode_query(b"pain"), "texts must be a str or a sequence of str, not bytes"),
        (lambda model: model.rerank(["pain"], ["gout"]), "rerank() takes one query, a str, not list"),
        (lambda model: model.rerank("pain", "gout", 0), "k=0: give a whole number from 1"),
        (lambda model: model.rerank("pain", ["gout", 3]), "text 1 is a int, not a str"),
        (lambda model: model.rerank("pain", ["gout"], share=0.3), "share=0.3: a share of what?"),
        (lambda model: model.rerank("pain", ["gout"], first_scores=[1.0], share=1.5), "share=1.5: give a share"),
        (lambda model: model.rerank("pain", ["gout"], first_scores=[1.0, 2.0]), "one finite number for each of 1 doc"),
        (
            lambda model: model.rerank("pain", ["gout"], first_scores=[float("nan")]),
            "have shape (1,), 0 of them finite",
        ),
        (lambda model: model.rerank("pain", ["gout"], first_scores=["high"]), "some of these are no numbers"),
        (lambda model: model.encode_document("pain", pool_factor=0.5), "pool_factor=0.5: give 1"),
    ],
    ids=["none", "bytes", "many queries", "k", "number", "share alone", "share", "scores", "nan", "words", "pooling"],
)
def test_bad_calls_say_what_is_wrong(colbert: MedColBERT, call: object, message: str) -> None:
    with pytest.raises((InputTypeError, SettingError), match=re.escape(message)):
        call(colbert)  # type: ignore[operator]


def test_a_document_without_tokens_is_named(tmp_path: Path) -> None:
    everything = ["[CLS]", "[SEP]", "pain", "passage", ":"]
    folder = folders.sentence_transformers(tmp_path / "m", mask={"skiplist_words": everything})
    with (
        MedColBERT(folder, engine=FakeEngine(folders.HIDDEN)) as model,
        pytest.raises(InputTypeError, match="document 1 has no tokens left: the model's skip list leaves out all"),
    ):
        model.encode_document(["gout", "pain"])


def test_a_word_that_is_no_token_skips_nothing(tmp_path: Path) -> None:
    folder = folders.sentence_transformers(tmp_path / "m", mask={"skiplist_words": ["no such word"]})
    with MedColBERT(folder, engine=FakeEngine(folders.HIDDEN)) as model:
        assert len(model.encode_document("ᛞ ᛟ")) == 6  # two unknown words, and "passage:" and the special tokens


def test_dense_and_late_models_send_each_other_to_the_right_class(tiny_folder: Path, colbert_folder: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"is a dense model, with a vector a text: load it with MedEmbed"):
        MedColBERT(tiny_folder)
    with pytest.raises(UnsupportedModelError, match=r"is a late-interaction model.*load it with MedColBERT"):
        MedEmbed(colbert_folder)


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_broken_folders_say_what_is_broken(tmp_path: Path) -> None:
    stanford = folders.stanford(tmp_path / "stanford", query_maxlen="long")
    with pytest.raises(CorruptFileError, match=r'artifact.metadata says query_maxlen = "long"'):
        MedColBERT(stanford)
    activated = folders.pylate(tmp_path / "activated")
    _edit(activated / "1_Dense" / "config.json", activation_function="torch.nn.modules.activation.Tanh")
    with pytest.raises(UnsupportedModelError, match=r"asks for torch\.nn.modules.activation.Tanh after its projection"):
        MedColBERT(activated)
    pickled = folders.pylate(tmp_path / "pickled")
    (pickled / "1_Dense" / "model.safetensors").rename(pickled / "1_Dense" / "pytorch_model.bin")
    with pytest.raises(UnsafeWeightsError, match="only as a pickle"):
        MedColBERT(pickled)
    narrow = folders.sentence_transformers(tmp_path / "narrow")
    _edit(narrow / "config.json", hidden_size=128)
    with pytest.raises(BadWeightsError, match=r"a projection has shape \(32, 64\), but is given vectors of 128"):
        MedColBERT(narrow)
    images = folders.sentence_transformers(tmp_path / "images", mask={"keep_only_token_ids": [7]})
    with pytest.raises(UnsupportedModelError, match="keeps only some tokens of documents"):
        MedColBERT(images)
    strange = folders.sentence_transformers(tmp_path / "strange", transformer={"query_expansion": {"strategy": "max"}})
    with pytest.raises(CorruptFileError, match="a strategy 'fixed' or 'min' was expected"):
        MedColBERT(strange)
    unknown = {"query_expansion": {"strategy": "fixed", "length": 9, "token": "[NIX]"}}
    with pytest.raises(
        UnsupportedModelError, match=r"fills up its queries with '\[NIX\]', which its tokenizer does not know"
    ):
        MedColBERT(folders.sentence_transformers(tmp_path / "filled", transformer=unknown))


# ------------------------------------------------------------------------------------------- life


def test_settings_travel_and_weights_do_not(colbert: MedColBERT) -> None:
    copy = pickle.loads(pickle.dumps(colbert))
    np.testing.assert_allclose(copy.encode_query("gout"), colbert.encode_query("gout"), atol=1e-6)
    copy.close()
    copy.close()
    assert repr(copy).endswith("closed)")
    with pytest.raises(ClosedModelError, match="was closed: make a new MedColBERT"):
        copy.encode_query("gout")


def _in_child(model: MedColBERT, queue: object) -> None:
    queue.put(model.encode_query("gout"))  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_starts_its_own(colbert: MedColBERT) -> None:
    fork = multiprocessing.get_context("fork")
    queue = fork.Queue()
    child = fork.Process(target=_in_child, args=(colbert, queue))
    child.start()
    np.testing.assert_allclose(queue.get(timeout=60), colbert.encode_query("gout"), atol=1e-5)
    child.join()


def test_it_tells_what_it_is(colbert: MedColBERT) -> None:
    assert re.fullmatch(
        r"MedColBERT\('.*', dimension=32, query_length=16, document_length=40, device='cpu', precision='fp32', engine='openvino'\)",
        repr(colbert),
    )
    assert colbert.revision.startswith("sha256-")


def test_the_projection_is_part_of_the_revision(tmp_path: Path) -> None:
    engine = FakeEngine(folders.HIDDEN)
    first = folders.sentence_transformers(tmp_path / "a")
    second = folders.sentence_transformers(tmp_path / "b", bias=True)
    assert MedColBERT(first, engine=engine).revision != MedColBERT(second, engine=engine).revision


def test_every_public_method_is_documented() -> None:
    for name, member in inspect.getmembers(MedColBERT):
        assert name.startswith("_") or inspect.getdoc(member), name


def test_warming_up_encodes(colbert: MedColBERT) -> None:
    colbert.warm_up()


def test_no_setting_of_the_tree_escapes() -> None:
    with pytest.raises(MedEmbedError, match="no model 'nowhere'"):
        MedColBERT("nowhere")
