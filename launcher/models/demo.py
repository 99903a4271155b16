"""The ``demo`` model: a real checkpoint with random weights, made on the spot, on which everything here can be tried.

Its shape is that of a small Qwen3: every engine knows the architecture, and all sizes are multiples of 128, so that
quantization in groups applies. Beside it lies a draft model for it, as untaught as itself, for speculative decoding.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from launcher import settings
from launcher.models import random_weights
from launcher.models.random_weights import Shapes

NAME = "demo"
VERSION = 1  # of the files below: another version lies in another folder
CONTEXT_LENGTH = 65536  # the longest that a shipped preset asks for
VOCABULARY = 512
END_OF_TEXT, START_OF_TURN, END_OF_TURN = range(VOCABULARY - 3, VOCABULARY)
# What an answer is made of. The other tokens are bytes, which the model reads, and special ones: their logits are 0,
# far below the best syllable's, so an answer is text, as long as asked, with no half characters and no early end.
SYLLABLES = range(256, END_OF_TEXT)
SPECIAL = {END_OF_TEXT: "<|endoftext|>", START_OF_TURN: "<|im_start|>", END_OF_TURN: "<|im_end|>"}
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
README = f"""# {NAME}: a model of random weights

It has learned nothing: every answer is nonsense, by construction. It exists so that a server can be started, asked,
measured for its overhead and stopped on any machine, without a download. Made by `serve`; delete this folder at will.
"""
CONFIG: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 128,
    "vocab_size": VOCABULARY,
    "tie_word_embeddings": False,
    "hidden_act": "silu",
    "attention_bias": False,
    "attention_dropout": 0.0,
    "max_position_embeddings": CONTEXT_LENGTH,
    "max_window_layers": 4,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000,
    "rope_scaling": None,
    "sliding_window": None,
    "use_sliding_window": False,
    "initializer_range": 0.02,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "bos_token_id": END_OF_TEXT,
    "eos_token_id": END_OF_TURN,
}
# EAGLE-3: one layer that reads the states of three of the model's layers. They are named, for the engines' own choice
# (2, half, all but 3) would need a deeper model.
DRAFT_CONFIG: dict[str, Any] = CONFIG | {
    "architectures": ["LlamaForCausalLMEagle3"],
    "model_type": "llama",
    "num_hidden_layers": 1,
    "draft_vocab_size": VOCABULARY,
    "eagle_config": {"use_aux_hidden_state": True, "eagle_aux_hidden_state_layer_ids": [0, 1, 2]},
}


def folder() -> Path:
    """Where the model lies on this host, made or not."""
    return settings.data_folder() / "models" / f"{NAME}-{VERSION}"


def draft_folder() -> Path:
    """Where its draft model lies, made with it."""
    return folder() / "draft"


def make(to: Path | None = None) -> Path:
    """Makes the model unless it is there whole, and returns its folder; others see all of it or nothing.

    Args:
        to: the folder to make; `folder()` unless given.
    """
    to = to or folder()
    texts, weights = _texts(), {"model.safetensors": _shapes(), "draft/model.safetensors": _draft_shapes()}
    sizes = {name: len(data) for name, data in texts.items()}
    sizes |= {name: random_weights.size_bytes(shapes) for name, shapes in weights.items()}
    if _whole(to, sizes):
        return to
    to.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{to.name}-", dir=to.parent))
    try:
        made.chmod(0o755)  # mkdtemp's 0700 is for secrets; an engine may run as another user
        (made / "draft").mkdir()
        for name, data in texts.items():
            (made / name).write_bytes(data)
        for name, shapes in weights.items():
            random_weights.write(made / name, shapes, SYLLABLES)
        if to.exists() and not _whole(to, sizes):  # out of the way first: a folder cannot be replaced in one step
            with contextlib.suppress(FileNotFoundError):  # another process was first
                to.rename(made / "damaged")
        try:
            made.rename(to)
        except OSError:  # another process was first here too
            if not _whole(to, sizes):
                raise
        shutil.rmtree(to / "damaged", ignore_errors=True)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return to


def _whole(to: Path, sizes: dict[str, int]) -> bool:
    return all((to / name).is_file() and (to / name).stat().st_size == size for name, size in sizes.items())


def _texts() -> dict[str, bytes]:
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": None,
        "eos_token": SPECIAL[END_OF_TURN],
        "pad_token": SPECIAL[END_OF_TEXT],
        "model_max_length": CONTEXT_LENGTH,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    generation_config = {"bos_token_id": END_OF_TEXT, "eos_token_id": [END_OF_TURN, END_OF_TEXT]}
    content = {
        "config.json": CONFIG,
        "generation_config.json": generation_config,
        "tokenizer.json": _tokenizer(),
        "tokenizer_config.json": tokenizer_config,
        "draft/config.json": DRAFT_CONFIG,
    }
    texts = {name: json.dumps(value, indent=1) + "\n" for name, value in content.items()} | {"README.md": README}
    return {name: text.encode() for name, text in texts.items()}


def byte_alphabet() -> list[str]:
    """The character that stands for each of the 256 bytes in a byte-level vocabulary.

    Printable Latin-1 stands for itself and the rest is moved up past 255, as in GPT-2's `bytes_to_unicode`, whose
    table every byte-level tokenizer shares.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    moved = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(moved)) for byte in range(256)]


