"""The ``demo`` model: a real checkpoint with random weights, made on the spot, on which everything here can be tried.

Its shape is that of a small Qwen3: every engine knows the architecture, and all sizes are multiples of 128, so that
quantization in groups applies. The bytes are the same on every host: they come from a hash, not a random generator.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import shutil
import struct
import tempfile
from pathlib import Path
from statistics import NormalDist
from typing import Any

from launcher import settings

NAME = "demo"
VERSION = 1  # of the files below: another version lies in another folder
CONTEXT_LENGTH = 4096
VOCABULARY = 512
END_OF_TEXT, START_OF_TURN, END_OF_TURN = range(VOCABULARY - 3, VOCABULARY)
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
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 128,
    "vocab_size": VOCABULARY,
    "tie_word_embeddings": False,
    "hidden_act": "silu",
    "attention_bias": False,
    "attention_dropout": 0.0,
    "max_position_embeddings": CONTEXT_LENGTH,
    "max_window_layers": 2,
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


def folder() -> Path:
    """Where the model lies on this host, made or not."""
    return settings.data_folder() / "models" / f"{NAME}-{VERSION}"


def make(to: Path | None = None) -> Path:
    """Makes the model unless it is there whole, and returns its folder; others see all of it or nothing.

    Args:
        to: the folder to make; `folder()` unless given.
    """
    to = to or folder()
    files = _text_files()
    header, shapes = _header()
    sizes = {name: len(data) for name, data in files.items()}
    sizes["model.safetensors"] = len(header) + sum(2 * math.prod(shape) for shape in shapes.values())
    if _whole(to, sizes):
        return to
    to.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{to.name}-", dir=to.parent))
    try:
        made.chmod(0o755)  # mkdtemp's 0700 is for secrets; an engine may run as another user
        for name, data in files.items():
            (made / name).write_bytes(data)
        with (made / "model.safetensors").open("wb") as weights:
            weights.write(header)
            for name, shape in shapes.items():
                weights.write(_tensor(name, shape))
        if to.exists():  # damaged: out of the way first, for a folder cannot be replaced in one step
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


def _text_files() -> dict[str, bytes]:
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
    return [start + syllable for syllable in plain for start in (space, "")][: END_OF_TEXT - 256]


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


def _shapes() -> dict[str, tuple[int, ...]]:
    hidden, inner, head = CONFIG["hidden_size"], CONFIG["intermediate_size"], CONFIG["head_dim"]
    queries, keys = CONFIG["num_attention_heads"] * head, CONFIG["num_key_value_heads"] * head
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCABULARY, hidden),
        "model.norm.weight": (hidden,),
        "lm_head.weight": (VOCABULARY, hidden),
    }
    for layer in range(CONFIG["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        shapes |= {
            f"{at}.input_layernorm.weight": (hidden,),
            f"{at}.post_attention_layernorm.weight": (hidden,),
            f"{at}.self_attn.q_proj.weight": (queries, hidden),
            f"{at}.self_attn.k_proj.weight": (keys, hidden),
            f"{at}.self_attn.v_proj.weight": (keys, hidden),
            f"{at}.self_attn.o_proj.weight": (hidden, queries),
            f"{at}.self_attn.q_norm.weight": (head,),
            f"{at}.self_attn.k_norm.weight": (head,),
            f"{at}.mlp.gate_proj.weight": (inner, hidden),
            f"{at}.mlp.up_proj.weight": (inner, hidden),
            f"{at}.mlp.down_proj.weight": (hidden, inner),
        }
    return shapes


def _header() -> tuple[bytes, dict[str, tuple[int, ...]]]:
    """The start of a safetensors file (8 bytes of length, then JSON padded to 8) and the shapes in its order."""
    shapes, entries, start = _shapes(), {}, 0
    for name, shape in shapes.items():
        end = start + 2 * math.prod(shape)
        entries[name] = {"dtype": "BF16", "shape": shape, "data_offsets": (start, end)}
        start = end
    text = json.dumps({"__metadata__": {"format": "pt"}, **entries}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, shapes


def _bfloat16(value: float) -> bytes:
    return struct.pack("<f", value)[2:]


def _tensor(name: str, shape: tuple[int, ...]) -> bytes:
    """Weights of variance 1 / columns, so that activations neither grow nor vanish; norms are ones.

    The output layer has rows for syllables only: the logits of all else are 0, far below the best syllable's. So an
    answer is readable and as long as asked: neither half a character nor an end of turn comes up.
    """
    if len(shape) == 1:
        return _bfloat16(1.0) * shape[0]
    rows, columns = shape
    output = name == "lm_head.weight"
    deviation = 0.5 if output else columns**-0.5
    values = [_bfloat16(NormalDist(0, deviation).inv_cdf((step + 0.5) / 256)) for step in range(256)]
    noise = hashlib.shake_256(name.encode()).digest(rows * columns)
    data = bytearray(2 * len(noise))
    data[0::2] = noise.translate(bytes(value[0] for value in values))
    data[1::2] = noise.translate(bytes(value[1] for value in values))
    if output:
        first, last = 256 * columns * 2, END_OF_TEXT * columns * 2
        data[:first] = bytes(first)
        data[last:] = bytes(len(data) - last)
    return bytes(data)
