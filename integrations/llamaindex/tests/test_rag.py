"""The example of the guide, run offline with LlamaIndex's own mock of a language model."""

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.llms import MockLLM

from llama_index.embeddings.medembed import MedEmbedEmbedding
from medembed import demo

PACKAGE = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def rag() -> dict[str, Any]:
    return runpy.run_path(str(PACKAGE / "examples" / "rag.py"))


def test_the_answer_comes_with_its_sources_and_the_language_model_saw_them(
    rag: dict[str, Any], embed_model: MedEmbedEmbedding
) -> None:
    few = [passage for passage in demo.passages() if "kidney" in passage.title.lower()]
    found = rag["answer"](demo.QUESTIONS[0], rag["index"](few, embed_model), MockLLM())
    assert len(found.source_nodes) == 3
    assert "kidney infection" in found.source_nodes[0].node.metadata["title"].lower()
    # the mock repeats its prompt
    assert demo.QUESTIONS[0] in found.response
    for source in found.source_nodes:
        assert source.node.get_content() in found.response
        assert source.node.metadata["title"] in found.response


def test_the_script_prints_question_and_sources(
    rag: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["rag.py", "dizzy when standing up"])
    rag["main"]()
    printed = capsys.readouterr().out
    assert printed.startswith("dizzy when standing up\n")
    assert "[3] " in printed
    assert "medquad:" in printed


def test_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    readme = (PACKAGE / "README.md").read_text(encoding="utf-8")
    exec(readme.partition("```python\n")[2].partition("```")[0], {})
    assert "medquad:NIDDK" in capsys.readouterr().out
