"""Models of published shapes with random weights, for GPU hosts without a network: ``python shapes.py FOLDER``.

Makes FOLDER/qwen3-8b (16.4 GB of bfloat16) and FOLDER/qwen3-8b-eagle3, a draft head of EAGLE3 for it (0.8 GB). Needs
torch and safetensors. Speed and memory are those of the real model; answers mean nothing, and no draft is accepted
but by luck, so speculative decoding can be started and asked here, not judged.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from launcher.models.demo import CHAT_TEMPLATE, byte_alphabet  # noqa: E402 - the checkout's own package

HIDDEN, INNER, LAYERS, HEADS, KV_HEADS, HEAD = 4096, 12288, 36, 32, 8, 128  # as published for Qwen3-8B
VOCABULARY, DRAFT_VOCABULARY, END, TURN = 151936, 32000, 151643, 151645
CONTEXT_LENGTH = 40960
COMMON: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "head_dim": HEAD,
    "vocab_size": VOCABULARY,
    "hidden_act": "silu",
    "attention_bias": False,
    "attention_dropout": 0.0,
    "max_position_embeddings": CONTEXT_LENGTH,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000,
    "rope_scaling": None,
    "initializer_range": 0.02,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "tie_word_embeddings": False,
    "bos_token_id": END,
    "eos_token_id": TURN,
}
MODEL = {
    **COMMON,
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "num_hidden_layers": LAYERS,
    "max_window_layers": LAYERS,
    "sliding_window": None,
    "use_sliding_window": False,
}
DRAFT = {
    **COMMON,
    "architectures": ["LlamaForCausalLMEagle3"],
    "model_type": "llama",
    "num_hidden_layers": 1,
    "draft_vocab_size": DRAFT_VOCABULARY,
}


def layer(at: str, width: int = HIDDEN) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a decoder layer's weights; `width` is what its attention reads."""
    return {
        f"{at}.self_attn.q_proj.weight": (HEADS * HEAD, width),
        f"{at}.self_attn.k_proj.weight": (KV_HEADS * HEAD, width),
        f"{at}.self_attn.v_proj.weight": (KV_HEADS * HEAD, width),
        f"{at}.self_attn.o_proj.weight": (HIDDEN, HEADS * HEAD),
        f"{at}.mlp.gate_proj.weight": (INNER, HIDDEN),
        f"{at}.mlp.up_proj.weight": (INNER, HIDDEN),
        f"{at}.mlp.down_proj.weight": (HIDDEN, INNER),
        f"{at}.input_layernorm.weight": (HIDDEN,),
        f"{at}.post_attention_layernorm.weight": (HIDDEN,),
    }


def model_files() -> list[dict[str, tuple[int, ...]]]:
    """The model's weights, a file a layer."""
    ends = {
        "model.embed_tokens.weight": (VOCABULARY, HIDDEN),
        "model.norm.weight": (HIDDEN,),
        "lm_head.weight": (VOCABULARY, HIDDEN),
    }
    norms = ("q_norm", "k_norm")
    return [
        ends,
        *(
            layer(at := f"model.layers.{number}") | {f"{at}.self_attn.{norm}.weight": (HEAD,) for norm in norms}
            for number in range(LAYERS)
        ),
    ]


def draft_file() -> dict[str, tuple[int, ...]]:
    """The draft head's weights: one layer that reads token and target side by side, and its own smaller vocabulary."""
    return {
        **layer("midlayer", 2 * HIDDEN),
        "midlayer.hidden_norm.weight": (HIDDEN,),
        "fc.weight": (HIDDEN, 3 * HIDDEN),
        "norm.weight": (HIDDEN,),
        "lm_head.weight": (DRAFT_VOCABULARY, HIDDEN),
    }


def tokenizer() -> dict[str, Any]:
    """A byte-level tokenizer whose every id decodes to something."""
    words = [*byte_alphabet(), *(f"tok{number}" for number in range(256, VOCABULARY))]
    special = {END: "<|endoftext|>", END + 1: "<|im_start|>", TURN: "<|im_end|>"}
    for token, text in special.items():
        words[token] = text
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "added_tokens": [{"id": token, "content": text, **flags} for token, text in special.items()],
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "decoder": level,
        "model": {"type": "BPE", "vocab": {text: token for token, text in enumerate(words)}, "merges": []},
    }


def write(folder: Path, config: dict[str, Any], files: list[dict[str, tuple[int, ...]]]) -> None:
    """A checkpoint with random weights; norms are ones."""
    import torch  # noqa: PLC0415 - tests read the shapes without it
    from safetensors.torch import save_file  # noqa: PLC0415

    folder.mkdir(parents=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    index: dict[str, str] = {}
    for number, shapes in enumerate(files):
        tensors = {
            name: torch.ones(shape, dtype=torch.bfloat16)
            if len(shape) == 1
            else (torch.randn(shape, device=device) * 0.02).to(torch.bfloat16).cpu()
            for name, shape in shapes.items()
        }
        if config is DRAFT:
            kept = torch.arange(VOCABULARY) < DRAFT_VOCABULARY
            tensors |= {"d2t": torch.zeros(DRAFT_VOCABULARY, dtype=torch.int64), "t2d": kept}
        name = f"model-{number:05}-of-{len(files):05}.safetensors" if len(files) > 1 else "model.safetensors"
        save_file(tensors, folder / name, metadata={"format": "pt"})
        index |= dict.fromkeys(tensors, name)
    if len(files) > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (folder / "config.json").write_text(json.dumps(config, indent=1))


def main() -> None:
    """Both folders."""
    folder = Path(sys.argv[1])
    model, draft = folder / "qwen3-8b", folder / "qwen3-8b-eagle3"
    write(model, MODEL, model_files())
    (model / "generation_config.json").write_text(json.dumps({"eos_token_id": [TURN], "pad_token_id": END}))
    (model / "tokenizer.json").write_text(json.dumps(tokenizer()))
    (model / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "eos_token": "<|im_end|>",
                "pad_token": "<|endoftext|>",
                "model_max_length": CONTEXT_LENGTH,
                "chat_template": CHAT_TEMPLATE,
            }
        )
    )
    write(draft, DRAFT, [draft_file()])
    print(model, draft)


if __name__ == "__main__":
    main()
