"""MedEmbedNodeParser: passages of clinical notes behind LlamaIndex's NodeParser interface."""

from collections.abc import Sequence
from typing import Any

from llama_index.core.node_parser import NodeParser
from llama_index.core.node_parser.node_utils import build_nodes_from_splits
from llama_index.core.schema import BaseNode, Document, MetadataMode, TextNode
from pydantic import ConfigDict, Field, InstanceOf

from medembed import MedColBERT, MedEmbed, Splitting, split

# what a passage tells of its place; neither is embedded with the text
PLACE = ("section", "heading")


class MedEmbedNodeParser(NodeParser):
    """Cuts documents into the passages that ``medembed.split`` gives, with offsets and sections.

    ``start_char_idx`` and ``end_char_idx`` of a node are exact; its metadata have ``section`` and ``heading``, which are not
    embedded with it.

    Raises:
        pydantic.ValidationError: A field is unknown or of the wrong type.
        medembed.errors.SettingError: The tokens do not fit the model.

    Example:
        >>> parser = MedEmbedNodeParser(client=embed_model.client)  # doctest: +SKIP
        >>> parser.get_nodes_from_documents(notes)  # doctest: +SKIP
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    client: InstanceOf[MedEmbed] | InstanceOf[MedColBERT] = Field(
        exclude=True, repr=False, description="The model whose tokens count: MedEmbedEmbedding(...).client."
    )
    max_tokens: int | None = Field(
        default=None, description="Tokens of a passage at most; None for 256, or what the model reads if that is less."
    )
    overlap: int = Field(default=0, description="Tokens at most that a passage repeats of the one before.")

    def __init__(self, /, **data: Any) -> None:
        """Check the settings against the model."""
        super().__init__(**data)
        Splitting(self.max_tokens, self.overlap).limit(self.client)

    @classmethod
    def class_name(cls) -> str:
        """Name of this class in serialised pipelines."""
        return "MedEmbedNodeParser"

    def _parse_nodes(self, nodes: Sequence[BaseNode], show_progress: bool = False, **kwargs: Any) -> list[BaseNode]:
        del show_progress, kwargs
        return [passage for node in nodes for passage in self._passages(node)]

    def _passages(self, node: BaseNode) -> list[TextNode]:
        text = node.get_content(metadata_mode=MetadataMode.NONE)
        found = split(text, self.client, max_tokens=self.max_tokens, overlap=self.overlap)
        made: list[TextNode] = build_nodes_from_splits([passage.text for passage in found], node, id_func=self.id_func)
        for each, passage in zip(made, found, strict=True):
            each.start_char_idx, each.end_char_idx = passage.start, passage.end
            each.metadata = {**each.metadata, "section": passage.section, "heading": passage.heading}
            each.excluded_embed_metadata_keys = [*each.excluded_embed_metadata_keys, *PLACE]
        return made

    def _postprocess_parsed_nodes(self, nodes: list[BaseNode], parent_doc_map: dict[str, Document]) -> list[BaseNode]:
        """As the framework does it, but with the exact offsets: the framework looks the text up, and may find another place."""
        places = [(node.start_char_idx, node.end_char_idx) for node in nodes if isinstance(node, TextNode)]
        done = super()._postprocess_parsed_nodes(nodes, parent_doc_map)
        for node, (start, end) in zip(done, places, strict=True):
            if isinstance(node, TextNode):
                node.start_char_idx, node.end_char_idx = start, end
        return done
