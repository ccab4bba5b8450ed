"""Advice for a person when a language model's server takes no request."""

from medembed.recipes.execution import Execution
from medembed.recipes.llm import Llm
from medembed.recipes.writers.chat import Busy, Fault, Outcome, Refused

_FORM = "Say pairs.llm.response_format=json_object_schema, or json_object or none where that is refused too"
# a parameter that a server names → the setting that speaks its dialect; the first that fits
_DIALECTS = (
    ("max_completion_tokens", "Say pairs.llm.limit_name=max_completion_tokens"),
    ("max_tokens", "Say pairs.llm.limit_name=max_completion_tokens, or a smaller pairs.llm.max_tokens"),
    ("temperature", "Leave pairs.llm.temperature out"),
    ("top_p", "Leave pairs.llm.top_p out"),
    ("seed", "Say pairs.llm.seed_name=none"),
    ("Length", "Say pairs.llm.schema_bounds=false"),
    ("Items", "Say pairs.llm.schema_bounds=false"),
    ("imum", "Say pairs.llm.schema_bounds=false"),
    ("json_schema", _FORM),
    ("response_format", _FORM),
)


def what_to_do(outcome: Outcome, execution: Execution, settings: Llm) -> str:
    """Name the next step.

    Args:
        outcome: What became of a request that holds nobody's text.
        execution: Where it was sent.
        settings: Which model was asked, and in which dialect.
    """
    if isinstance(outcome, Refused):
        return _after_refusal(outcome, execution, settings)
    if isinstance(outcome, Busy) and outcome.reached:
        return "Wait, or ask for less at once (execution.concurrency)"
    if isinstance(outcome, Busy):
        return "Start the server, or correct execution.endpoint"
    unspoken = isinstance(outcome, Fault) and _of_dialect(outcome.said, settings)
    return unspoken or "Look into the server's log, or correct execution.endpoint"


def _after_refusal(outcome: Refused, execution: Execution, settings: Llm) -> str:
    if 300 <= outcome.status < 400:
        return "It redirects, and notes go only to the address that you name. Name the other one if you trust it: execution.endpoint=URL"
    if outcome.status in (401, 403):
        unnamed = "It wants a key: put it in an environment variable and name that, execution.api_key_env=NAME"
        return unnamed if execution.api_key_env is None else f"It refuses the key in {execution.api_key_env}"
    if outcome.status == 404:
        return f"It has no model '{settings.model}' (pairs.llm.model), or no chat completions at this address (execution.endpoint)"
    if outcome.status in (402, 429):
        return "What the account may use is used up"
    return _of_dialect(outcome.said, settings) or "See the settings of pairs.llm for other dialects"


def _of_dialect(said: str, settings: Llm) -> str | None:
    """The step for a parameter that a message names."""
    if settings.response_format == "json_object" and "response_format" in said:
        return "Say pairs.llm.response_format=none"
    return next((step for name, step in _DIALECTS if name in said), None)
