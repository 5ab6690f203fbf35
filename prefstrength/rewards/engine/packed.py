"""Attention inside the texts of one long row, as an attention implementation of transformers.

A batch without padding is one row: text behind text. A token attends to the tokens before it in
its own text and to nothing else, so the mask of the whole row would be all but empty. Here each
text attends by itself, with torch's own kernels.
"""

from functools import cache
from typing import Any

#: Under this name transformers knows it. Called without ``spans``, it is ``"sdpa"``.
NAME = "prefstrength_packed"


@cache
def register() -> None:
    """Tell transformers of it."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import sdpa_mask

    def within_spans(query: Any, key: Any, value: Any, spans: Any, bias: Any, scale: float) -> Any:
        """Attention of (1, head, token, size) within spans of tokens, (1, token, head, size).

        ``spans``: (span, 3), first token, how many see all that is before them in the span, and how
        many there are. ``bias``: for the others, 0 where they see a token of their
        span and -inf elsewhere.
        """
        heads, tokens = query.shape[1:3]
        out = value.new_empty((1, tokens, heads, value.shape[3]))
        grouped = heads != key.shape[1]
        used = 0
        for first, beginning, width in spans.tolist():
            middle, last = first + beginning, first + width
            if middle > first:
                out[:, first:middle] = scaled_dot_product_attention(
                    query[:, :, first:middle],
                    key[:, :, first:middle],
                    value[:, :, first:middle],
                    is_causal=True,
                    scale=scale,
                    enable_gqa=grouped,
                ).transpose(1, 2)
            if last > middle:
                ends = last - middle
                out[:, middle:last] = scaled_dot_product_attention(
                    query[:, :, middle:last],
                    key[:, :, first:last],
                    value[:, :, first:last],
                    attn_mask=bias[used : used + ends * width].view(ends, width),
                    scale=scale,
                    enable_gqa=grouped,
                ).transpose(1, 2)
                used += ends * width
        return out

    # an operator of its own, because torch.compile would otherwise unroll the loop over the spans
    operator = torch.library.custom_op(
        "prefstrength::attention_within_spans",
        within_spans,
        mutates_args=(),
        schema="(Tensor query, Tensor key, Tensor value, Tensor spans, Tensor bias, float scale)"
        " -> Tensor",
    )
    operator.register_fake(
        lambda query, key, value, spans, bias, scale: value.new_empty(
            (1, query.shape[2], query.shape[1], value.shape[3])
        )
    )

    def attend(
        module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **options: Any
    ) -> tuple[Any, None]:
        spans, bias = options.pop("spans", None), options.pop("bias", None)
        if spans is None:
            return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        within = operator if torch.compiler.is_compiling() else within_spans
        return within(query, key, value, spans, bias, float(options["scaling"])), None

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
