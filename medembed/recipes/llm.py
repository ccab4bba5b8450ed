"""The settings of the language model that writes pairs: what it is asked for, and how its server wants to be asked."""

from typing import Annotated, Literal

from pydantic import Field, PrivateAttr, model_validator

from medembed.recipes.section import Ratio, Section

GIVEN = "given"  # the type of a query that a source of pairs brought
QueryType = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9_-]*$")]


class Llm(Section):
    """The language model that writes pairs, how it is asked, and the dialect of its server.

    Attributes:
        model: Its name, as the server or vLLM knows it.
        revision: Commit of a hub model.
        prompt: Name of the prompt: ``NAME.txt`` beside the recipe, else one of medembed's own.
        pairs_per_note: Pairs asked for in one request.
        query_types: Kinds of queries that are asked for, each with an explanation for the model.
        temperature: Left out of requests where it is None; some models refuse it.
        top_p: As ``temperature``.
        max_tokens: Tokens of a reply, those of thinking included.
        limit_name: The name that the server has for ``max_tokens``.
        seed_name: The name that the server has for the seed, or ``"none"`` to send none.
        response_format: How the form of a reply is asked for: by a JSON schema, by one beside the type ``json_object``, as any JSON
            object, or by the prompt alone.
        schema_bounds: Whether the schema bounds lengths and numbers; they are checked here in any case.
        passage: ``"sentence"`` puts the note's own sentences into the schema, so that nothing else can be named.
        max_query_chars: Longer queries are refused.
        max_passage_chars: Longer passages are refused.
    """

    model: str = "meta-llama/Llama-3.1-70B-Instruct"
    revision: str | None = None
    prompt: Annotated[str, Field(pattern="^[a-z0-9][a-z0-9._-]*$")] = "plain-v1"  # a name: a path would read any file
    pairs_per_note: Annotated[int, Field(ge=1, le=100)] = 6
    query_types: Annotated[dict[QueryType, str], Field(min_length=1)] = {
        "keyword": "two to six words",
        "question": "a natural question",
        "claim": "a statement the passage supports",
    }
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] | None = None
    top_p: Ratio | None = None
    max_tokens: Annotated[int, Field(ge=1, le=131_072)] = 2048
    limit_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    seed_name: Literal["seed", "random_seed", "none"] = "seed"
    response_format: Literal["json_schema", "json_object_schema", "json_object", "none"] = "json_schema"
    schema_bounds: bool = True
    passage: Literal["span", "sentence"] = "span"
    max_query_chars: Annotated[int, Field(ge=1, le=10_000)] = 300
    max_passage_chars: Annotated[int, Field(ge=1, le=100_000)] = 1500
    # the text of a prompt of the recipe's own: it travels to workers that have no such file
    _own_prompt: str | None = PrivateAttr(None)

    @property
    def own_prompt(self) -> str | None:
        """The text of the prompt, where the recipe brings it; else None."""
        return self._own_prompt

    def with_prompt(self, text: str) -> "Llm":
        """These settings with the text of a prompt that the recipe brings."""
        copy = self.model_copy()
        copy._own_prompt = text
        return copy

    @model_validator(mode="after")
    def _types_are_their_own(self) -> "Llm":
        if GIVEN in self.query_types:
            raise ValueError(f"query_types: '{GIVEN}' means that a pair was there already; choose another name")
        return self

    @model_validator(mode="after")
    def _sentences_need_a_schema(self) -> "Llm":
        if self.passage == "sentence" and self.response_format not in ("json_schema", "json_object_schema"):
            raise ValueError(
                "passage = 'sentence' is held by the JSON schema: say response_format = 'json_schema', or 'json_object_schema'"
            )
        return self
