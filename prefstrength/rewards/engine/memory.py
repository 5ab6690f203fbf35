"""How many tokens a forward pass may have, and what to do when the device's memory is full."""

import gc
import sys
from typing import Any

#: Tokens of a batch, padding included: enough to keep the device busy, little enough for its
#: caches (CPU) or for a model of some billion parameters (accelerators).
TOKENS_CPU, TOKENS_ACCELERATOR = 4_096, 16_384


def default_tokens(device: Any) -> int:
    """Tokens of a batch on a device, to begin with."""
    return TOKENS_CPU if str(device).startswith("cpu") else TOKENS_ACCELERATOR


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory did not suffice: of an accelerator, or of the CPU."""
    torch = sys.modules.get("torch")
    accelerator = torch is not None and isinstance(error, torch.OutOfMemoryError)
    return accelerator or isinstance(error, MemoryError) or "can't allocate memory" in str(error)


def free_memory() -> None:
    """Give back what a failed forward pass has left."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