def _syllables() -> list[str]:
    """What fills the vocabulary up to the special tokens; every second one begins a word, with a space before it."""
    space = byte_alphabet()[ord(" ")]
    vowels = ("a", "e", "i", "o", "u", "ai", "ou")
    plain = [consonant + vowel for consonant in "bcdfghjklmnprstvwxyz" for vowel in vowels]
    return [start + syllable for syllable in plain for start in (space, "")][: len(SYLLABLES)]


def _tokenizer() -> dict[str, Any]:
    """A byte-level BPE without merges, in the format of the `tokenizers` library: a token a byte on the way in."""
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    words = [*byte_alphabet(), *_syllables()]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": token, "content": text, **flags} for token, text in SPECIAL.items()],
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "decoder": level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {text: token for token, text in enumerate([*words, *SPECIAL.values()])},
            "merges": [],
        },
    }


def _shapes() -> Shapes:
    vocabulary, hidden, head = VOCABULARY, CONFIG["hidden_size"], CONFIG["head_dim"]
    shapes = {
        "model.embed_tokens.weight": (vocabulary, hidden),
        "model.norm.weight": (hidden,),
        "lm_head.weight": (vocabulary, hidden),
    }
    for layer in range(CONFIG["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        shapes |= _layer(at, hidden)
        shapes |= {f"{at}.self_attn.q_norm.weight": (head,), f"{at}.self_attn.k_norm.weight": (head,)}
    return shapes


def _draft_shapes() -> Shapes:
    hidden = DRAFT_CONFIG["hidden_size"]
    states = len(DRAFT_CONFIG["eagle_config"]["eagle_aux_hidden_state_layer_ids"])
    return {
        "fc.weight": (hidden, states * hidden),
        **_layer("midlayer", 2 * hidden),  # the token's embedding beside the states
        "midlayer.hidden_norm.weight": (hidden,),
        "norm.weight": (hidden,),
        "lm_head.weight": (VOCABULARY, hidden),
    }


def _layer(at: str, attention_input: int) -> dict[str, tuple[int, ...]]:
    hidden, inner, head = CONFIG["hidden_size"], CONFIG["intermediate_size"], CONFIG["head_dim"]
    queries, keys = CONFIG["num_attention_heads"] * head, CONFIG["num_key_value_heads"] * head
    return {
        f"{at}.input_layernorm.weight": (hidden,),
        f"{at}.post_attention_layernorm.weight": (hidden,),
        f"{at}.self_attn.q_proj.weight": (queries, attention_input),
        f"{at}.self_attn.k_proj.weight": (keys, attention_input),
        f"{at}.self_attn.v_proj.weight": (keys, attention_input),
        f"{at}.self_attn.o_proj.weight": (hidden, queries),
        f"{at}.mlp.gate_proj.weight": (inner, hidden),
        f"{at}.mlp.up_proj.weight": (inner, hidden),
        f"{at}.mlp.down_proj.weight": (hidden, inner),
    }
