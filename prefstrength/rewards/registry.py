"""Reward models that people use: the settings that their makers give, and where they say so.

Facts were read from model cards, files and code, not from the weights; what was not found is None
and said to be unknown rather than guessed. Look at the card, too: models change.
"""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from prefstrength._shared.words import listed, nearest
from prefstrength.errors import InputError


@dataclass(frozen=True)
class RegisteredReward:
    """What is known about one reward model.

    Attributes
    ----------
    name : str
        Name on the Hugging Face hub.
    base : str or None
        Model that it was made from.
    settings : dict
        Arguments of :class:`HFReward`, as the makers' own recipe has them.
    licence : str or None
        As the hub names it; None where it was not found.
    bos : str
        How the makers' recipe begins a text.
    max_length : int or None
        Positions that its config allows; None where it was not found. The model's own config is
        what scoring goes by.
    heads : tuple of str
        What its outputs are.
    remote_code : bool
        Whether it brings code of its own, which runs with ``trust_remote_code=True`` alone.
    loads : bool or None
        Whether transformers 5 can load it; None where that could not be found out.
    note : str
        Why it does not load, or what differs here from the makers' recipe.
    sources : tuple of str
        Where each of these was read.
    """

    name: str
    base: str | None
    settings: dict[str, Any]
    sources: tuple[str, ...]
    licence: str | None = None
    bos: str = "one"
    max_length: int | None = None
    heads: tuple[str, ...] = ("reward",)
    remote_code: bool = False
    loads: bool | None = True
    note: str = ""


_SKYWORK = "https://huggingface.co/Skywork/Skywork-Reward-V2-Qwen3-4B (the card of the series)"
_SKYWORK_RECIPE = "one; the recipe on the card takes out a second"
_CODE_OF_4 = (
    "Its own code imports LLAMA_INPUTS_DOCSTRING from transformers, which version 5 no longer has."
)
_HELPSTEER = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")


def _skywork(name: str, base: str, licence: str | None) -> RegisteredReward:
    return RegisteredReward(
        name=f"Skywork/Skywork-Reward-V2-{name}",
        base=base,
        settings={"template": "chat", "dtype": "bfloat16"},
        licence=licence,
        bos=_SKYWORK_RECIPE,
        sources=(_SKYWORK, "https://arxiv.org/abs/2507.01352"),
    )


def _gated(
    name: str, base: str, *, loads: bool | None, note: str, sources: tuple[str, ...]
) -> RegisteredReward:
    return RegisteredReward(
        name=name,
        base=base,
        settings={"template": "chat", "dtype": "bfloat16", "head": 0},
        licence="llama3",
        heads=("reward, gated from several objectives",),
        remote_code=True,
        loads=loads,
        note=note,
        sources=(f"https://huggingface.co/{name} (model card)", *sources),
    )


def _urm(name: str, base: str) -> RegisteredReward:
    return RegisteredReward(
        name=name,
        base=base,
        settings={"template": "chat", "head": 0},
        heads=(f"reward, combined from {', '.join(_HELPSTEER)}",),
        remote_code=True,
        loads=None,
        bos="two where the tokenizer adds one to the template's",
        note=(
            "The recipe on the card tokenises the template's text in the ordinary way, which may "
            "begin it with a second BOS; here there is one."
        ),
        sources=(f"https://huggingface.co/{name} (model card)",),
    )


