"""What a reward and the engine need of a model: the interface of its sources."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from prefstrength.rewards.engine.responses import Responses


class Source(Protocol):
    """A model without its weights; what it is and how it reads a text are its own business."""

    #: Names of the numbers that come out for every response.
    outputs: tuple[str, ...]
    #: Token that fills a batch.
    pad_token_id: int | None
    #: Tokens an item may have; :meth:`encode` has cut what was longer.
    max_length: int | None
    #: Where the model lies.
    device: Any
    #: The same for the same weights.
    fingerprint: str
    #: Parts that had to be taken out of training mode, and weights in the files that the model does
    #: not use; None until it is loaded.
    set_back: list[str] | None = None
    unused: list[str] | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that can change a score by more than rounding; JSON types only."""
        ...

    @property
    def template_sha256(self) -> str | None:
        """Hash of the chat template, if there is one."""
        ...

    @abstractmethod
    def check_texts(self, responses: Responses) -> dict[str, Any]:
        """Look for what goes wrong between texts and tokens, before the model is loaded."""

    @abstractmethod
    def encode(self, prompt: Any, response: Any) -> dict[str, Any]:
        """``input_ids``, ``token_type_ids`` where taken, and ``tokens`` before the cut."""

    def encode_all(self, prompts: Sequence[Any], responses: Sequence[Any]) -> list[dict[str, Any]]:
        """:meth:`encode` for many at once."""
        return list(map(self.encode, prompts, responses))

    @abstractmethod
    def load(self) -> Any:
        """Load the model: long work, and only called when something is to be scored."""

    @abstractmethod
    def forward(self, model: Any, items: Sequence[dict[str, Any]]) -> np.ndarray:
        """Numbers of the items in float64, shape (item, output)."""
