"""Answer medical questions from passages, with their sources: LangChain and MedEmbed.

    python rag.py "How is a kidney infection treated?"

Everything runs offline. The chat model is LangChain's own fake, which returns a fixed sentence: put yours in its place.
"""

import sys
from dataclasses import dataclass

from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.vectorstores import InMemoryVectorStore, VectorStoreRetriever

from langchain_medembed import MedEmbedEmbeddings
from medembed import demo

PROMPT = ChatPromptTemplate.from_messages(
    [
        ("system", "Answer from these passages only and cite them as [1], [2] ...\n\n{context}"),
        ("human", "{question}"),
    ]
)


@dataclass(frozen=True)
class Answer:
    """What the chat model said, and the passages it was given.

    Attributes:
        text: The answer.
        sources: The passages, best first; the first is cited as [1].
    """

    text: str
    sources: list[Document]


def index(passages: list[demo.Passage], embeddings: MedEmbedEmbeddings) -> VectorStoreRetriever:
    """Embed passages and make them searchable. Any vector store of LangChain's does."""
    documents = [
        Document(id=passage.id, page_content=passage.text, metadata={"title": passage.title, "source": passage.source})
        for passage in passages
    ]
    store = InMemoryVectorStore.from_documents(documents, embeddings)
    return store.as_retriever(search_kwargs={"k": 3})


def answer(question: str, retriever: VectorStoreRetriever, chat: BaseChatModel) -> Answer:
    """Find the passages, show them to the chat model, return both."""
    sources = retriever.invoke(question)
    context = "\n\n".join(f"[{n}] {found.page_content}" for n, found in enumerate(sources, 1))
    chain = PROMPT | chat | StrOutputParser()
    return Answer(chain.invoke({"context": context, "question": question}), sources)


def main() -> None:
    """Answer the question given on the command line, or the demonstration's own."""
    questions = sys.argv[1:] or [demo.QUESTIONS[0]]
    chat = FakeListChatModel(responses=["(Your chat model answers here, citing [1].)"])
    retriever = index(demo.passages(), MedEmbedEmbeddings(overlong="chunk"))
    for question in questions:
        found = answer(question, retriever, chat)
        print(f"{question}\n  {found.text}")
        for n, source in enumerate(found.sources, 1):
            print(f"  [{n}] {source.metadata['title']} ({source.metadata['source']}, {source.id})")


if __name__ == "__main__":
    main()
