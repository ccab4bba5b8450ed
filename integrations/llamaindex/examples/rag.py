"""Answer medical questions from passages, with their sources: LlamaIndex and MedEmbed.

    python rag.py "How is a kidney infection treated?"

Everything runs offline. The language model is LlamaIndex's own mock, which repeats its prompt: put yours in its place.
"""

import sys

from llama_index.core import VectorStoreIndex
from llama_index.core.base.response.schema import RESPONSE_TYPE
from llama_index.core.llms import LLM, MockLLM
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.schema import TextNode

from llama_index.embeddings.medembed import MedEmbedEmbedding
from medembed import demo


def index(passages: list[demo.Passage], embed_model: MedEmbedEmbedding) -> VectorStoreIndex:
    """Embed passages and make them searchable. Any vector store of LlamaIndex's does.

    The texts alone are embedded; title and source stay metadata, which the language model sees and the reader is shown.
    """
    nodes = [
        TextNode(
            id_=passage.id,
            text=passage.text,
            metadata={"title": passage.title, "source": passage.source},
            excluded_embed_metadata_keys=["title", "source"],
        )
        for passage in passages
    ]
    return VectorStoreIndex(nodes, embed_model=embed_model)


def answer(question: str, passages: VectorStoreIndex, llm: LLM) -> RESPONSE_TYPE:
    """Find three passages, show them to the language model; the response holds both its text and the passages."""
    engine = passages.as_query_engine(llm=llm, similarity_top_k=3, response_mode=ResponseMode.COMPACT)
    return engine.query(question)


def main() -> None:
    """Answer the questions given on the command line, or one of the demonstration's own."""
    questions = sys.argv[1:] or [demo.QUESTIONS[0]]
    passages = index(demo.passages(), MedEmbedEmbedding(overlong="chunk"))
    for question in questions:
        found = answer(question, passages, MockLLM(max_tokens=20))
        print(f"{question}\n  (Your language model answers here. The mock says: {str(found)[:60]!r} ...)")
        for n, source in enumerate(found.source_nodes, 1):
            metadata = source.node.metadata
            print(f"  [{n}] {source.score:.2f} {metadata['title']} ({metadata['source']}, {source.node.node_id})")


if __name__ == "__main__":
    main()
