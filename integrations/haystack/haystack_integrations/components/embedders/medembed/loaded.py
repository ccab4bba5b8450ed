"""Loaded: what the components share, a model that is loaded when it is first needed and the settings that make them again."""

import os
from collections.abc import Callable
from typing import Any, Generic, Protocol, Self, TypeVar

from haystack import default_from_dict, default_to_dict


class Closing(Protocol):
    """A model that holds threads and memory."""

    def close(self) -> None:
        """Give them back."""


Model = TypeVar("Model", bound=Closing)


class Loaded(Generic[Model]):
    """A component around one model.

    Args:
        load: Makes the model from its settings.
        settings: Of the model.
        own: The component's other arguments.
    """

    def __init__(self, load: Callable[..., Model], settings: dict[str, Any], **own: Any) -> None:
        """Keep the settings."""
        paths = {name: os.fspath(settings[name]) for name in ("model", "cache_dir") if settings[name] is not None}
        self._load, self._settings, self._own = load, {**settings, **paths}, own
        self._client: Model | None = None

    @property
    def client(self) -> Model:
        """The model itself, loaded when it is first asked for."""
        if self._client is None:
            self._client = self._load(**self._settings)
        return self._client

    def warm_up(self) -> None:
        """Load the model. Calling it again is free.

        Raises:
            medembed.errors.MedEmbedError: The model cannot be found or loaded, or a setting does not fit.
        """
        self.client  # noqa: B018 - loads it

    def close(self) -> None:
        """Give back the model's threads and memory. The next run loads it again."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def to_dict(self) -> dict[str, Any]:
        """The component in JSON's types, without the model."""
        return default_to_dict(self, **self._own, **self._settings)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The component that ``to_dict`` described.

        Args:
            data: What it gave.
        """
        made: Self = default_from_dict(cls, data)
        return made
