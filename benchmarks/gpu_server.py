"""Engines under test on a GPU host: models to serve, a server's process tree, and a process that takes GPU memory."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks import shapes

MIB = 1 << 20
READY = {"vllm": "Application startup complete", "sglang": "The server is fired up and ready to roll"}
MODULE = {"vllm": ["vllm.entrypoints.cli.main", "serve"], "sglang": ["sglang.launch_server", "--model-path"]}
CORE = {"vllm": r"VLLM::EngineCore", "sglang": r"sglang::scheduler"}
# 1.7B as published for Qwen3; the last is larger than any one GPU of today
SMALL = {"hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28, "num_attention_heads": 16}
HUGE = {"hidden_size": 8192, "intermediate_size": 29568, "num_hidden_layers": 96, "num_attention_heads": 64}
FP_QUANT = {
    "quant_method": "fp_quant",
    "hadamard_group_size": 32,
    "forward_dtype": "mxfp4",
    "forward_method": "abs_max",
    "modules_to_not_convert": ["lm_head"],
}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
REMOTE = {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}}
CONFIGS: dict[str, dict[str, Any]] = {
    "small": {**SMALL, "tie_word_embeddings": True},
    "8b": {},
    "huge": HUGE,
    "fp-quant": {**SMALL, "quantization_config": FP_QUANT},
    "awq": {**SMALL, "quantization_config": AWQ},
    "remote-code": {**SMALL, **REMOTE, "architectures": ["OwnForCausalLM"]},
    "unknown-architecture": {**SMALL, "architectures": ["OwnForCausalLM"]},
    "no-tokenizer": SMALL,
    "no-weights": SMALL,
    "truncated": SMALL,
    "no-config": SMALL,
    "few-words": {**SMALL, "vocab_size": 64},  # of a tokenizer's 151,936
}


def models(folder: Path) -> None:
    """Model folders with a tokenizer and, but for those named below, no weights: serve them with dummy ones."""
    text = json.dumps(shapes.tokenizer())
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    for name, changes in CONFIGS.items():
        at = folder / name
        at.mkdir(parents=True)
        config = {**shapes.MODEL, **changes}
        config["max_window_layers"] = config["num_hidden_layers"]
        if name != "no-config":
            (at / "config.json").write_text(json.dumps(config))
        if name != "no-tokenizer":
            (at / "tokenizer.json").write_text(text)
            (at / "tokenizer_config.json").write_text(json.dumps(about | {"model_max_length": shapes.CONTEXT_LENGTH}))
    header = json.dumps({"lm_head.weight": {"dtype": "BF16", "shape": [151936, 2048], "data_offsets": [0, 622329856]}})
    cut = struct.pack("<Q", len(header)) + header.encode() + bytes(MIB)
    (folder / "truncated" / "model.safetensors").write_bytes(cut)
    weights(folder / "small")


def weights(folder: Path) -> None:
    """Random weights of the small shape, in two files, out of the page cache so that a start reads the disk."""
    import torch  # noqa: PLC0415 - on GPU hosts
    from safetensors.torch import save_file  # noqa: PLC0415

    hidden, inner, layers, heads = SMALL.values()
    names = {"model.embed_tokens.weight": (shapes.VOCABULARY, hidden), "model.norm.weight": (hidden,)}
    for number in range(layers):
        at = f"model.layers.{number}"
        names |= {f"{at}.self_attn.{each}_norm.weight": (128,) for each in "qk"}
        names |= {f"{at}.{each}_layernorm.weight": (hidden,) for each in ("input", "post_attention")}
        names |= {f"{at}.self_attn.{each}_proj.weight": (8 * 128, hidden) for each in "kv"}
        names |= {f"{at}.self_attn.q_proj.weight": (heads * 128, hidden)}
        names |= {f"{at}.self_attn.o_proj.weight": (hidden, heads * 128)}
        names |= {f"{at}.mlp.{each}_proj.weight": (inner, hidden) for each in ("gate", "up")}
        names |= {f"{at}.mlp.down_proj.weight": (hidden, inner)}
    index: dict[str, str] = {}
    for part in range(2):
        file = f"model-{part + 1:05}-of-00002.safetensors"
        mine = [each for number, each in enumerate(names) if number % 2 == part]
        tensors = {each: (torch.randn(names[each], device="cuda") * 0.02).to(torch.bfloat16).cpu() for each in mine}
        save_file(tensors, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(mine, file)
        with (folder / file).open("rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


class Hog:
    """A process that takes the GPU's memory and goes on taking what others give back.

    It exists from the start with its CUDA context made, so that memory can be taken within milliseconds.
    """

    def __init__(self) -> None:
        words = [sys.executable, "-m", "benchmarks.gpu_server"]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        assert self.process.stdout.readline().strip() == "made"

    def take(self, leave_mib: int) -> None:
        """Take all but `leave_mib`; returns when it is taken."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{leave_mib}\n")
        self.process.stdin.flush()
        self.process.stdout.readline()

    def end(self) -> None:
        """Give it all back."""
        self.process.kill()
        self.process.wait()


