"""A check for entries of mteb that run a model repository's code."""

import functools
import inspect
import re
import sys
from collections.abc import Iterator
from typing import Any

# mteb names the switch in an entry's settings, or in the class or function that loads its models
_SWITCH = "trust_remote_code"
_WORD = re.compile(r"\w+")


def runs_remote_code(meta: Any) -> bool:
    """Tell whether loading a model may run code that its repository brings. The model is loaded by its entry.

    Args:
        meta: A ``ModelMeta`` of mteb.

    Returns:
        True where the entry's settings or its loader name the switch, whatever they set it to: what cannot be told apart
        counts as switched on.
    """
    return any(_SWITCH in text for text in (repr(meta.loader_kwargs), *_sources(meta.loader, set())))


def _sources(loader: Any, seen: set[Any]) -> Iterator[str]:
    """Source text of a loader, and of whatever of mteb it names. Base classes are included."""
    while isinstance(loader, functools.partial):
        yield repr(loader.keywords)
        loader = loader.func
    module = getattr(loader, "__module__", None) or ""
    if loader in seen or not module.startswith("mteb."):
        return
    seen.add(loader)
    source = inspect.getsource(loader)
    yield source
    names = vars(sys.modules[module])
    for name in set(_WORD.findall(source)):
        named = names.get(name)
        if inspect.isclass(named) or inspect.isfunction(named):
            yield from _sources(named, seen)