_ENTRIES = (
    # Licences of the Qwen3 models of 4B and 8B stand on cards that were read; the others' were not.
    _skywork("Qwen3-0.6B", "Qwen/Qwen3-0.6B", None),
    _skywork("Qwen3-1.7B", "Qwen/Qwen3-1.7B", None),
    _skywork("Qwen3-4B", "Qwen/Qwen3-4B", "apache-2.0"),
    _skywork("Qwen3-8B", "Qwen/Qwen3-8B", "apache-2.0"),
    _skywork("Llama-3.2-1B", "meta-llama/Llama-3.2-1B-Instruct", None),
    _skywork("Llama-3.2-3B", "meta-llama/Llama-3.2-3B-Instruct", None),
    _skywork("Llama-3.1-8B", "meta-llama/Llama-3.1-8B-Instruct", None),
    _skywork("Llama-3.1-8B-40M", "meta-llama/Llama-3.1-8B-Instruct", None),
    _gated(
        "RLHFlow/ArmoRM-Llama3-8B-v0.1",
        "sfairXC/FsfairX-LLaMA3-RM-v0.1",
        loads=False,
        note=_CODE_OF_4,
        sources=(
            "https://huggingface.co/RLHFlow/ArmoRM-Llama3-8B-v0.1 (modeling_custom.py)",
            "https://arxiv.org/abs/2406.12845",
        ),
    ),
    _gated(
        "nicolinho/QRM-Llama3.1-8B",
        "Skywork/Skywork-Reward-Llama-3.1-8B",
        loads=False,
        note=_CODE_OF_4,
        sources=(
            "https://github.com/allenai/reward-bench (rewardbench/models/qrm.py)",
            "https://arxiv.org/abs/2409.10164",
        ),
    ),
    _gated(
        "nicolinho/QRM-Llama3.1-8B-v2",
        "Skywork/Skywork-Reward-Llama-3.1-8B-v0.2",
        loads=None,
        note="The code of the first version does not load in transformers 5.",
        sources=("https://arxiv.org/abs/2409.10164",),
    ),
    _urm("LxzGordon/URM-LLaMa-3-8B", "sfairXC/FsfairX-LLaMA3-RM-v0.1"),
    _urm("LxzGordon/URM-LLaMa-3.1-8B", "Skywork/Skywork-Reward-Llama-3.1-8B"),
    RegisteredReward(
        name="Ray2333/GRM-Gemma2-2B-rewardmodel-ft",
        base="Ray2333/GRM-Gemma2-2B-sftreg",
        settings={"template": "chat", "dtype": "float16"},
        licence="apache-2.0",
        bos="two where the tokenizer adds one to the template's",
        note=(
            "The recipe on the card tokenises the template's text in the ordinary way, which may "
            "begin it with a second BOS; here there is one."
        ),
        sources=(
            "https://huggingface.co/Ray2333/GRM-Gemma2-2B-rewardmodel-ft (model card)",
            "https://arxiv.org/abs/2406.10216",
        ),
    ),
    RegisteredReward(
        name="Ray2333/GRM-llama3-8B-distill",
        base="Ray2333/GRM-llama3-8B-sftreg",
        settings={"template": "chat", "dtype": "float16"},
        sources=(
            "https://huggingface.co/Ray2333/GRM-llama3-8B-distill (model card)",
            "https://arxiv.org/abs/2406.10216",
        ),
    ),
    RegisteredReward(
        name="Skywork/Skywork-Reward-Llama-3.1-8B",
        base="meta-llama/Llama-3.1-8B-Instruct",
        settings={"template": "chat", "dtype": "bfloat16"},
        licence="Skywork Community License",
        max_length=131072,
        sources=("https://huggingface.co/Skywork/Skywork-Reward-Llama-3.1-8B (config, licence)",),
    ),
)

#: Entries by their name on the hub.
REGISTRY = {entry.name: entry for entry in _ENTRIES}


def registered_rewards() -> pd.DataFrame:
    """List the reward models whose settings are known.

    Returns
    -------
    DataFrame
        One row a model: ``name``, ``base``, ``template``, ``dtype``, ``max_length``, ``bos``,
        ``heads``, ``licence``, ``remote_code``, ``loads`` (with transformers 5; missing where
        unknown), ``note`` and ``sources``.

    Examples
    --------
    >>> table = registered_rewards()
    >>> table.loc[table["loads"] == True, "name"].iloc[0]
    'Skywork/Skywork-Reward-V2-Qwen3-0.6B'
    """
    table = pd.DataFrame([vars(entry) | entry.settings for entry in _ENTRIES])
    for name, between in (("heads", ", "), ("sources", "; ")):
        table[name] = table[name].map(between.join)
    return table[
        ["name", "base", "template", "dtype", "max_length", "bos", "heads", "licence"]
        + ["remote_code", "loads", "note", "sources"]
    ]


def settings_of(name: str, *, trust_remote_code: bool) -> dict[str, Any]:
    """Return the arguments of :class:`HFReward` for a registered model.

    Raises
    ------
    InputError
        If it is not registered, cannot be loaded, or needs its own code and that is not trusted.
    """
    entry = REGISTRY.get(name)
    if entry is None:
        near = nearest(name, REGISTRY)
        meant = f" Did you mean {near!r}?" if near else ""
        raise InputError(
            f"The registry expects one of {listed(REGISTRY, most=4)}; got {name!r}.{meant} For "
            "another model say the settings yourself: `HFReward(name, template=..., dtype=...)`."
        )
    if entry.loads is False:
        raise InputError(
            f"HFReward expects a model that transformers 5 can load; got {name!r}. {entry.note} "
            "Use one of the Skywork-Reward-V2 models, or score with an older transformers and "
            "read the scores with ColumnReward."
        )
    if entry.remote_code and not trust_remote_code:
        raise InputError(
            f"HFReward expects to be told that code which comes with {name!r} may run; got "
            "`trust_remote_code=False`. That code may do anything on this computer. Read it, and "
            "if you trust it, say so: `HFReward.from_registry(name, trust_remote_code=True)`."
        )
    return dict(entry.settings)