def hog() -> None:
    """The hog's program: reads how many MiB to leave, takes the rest in plain allocations, and keeps it so."""
    cuda = ctypes.CDLL("libcuda.so.1")
    context, address = ctypes.c_void_p(), ctypes.c_uint64()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    assert cuda.cuInit(0) == 0
    assert cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
    assert cuda.cuCtxSetCurrent(context) == 0
    print("made", flush=True)
    leave = int(sys.stdin.readline()) * MIB
    told = False
    while True:
        cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
        room = free.value - leave
        for size in (1 << 34, 1 << 30, 1 << 26, 1 << 21):
            while room >= size and cuda.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(size)) == 0:
                room -= size
        if not told:
            print("taken", flush=True)
            told = True
        time.sleep(0.01)


class Server:
    """An engine in a session of its own, with its output in a file."""

    def __init__(
        self, engine: str, model: str, words: Sequence[str], port: int, log: Path, env: Mapping[str, str]
    ) -> None:
        self.engine, self.port, self.log = engine, port, log
        self.argv = ["python3", "-m", *MODULE[engine], model, "--port", str(port), *words]
        self.began = time.monotonic()
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, *self.argv[1:]],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                cwd=log.parent,
                env={**os.environ, "SERVE_RUN": f"/instances/{log.stem}:1", **env},
            )
        self.seen: dict[int, psutil.Process] = {}
        self.offset, self.text = 0, ""

    def read(self) -> str:
        """All of the log so far."""
        with self.log.open("rb") as stream:
            stream.seek(self.offset)
            new = stream.read()
        self.offset += len(new)
        self.text += new.decode(errors="replace")
        return self.text

    def descendants(self) -> list[psutil.Process]:
        """Processes of its tree that live, the first one included; also those whose parent is gone."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for each in psutil.Process(self.process.pid).children(recursive=True):
                self.seen.setdefault(each.pid, each)
        for each in psutil.process_iter():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if each.pid == self.process.pid or os.getsid(each.pid) == self.process.pid:
                    self.seen.setdefault(each.pid, each)
        return [each for each in self.seen.values() if alive(each)]

    def find(self, pattern: str) -> psutil.Process | None:
        """The first process of its tree whose title has the pattern."""
        for each in self.descendants():
            with contextlib.suppress(psutil.Error):
                if re.search(pattern, " ".join(each.cmdline())):
                    return each
        return None

    def wait_for(self, pattern: str, timeout_s: float) -> bool:
        """Until the log has the pattern; false if the process ended or the time ran out first."""
        end = time.monotonic() + timeout_s
        while not re.search(pattern, self.read()):
            if self.process.poll() is not None or time.monotonic() > end:
                return bool(re.search(pattern, self.read()))
            time.sleep(0.02)
        return True

    def wait(self, timeout_s: float) -> int | None:
        """Exit status, or None when the time ran out."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(timeout_s)
        return None

    def end(self) -> None:
        """SIGKILL to the whole tree, and wait."""
        for each in self.descendants():
            with contextlib.suppress(psutil.Error):
                each.send_signal(signal.SIGCONT)
                each.kill()
        self.process.wait()

    def get(self, path: str, timeout_s: float) -> tuple[int | str, float, str]:
        """Status (or what went wrong), seconds and body of one request."""
        begin = time.monotonic()
        status: int | str
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=timeout_s) as answer:
                status, body = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, body = error.code, error.read().decode(errors="replace")
        except OSError as error:
            status, body = f"{type(error).__name__}: {error}", ""
        return status, round(time.monotonic() - begin, 3), body

    def ask(self, prompt_tokens: int, max_tokens: int, timeout_s: float = 120, **more: Any) -> str:
        """One completion; the status, or what went wrong."""
        body = {"prompt": [1000] * prompt_tokens, "max_tokens": max_tokens, "ignore_eos": True, "temperature": 0}
        data = json.dumps({"model": "m", **body, **more}).encode()
        url = f"http://127.0.0.1:{self.port}/v1/completions"
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, data, {"Content-Type": "application/json"}), timeout=timeout_s
            ) as answer:
                answer.read()
                return str(answer.status)
        except urllib.error.HTTPError as error:
            return f"{error.code} {error.read().decode(errors='replace')[:300]}"
        except OSError as error:
            return f"{type(error).__name__}: {error}"


def alive(process: psutil.Process) -> bool:
    """Neither gone nor a zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def gpu_memory_mib() -> int:
    """Memory in use on the first GPU."""
    words = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()[0])


if __name__ == "__main__":
    hog()
