"""What every table of the configuration is: unknown keys are refused, values never change after loading."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[int, Field(ge=1)]
Days = Annotated[int, Field(ge=1, le=36_500)]


class Section(BaseModel):
    """A table of the configuration: unknown keys are refused, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
