"""The key of a language model's server, read from the environment variable that the person names."""

import os

from medembed.errors import RecipeConfigError
from medembed.recipes.execution import Execution


def api_key(execution: Execution) -> str | None:
    """Read the key. None where the run names no variable, and then no key is sent.

    Raises:
        RecipeConfigError: The variable is not set, or holds what no header may hold. The message never shows its content.
    """
    name = execution.api_key_env
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        raise RecipeConfigError(
            f"execution.api_key_env={name}: this variable is not set or empty. Set it (export {name}=...), or leave "
            "execution.api_key_env out where the server needs no key"
        )
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise RecipeConfigError(f"execution.api_key_env={name}: its content is no key (blanks or special characters)")
    return key
