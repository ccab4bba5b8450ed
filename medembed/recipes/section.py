"""What all sections of a recipe have in common: what is refused, and the numbers that settings are made of."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Ratio = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
UNSET: dict[str, Any] = {"exclude_if": lambda later: not later.model_dump(exclude_none=True)}


class Section(BaseModel):
    """A part of a recipe: unknown keys are refused, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)
