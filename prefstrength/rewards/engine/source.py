"""What the engine needs of a reward model: the interface of its sources."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np


class Source(Protocol):
    """A model as the run sees it; what it is and how it reads a text are its own business."""

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that can change a score by more than rounding; JSON types only."""
        ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the numbers that come out for every response."""
        ...

    @property
    def pad_token_id(self) -> int | None:
        """Token that fills a batch."""
        ...

    @property
    def max_length(self) -> int | None:
        """Tokens an item may have; :meth:`encode` has cut what was longer."""
        ...

    @property
    def device(self) -> Any:
        """Where the model lies."""
        ...

    def encode(self, prompt: Any, response: Any) -> dict[str, Any]:
        """``input_ids``, ``token_type_ids`` where taken, and ``tokens`` before the cut."""
        ...

    def encode_all(self, prompts: Sequence[Any], responses: Sequence[Any]) -> list[dict[str, Any]]:
        """:meth:`encode` for many at once."""
        ...

    def load(self) -> Any:
        """Load the model: long work, and only called when something is to be scored."""
        ...

    def forward(self, model: Any, items: Sequence[dict[str, Any]]) -> np.ndarray:
        """Numbers of the items in float64, shape (item, output)."""
        ...


@runtime_checkable
class SharingSource(Source, Protocol):
    """A model that can compute the common beginning of several texts once."""

    def shares(self, model: Any) -> bool:
        """Whether the loaded model is of a kind for which that gives the same scores."""
        ...

    def packs(self, model: Any) -> bool:
        """Whether its batches have no padding."""
        ...

    def forward_shared(
        self, model: Any, rows: Sequence[tuple[int, Sequence[dict[str, Any]]]]
    ) -> np.ndarray:
        """Numbers of the items of all rows, (tokens in common, items), shape (item, output)."""
        ...
