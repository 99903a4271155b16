"""Safetensors files of random bfloat16 weights, without numpy or torch: the same bytes on every host."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from statistics import NormalDist

Shapes = Mapping[str, tuple[int, ...]]
BFLOAT16_BYTES = 2
OUTPUT_LAYER = "lm_head.weight"
OUTPUT_DEVIATION = 0.5  # times the square root of the width: logits spread far enough that the best token always wins


def size_bytes(shapes: Shapes) -> int:
    """How long the file of some tensors is."""
    return len(_header(shapes)) + sum(BFLOAT16_BYTES * math.prod(shape) for shape in shapes.values())


def write(path: Path, shapes: Shapes, output_rows: range) -> None:
    """Writes the tensors: vectors are ones (norms), matrices are normal noise that a hash of the tensor's name gives.

    Args:
        path: the file.
        shapes: tensor names to shapes, of one or two dimensions.
        output_rows: the rows of the output layer that are not zero, which are the tokens that the model can prefer.
    """
    with path.open("wb") as file:
        file.write(_header(shapes))
        for name, shape in shapes.items():
            file.write(_vector(*shape) if len(shape) == 1 else _matrix(name, shape[0], shape[1], output_rows))


def _header(shapes: Shapes) -> bytes:
    """The start of the file: the length in 8 bytes, then JSON, padded so that the data is aligned to 8."""
    entries, start = {}, 0
    for name, shape in shapes.items():
        end = start + BFLOAT16_BYTES * math.prod(shape)
        entries[name] = {"dtype": "BF16", "shape": shape, "data_offsets": (start, end)}
        start = end
    text = json.dumps({"__metadata__": {"format": "pt"}, **entries}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _bfloat16(value: float) -> bytes:
    return struct.pack("<f", value)[2:]  # the upper half of a float32


def _vector(length: int) -> bytes:
    return _bfloat16(1.0) * length


def _matrix(name: str, rows: int, columns: int, output_rows: range) -> bytes:
    """Variance 1 / columns keeps activations at their size; each byte of the hash picks one of 256 values."""
    output = name == OUTPUT_LAYER
    deviation = OUTPUT_DEVIATION if output else columns**-0.5
    values = [_bfloat16(NormalDist(0, deviation).inv_cdf((step + 0.5) / 256)) for step in range(256)]
    noise = hashlib.shake_256(name.encode()).digest(rows * columns)
    data = bytearray(BFLOAT16_BYTES * len(noise))
    data[0::2] = noise.translate(bytes(value[0] for value in values))
    data[1::2] = noise.translate(bytes(value[1] for value in values))
    if output:
        row = BFLOAT16_BYTES * columns
        first, last = row * output_rows.start, row * output_rows.stop
        data[:first], data[last:] = bytes(first), bytes(len(data) - last)
    return bytes(data)
