"""The example of the guide, run offline with LangChain's own fake chat model."""

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import BaseMessage
from pydantic import Field

from langchain_medembed import MedEmbedEmbeddings
from medembed import demo

EXAMPLE = Path(__file__).parents[2] / "examples" / "rag.py"


class Listening(FakeListChatModel):
    """LangChain's fake, which also keeps what it was told."""

    heard: list[BaseMessage] = Field(default_factory=list)

    def _call(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> str:
        self.heard.extend(messages)
        return super()._call(messages, *args, **kwargs)


@pytest.fixture(scope="module")
def rag() -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLE))


def test_the_answer_comes_with_its_sources_and_the_chat_model_saw_them(
    rag: dict[str, Any], embeddings: MedEmbedEmbeddings
) -> None:
    few = [passage for passage in demo.passages() if "kidney" in passage.title.lower()]
    retriever, chat = rag["index"](few, embeddings), Listening(responses=["Antibiotics [1]."])
    found = rag["answer"](demo.QUESTIONS[0], retriever, chat)
    assert found.text == "Antibiotics [1]."
    assert len(found.sources) == 3
    assert "kidney infection" in found.sources[0].metadata["title"].lower()
    system, human = chat.heard
    assert human.content == demo.QUESTIONS[0]
    for n, source in enumerate(found.sources, 1):
        assert f"[{n}] {source.page_content}" in str(system.content)


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
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    exec(readme.partition("```python\n")[2].partition("```")[0], {})
    assert "medquad:NIDDK" in capsys.readouterr().out
