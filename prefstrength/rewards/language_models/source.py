"""Sources whose model is a checkpoint of transformers: settings, texts and their guards."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

from prefstrength.rewards.engine.decoder import Sharing
from prefstrength.rewards.engine.guards import (
    check_bos,
    check_boundary,
    check_date,
    check_system,
    sample,
)
from prefstrength.rewards.engine.responses import Responses
from prefstrength.rewards.engine.source import Source
from prefstrength.rewards.language_models.checkpoint import Checkpoint
from prefstrength.rewards.language_models.encoding import date_is_held, is_dated, render
from prefstrength.rewards.model_reward import ModelReward


class CheckpointSource(Sharing, Source):
    """A checkpoint under the settings of a reward, whose name its sentences call."""

    #: What the checkpoint should be.
    what: ClassVar[str]
    #: Whether prompt and response become one text; a judge is asked about them instead.
    joins: ClassVar[bool] = True
    #: Whether only the tokens of the response count, so that it matters where they begin.
    counts_response: ClassVar[bool] = False

    def __init__(self, reward: ModelReward) -> None:
        self.reward, self.owner = reward, type(reward).__name__
        self.checkpoint = Checkpoint(reward, reward.name_or_path, reward.revision, self.what)
        self.name, self.device = self.checkpoint.name, self.checkpoint.device
        self.fingerprint = self.checkpoint.fingerprint
        self.max_length = self.checkpoint.max_length(reward.max_length)
        self.pad_token_id = self.checkpoint.pad_token_id

    @property
    def template_sha256(self) -> str | None:
        """Hash of the chat template, if there is one."""
        return self.checkpoint.template_sha256

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that can change a score by more than rounding."""
        return {
            "sanitize": self.reward.sanitize,
            "max_length": self.max_length,
            "dtype": self.reward.dtype,
        }

    @abstractmethod
    def in_chats(self, responses: Responses) -> bool:
        """Whether the chat template writes some of them; refuses a tokenizer that lacks it."""

    @abstractmethod
    def written(self, prompt: Any, response: Any) -> tuple[list[int], str | None]:
        """Token ids before what repeats was dropped, and how those of the prompt stand to them."""

    def check_openings(self, openings: Sequence[list[int]]) -> dict[str, Any]:
        """Look at the texts of a sample for what concerns this kind of model alone."""
        return {}

    def check_texts(self, responses: Responses) -> dict[str, Any]:
        """Look for what goes wrong between texts and tokens, before the model is loaded."""
        tokenizer, owner, name = self.checkpoint.tokenizer, self.owner, self.name
        found: dict[str, Any] = {}
        if self.in_chats(responses):
            held = date_is_held(tokenizer)
            found["date"] = check_date(is_dated(tokenizer), held=held, owner=owner, name=name)
            if self.joins:
                shown = partial(render, tokenizer)
                found["system_prompt"] = check_system(shown, responses, owner=owner, name=name)
        openings, kinds = [], []
        for i in sample(responses):
            try:
                ids, kind = self.written(responses.prompts[i], responses.texts[i])
            except Exception:  # the run names the row of what a template refuses
                continue
            openings.append(ids)
            kinds.append(kind)
        found["bos"] = check_bos(tokenizer, openings, owner=owner)
        if self.joins:
            found["boundary"] = check_boundary(kinds, owner=owner, all_matter=self.counts_response)
        return found | self.check_openings(openings)
