"""Failures and their causes: logs of real ones, and words as the sources of the engines put them together."""

# ruff: noqa: E501 - tables: one row a failure
from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Log:
    """A log in tests/data/engine-logs, and what is to be made of it.

    Attributes:
        name: of the file; engine and release stand in it.
        status: the exit status of the first process, negative for a signal.
        cause: expected.
        line: a pattern within the decisive line; none is expected where it is empty.
        changes: expected.
        serving: whether it had been ready.
        oom_killed: whether the kernel's OOM killer had struck.
    """

    name: str
    status: int | None
    cause: str
    line: str = ""
    changes: dict[str, str] = field(default_factory=dict)
    serving: bool = False
    oom_killed: bool = False

    @property
    def engine(self) -> str:
        """Of the log."""
        return self._named[1]

    @property
    def version(self) -> str:
        """The engine's release."""
        return self._named[2]

    @property
    def _named(self) -> re.Match[str]:
        match = re.match(r"(?:gpu-)?(vllm|sglang)-([\d.]+(?:post\d)?)-", self.name)
        assert match
        return match


@dataclass(frozen=True)
class Words:
    """What an engine, its libraries or the kernel say, as their source puts it together.

    Attributes:
        engine: that says it.
        cause: expected.
        text: an exception with its type, of one or several lines; a line of its own where `alone`.
        within: the function that raised it.
        changes: expected.
        alone: whether the text is the whole log.
        sure: expected.
        status, serving, oom_killed: as of `Log`.
        version: of the release that says so; the newest of the engine unless given.
    """

    engine: str
    cause: str
    text: str
    within: str = "step"
    changes: dict[str, str] = field(default_factory=dict)
    alone: bool = False
    sure: bool = True
    status: int | None = 1
    serving: bool = False
    oom_killed: bool = False
    version: str = ""


GOOD = [
    "sglang-0.5.17-qwen3-8b-fp8-kv8.log",
    "vllm-0.24.0-qwen3-14b-fp8.log",
    "vllm-0.26.0-qwen3-8b-humming-silent-start.log",
    "vllm-0.32.0-good.log",
]

# Real failures. vllm-0.32.0: tools/break_engine.py, on a CPU. gpu-: benchmarks/gpu_failures.py, on one H200.
LOGS = [
    Log("sglang-0.5.15.post1-qwen3-14b-torchao-importerror.log", -9, "missing-package", "^ImportError: cannot import name 'float8_dynamic"),
    Log("sglang-0.5.17-qwen3-8b-bitsandbytes-keyerror.log", -9, "unknown", "^KeyError: 'model.layers.0.mlp.gate_up_proj.qweight'"),
    Log("vllm-0.32.0-unknown-flag.log", 2, "unknown-flag", "unrecognized arguments: --no-such-flag"),
    Log("vllm-0.32.0-bad-value.log", 2, "bad-value", "argument --max-num-seqs: invalid int value: 'many'"),
    Log("vllm-0.32.0-bad-json.log", 2, "bad-value", "argument --speculative-config/-sc: Value {eagle3}"),
    Log("vllm-0.32.0-bad-choice.log", 1, "bad-value", "Load format `floppy`"),
    Log("vllm-0.32.0-unknown-quantization.log", 1, "quantization-unsupported", "Unknown quantization method: int3"),
    Log("vllm-0.32.0-missing-model.log", 1, "missing-model", "'/nonexistent/model'"),
    Log("vllm-0.32.0-gated-hub.log", 1, "gated-model", "Cannot access gated repo for url"),
    Log("vllm-0.32.0-missing-repository.log", 1, "missing-model", "org/model"),
    Log("vllm-0.32.0-unauthorized-repository.log", 1, "missing-model", "org/model"),
    Log("vllm-0.32.0-empty-repository.log", 1, "missing-model", "Invalid repository ID or local directory specified: 'org/model'"),
    Log("vllm-0.32.0-busy-hub.log", 1, "hub-busy", "429 Too Many Requests"),
    Log("vllm-0.32.0-privileged-port.log", 1, "port-forbidden", "Permission denied$"),
    Log("vllm-0.32.0-missing-driver.log", 1, "driver", r"libcuda\.so\.1"),
    Log("vllm-0.32.0-other-cuda.log", 1, "wrong-build", r"libcudart\.so"),
    Log("vllm-0.32.0-nproc-16.log", 1, "too-many-processes", "can't start new thread"),
    Log("vllm-0.32.0-bus-error-starting.log", -7, "bus-error"),
    Log("vllm-0.32.0-missing-library.log", 1, "missing-library", "a_library_that_is_not_there"),
    Log("vllm-0.32.0-offline-hub.log", 1, "hub-unreachable", "LocalEntryNotFoundError"),
    Log("vllm-0.32.0-unknown-architecture.log", 1, "unknown-architecture", "NoSuchForCausalLM"),
    Log("vllm-0.32.0-own-code.log", 1, "own-code", "contains custom code", {"trust_remote_code": "true"}),
    Log("vllm-0.32.0-context-too-long.log", 1, "context-too-long", r"max_model_len \(200000\)", {"context_length": "65536"}),
    Log("vllm-0.32.0-tensor-parallel-3.log", 1, "tensor-parallel", r"heads \(8\)"),
    Log("vllm-0.32.0-port-taken.log", 1, "port-taken", "Errno 98"),
    Log("vllm-0.32.0-killed-core-loading.log", 1, "process-died", "Engine core initialization failed"),
    Log("vllm-0.32.0-segfault-core-serving.log", 0, "crashed", "Segfault encountered", serving=True),
    Log("vllm-0.32.0-kv-larger-than-memory.log", 1, "cpu-kv-memory", "Available memory on node 0"),
    Log("vllm-0.32.0-missing-package.log", 1, "missing-package", "a_package_that_is_not_there"),
    Log("vllm-0.32.0-missing-chat-template.log", 1, "missing-chat-template", "/nonexistent/template.jinja"),
    Log("vllm-0.32.0-damaged-config.log", 1, "damaged-config", "config.json' is not a valid JSON"),
    Log("vllm-0.32.0-missing-config.log", 1, "damaged-config", "'/models/demo'"),
    Log("vllm-0.32.0-unknown-model-type.log", 1, "unknown-architecture", "no_such"),
    Log("vllm-0.32.0-conflicting-values.log", 1, "refused-setting", "max_num_batched_tokens"),
    Log("vllm-0.32.0-unreadable-config.log", 1, "unreadable-file", "Permission denied: '/models/demo/config.json'"),
    Log("vllm-0.32.0-wrong-shapes.log", 1, "wrong-weights", r"size of tensor a \(512\)"),
    Log("vllm-0.32.0-no-compiler.log", 1, "compiler-missing", r"No working C\+\+ compiler found"),
    Log("vllm-0.32.0-illegal-instruction-starting.log", -4, "illegal-instruction"),
    Log("vllm-0.32.0-segfault-starting.log", -11, "crashed", "Segfault encountered"),
    Log("vllm-0.32.0-terminated-starting.log", -15, "terminated"),
    Log("vllm-0.32.0-unreadable-weights.log", 1, "missing-weights", "No such file or directory: /models/demo/model.safetensors"),
    Log("vllm-0.32.0-full-disk.log", 1, "disk-full", "Errno 28"),
    Log("vllm-0.32.0-fp8-per-tensor.log", 1, "quantization-unsupported", "static_scaled_fp8_quant"),
    Log("vllm-0.32.0-missing-weights.log", 1, "missing-weights", "Cannot find any model weights with `/models/demo`"),
    Log("vllm-0.32.0-missing-shard.log", 1, "missing-weights", "model-00002-of-00002.safetensors"),
    Log("vllm-0.32.0-nofile-64.log", 1, "too-many-files", "Too many open files"),
    Log("vllm-0.32.0-full-shm.log", 1, "shm-full", "160 MiB required, 0 MiB free"),
    Log("vllm-0.32.0-cgroup-limit.log", -9, "host-memory", oom_killed=True),
    Log("vllm-0.32.0-killed-core-serving.log", 0, "process-died", "engine core exited unexpectedly", serving=True),
    Log("vllm-0.32.0-hostile-requests.log", -9, "killed", serving=True),
    Log("gpu-vllm-0.24.0-memory-in-use.log", 1, "memory-in-use", "less than desired GPU memory utilization", {"memory_fraction": "0.2"}),
    Log("gpu-vllm-0.24.0-oom-load-in-use.log", 1, "oom-load", "^torch.OutOfMemoryError"),
    Log("gpu-vllm-0.24.0-oom-load.log", 1, "oom-load", "^torch.OutOfMemoryError", {"weights": "fp8"}),
    Log("gpu-vllm-0.24.0-oom-profile.log", 1, "oom-load", "^torch.OutOfMemoryError"),
    Log("gpu-vllm-0.24.0-oom-sampler.log", 1, "oom-sampler", "^torch.OutOfMemoryError"),
    Log("gpu-vllm-0.24.0-no-kv-memory.log", 1, "no-kv-memory", "memory for the (?:cache blocks|KV cache)", {"memory_fraction": "0.2"}),
    Log("gpu-vllm-0.24.0-kv-too-short.log", 1, "no-kv-room", "estimated maximum model length is 24448", {"context_length": "24448"}),
    Log("gpu-vllm-0.24.0-oom-kv.log", 1, "oom-kv", "^torch.OutOfMemoryError", {"memory_fraction": "0.87"}),
    Log("gpu-vllm-0.24.0-oom-capture.log", 1, "oom-capture", "^torch.OutOfMemoryError"),
    Log("gpu-vllm-0.24.0-oom-run.log", 0, "oom-run", "^torch.OutOfMemoryError", serving=True),
    Log("gpu-vllm-0.24.0-tp2.log", 1, "too-few-gpus", "GPUs|device ordinal"),
    Log("gpu-vllm-0.24.0-capability.log", 1, "quantization-unsupported", "fp_quant|nvfp4_online"),
    Log("gpu-vllm-0.24.0-quantization-mismatch.log", 1, "quantization-mismatch", r"\(awq\) does not match", {"weights": "none"}),
    Log("gpu-vllm-0.24.0-visible-uuid.log", 1, "no-gpu", "GPU-00000000|NotImplementedError"),
    Log("gpu-vllm-0.24.0-bitsandbytes-missing.log", 1, "missing-package", "No module named 'bitsandbytes'"),
    Log("gpu-vllm-0.24.0-attention-backend.log", 1, "attention-backend", "FLASHMLA|TRTLLM"),
    Log("gpu-vllm-0.24.0-visible-index.log", 1, "no-gpu", "NVMLError_InvalidArgument"),
    Log("gpu-vllm-0.24.0-visible-none.log", 1, "no-gpu", "0 devices|NotImplementedError"),
    Log("gpu-vllm-0.24.0-context.log", 1, "context-too-long", r"\(100000\) is greater", {"context_length": "40960"}),
    Log("gpu-vllm-0.24.0-truncated.log", 1, "damaged-weights", "incomplete metadata"),
    Log("gpu-vllm-0.24.0-core-killed-idle.log", 0, "process-died", "core exited unexpectedly", serving=True),
    Log("gpu-vllm-0.24.0-offline.log", 1, "hub-unreachable", "couldn't connect"),
    Log("gpu-vllm-0.24.0-core-killed-serving.log", 0, "process-died", "core exited unexpectedly", serving=True),
    Log("gpu-vllm-0.24.0-oom-trial.log", 1, "oom-profile", "^torch.OutOfMemoryError", {"prefill_tokens": "1000000"}),
    Log("gpu-vllm-0.24.0-oom-first.log", 1, "oom", "CUDA error: out of memory"),
    Log("gpu-vllm-0.24.0-nccl-interface.log", 1, "nccl-error", "NCCL error: invalid usage"),
    Log("gpu-vllm-0.24.0-out-of-vocabulary.log", 0, "out-of-vocabulary", "srcIndex < srcSelectDimSize", serving=True),
    Log("gpu-vllm-0.24.0-worker-killed-serving.log", 0, "process-died", "VllmWorker-1 died", serving=True),
    Log("gpu-vllm-0.24.0-worker-frozen-serving.log", 0, "hung", "RPC call to sample_tokens timed out", serving=True),
    Log("gpu-sglang-0.5.17-oom-first.log", -9, "oom", "CUDA error: out of memory"),
    Log("gpu-sglang-0.5.17-nccl-interface.log", -9, "nccl-error", "NCCL error: invalid usage"),
    Log("gpu-sglang-0.5.17-out-of-vocabulary.log", -9, "cuda-error", "device-side assert triggered"),
    Log("gpu-sglang-0.5.17-watchdog-loading.log", -9, "hung", "watchdog timeout"),
    Log("gpu-sglang-0.5.17-scheduler-frozen-serving.log", None, "hung", "watchdog timeout", serving=True),
    Log("gpu-sglang-0.5.17-oom-load-in-use.log", -9, "oom-load", "^torch.OutOfMemoryError"),
    Log("gpu-sglang-0.5.17-oom-load.log", -9, "oom-load", "^torch.OutOfMemoryError", {"weights": "fp8"}),
    Log("gpu-sglang-0.5.17-no-kv-memory.log", -9, "no-kv-memory", "memory for the (?:cache blocks|KV cache)", {"memory_fraction": "0.21"}),
    Log("gpu-sglang-0.5.17-oom-kv.log", -9, "no-kv-memory", "leave no GPU memory"),
    Log("gpu-sglang-0.5.17-oom-capture.log", -9, "oom-capture", "^torch.OutOfMemoryError"),
    Log("gpu-sglang-0.5.17-oom-run.log", -9, "oom-run", "^torch.OutOfMemoryError", serving=True),
    Log("gpu-sglang-0.5.17-quantization-mismatch.log", 1, "quantization-mismatch", r"\(awq\) does not match", {"weights": "none"}),
    Log("gpu-sglang-0.5.17-capability.log", 1, "quantization-unsupported", "fp_quant|nvfp4_online"),
    Log("gpu-sglang-0.5.17-attention-backend.log", 1, "attention-backend", "FLASHMLA|TRTLLM"),
    Log("gpu-sglang-0.5.17-visible-uuid.log", 1, "no-gpu", "GPU-00000000|NotImplementedError"),
    Log("gpu-sglang-0.5.17-visible-none.log", 1, "no-gpu", "0 devices|NotImplementedError"),
    Log("gpu-sglang-0.5.17-bitsandbytes-missing.log", -9, "missing-package", "No module named 'bitsandbytes'"),
    Log("gpu-sglang-0.5.17-attention-mla.log", -9, "attention-backend", "kv_lora_rank"),
    Log("gpu-sglang-0.5.17-bad-flag.log", 2, "unknown-flag", "--enable-nothing"),
    Log("gpu-sglang-0.5.17-bad-value.log", 2, "bad-value", "'fp3'"),
    Log("gpu-sglang-0.5.17-tp2.log", -9, "too-few-gpus", "GPUs|device ordinal"),
    Log("gpu-sglang-0.5.17-bad-path.log", 1, "missing-model", "/models/no-such-folder"),
    Log("gpu-sglang-0.5.17-no-config.log", 1, "damaged-config", "/models/no-config"),
    Log("gpu-sglang-0.5.17-context.log", 1, "context-too-long", r"\(100000\) is greater", {"context_length": "40960"}),
    Log("gpu-sglang-0.5.17-remote-code.log", 1, "own-code", "custom code", {"trust_remote_code": "true"}),
    Log("gpu-sglang-0.5.17-offline.log", 1, "hub-unreachable", "couldn't connect"),
    Log("gpu-sglang-0.5.17-unknown-architecture.log", -9, "unknown-architecture", "OwnForCausalLM"),
    Log("gpu-sglang-0.5.17-no-weights.log", -9, "missing-weights", "Cannot find any model weights"),
    Log("gpu-sglang-0.5.17-truncated.log", -9, "damaged-weights", "incomplete metadata"),
    Log("gpu-sglang-0.5.17-no-tokenizer.log", -9, "missing-tokenizer", "^IndexError"),
    Log("gpu-sglang-0.5.17-scheduler-killed-loading.log", 1, "killed", "exit code: -9"),
    Log("gpu-sglang-0.5.17-scheduler-killed-serving.log", -9, "killed", "exit code -9", serving=True),
    Log("gpu-sglang-0.5.17-detokenizer-killed-serving.log", None, "killed", "detokenizer", serving=True),
    Log("gpu-sglang-0.5.17-port-taken.log", None, "port-taken", "Errno 98"),
]  # fmt: skip

# The causes without a real log, whose words were read only, and what a log of each would take.
UNSEEN = {
    "number-format": "a GPU older than Ampere",
    "gpu-hardware": "a broken GPU",
    "cache-leak": "a bug in an engine's account of its cache",
}

OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 139.81 GiB of which 1.81 GiB is free."
CAPTURE = f"Exception: Capture cuda graph failed: {OOM.partition(': ')[2]}\nPossible solutions:"
HUB = 'f\n    g()\n  File "/opt/engine/lib/python3.12/site-packages/huggingface_hub/utils/_http.py", line 7, in http_backoff'
DIVIDED = 'divide\n    ensure_divisibility(numerator, denominator)\n  File "/opt/engine/vllm/distributed/utils.py", line 53, in ensure_divisibility'
ABORTED = "terminate called after throwing an instance of 'c10::AcceleratorError'\n  what():  CUDA error: an illegal memory access was encountered"
SIGQUIT = "[2026-11-21 12:46:48] Received sigquit from a child process. It usually means the child failed."
CORE_DIED = "(APIServer pid=1) ERROR 11-21 12:46:47 [core_client.py:600] Engine core proc EngineCore died unexpectedly, shutting down client."
PYDANTIC = " [type=value_error, input_value=ArgsKwargs((), {'model_tag': 1}), input_type=ArgsKwargs]"
RAISED = 'Traceback (most recent call last):\n  File "a.py", line 1, in b\n    c()\n'
READ = [
    # what was asked for
    Words("sglang", "context-too-long", "ValueError: Warning: User-specified context_length (100000) is greater than the derived context_length (40960). This may lead to incorrect model outputs or CUDA errors.", changes={"context_length": "40960"}),
    Words("vllm", "unknown", f"pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n  Value error, 'NoneType' object has no attribute 'get'{PYDANTIC}", sure=False),
    Words("vllm", "unknown", f"pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n  Value error, 'NoneType' object has no attribute 'rope_type'{PYDANTIC}", sure=False),
    Words("vllm", "unknown", f"pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n  Value error, Unrecognized processing class in /models/my_model. Can't instantiate a processor{PYDANTIC}", sure=False),
    Words("sglang", "unknown", "ValueError: Unrecognized configuration class <class 'X'> for this kind of AutoModel", within='get_model_config\n    x()\n  File "/opt/engine/sglang/srt/server_args.py", line 11, in resolve\n    y()\n  File "/opt/engine/sglang/srt/configs/model_config.py", line 11, in from_server_args', sure=False),
    Words("vllm", "refused-setting", "pydantic_core._pydantic_core.ValidationError: 1 validation error for SchedulerConfig\n  Value error, max_num_batched_tokens (4) must be greater than or equal to max_num_seqs (16)."),
    Words("sglang", "refused-setting", "AssertionError: dp_size must be 1 for this", within='resolve\n    assert x\n  File "/opt/engine/sglang/srt/server_args.py", line 11, in check_server_args'),
    # the model
    Words("vllm", "own-code", "RuntimeError: Failed to load the model config. If the model is a custom model not yet available in the HuggingFace transformers library, consider setting `trust_remote_code=True`", changes={"trust_remote_code": "true"}),
    Words("sglang", "own-code", "RuntimeError: Failed to load the tokenizer. If the tokenizer is a custom tokenizer not yet available in the HuggingFace transformers library", changes={"trust_remote_code": "true"}),
    Words("sglang", "own-code", "ValueError: Loading /models/own requires you to execute the configuration file in that repo on your local machine.", changes={"trust_remote_code": "true"}),
    Words("vllm", "gated-model", "OSError: You are trying to access a gated repo.\nMake sure to have access to it at https://huggingface.co/a/b."),
    Words("sglang", "gated-model", "huggingface_hub.errors.GatedRepoError: 403 Client Error.\n\nCannot access gated repo for url https://huggingface.co/a/b/resolve/main/config.json."),
    Words("vllm", "missing-model", "OSError: a/b is not a local folder and is not a valid model identifier listed on 'https://huggingface.co/models'"),
    Words("vllm", "missing-model", "OSError: v9 is not a valid git identifier (branch name, tag name or commit id) that exists for this model name."),
    Words("vllm", "hub-unreachable", "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the cached files."),
    Words("sglang", "hub-unreachable", "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded with url: /a/b"),
    Words("vllm", "hub-unreachable", "httpx.ConnectError: [Errno -2] Name or service not known", within=HUB),
    Words("sglang", "hub-unreachable", "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='mirror.lan', port=443): Max retries exceeded with url: /a/b", within=HUB),
    Words("vllm", "unknown", "socket.gaierror: [Errno -2] Name or service not known", sure=False),
    Words("sglang", "unknown", "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='minio.lan', port=443): Max retries exceeded with url: /bucket", sure=False),
    Words("sglang", "hub-busy", "huggingface_hub.errors.HfHubHTTPError: 429 Client Error: Too Many Requests for url: https://huggingface.co/api/models/a/b"),
    Words("vllm", "gated-model", "OSError: There was a specific connection error when trying to load a/b:\n(Request ID: Root=1-x)\n\n403 Forbidden: None.\nCannot access content at: https://huggingface.co/a/b/resolve/main/config.json."),
    Words("sglang", "gated-model", "huggingface_hub.errors.HfHubHTTPError: Client error '401 Unauthorized' for url 'https://huggingface.co/a/b/resolve/main/config.json' (Request ID: Root=1-x)\nFor more information check: https://developer.mozilla.org/en-US/docs/Web/HTTP/Status/401\n\nInvalid credentials in Authorization header"),
    Words("sglang", "missing-model", "huggingface_hub.errors.RepositoryNotFoundError: 401 Client Error. (Request ID: Root=1-x)\n\nRepository Not Found for url: https://huggingface.co/a/b/resolve/main/config.json."),
    Words("vllm", "missing-model", "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n  Value error, Invalid repository ID or local directory specified: 'Qwen/Qwen3-8b-typo'.\nPlease verify the following requirements:"),
    Words("vllm", "damaged-config", "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n  Value error, Invalid repository ID or local directory specified: './Qwen3-8b'.\nPlease verify the following requirements:"),
    Words("vllm", "missing-tokenizer", "ValueError: Couldn't instantiate the backend tokenizer from one of: \n(1) a `tokenizers` library serialization file, "),
    Words("sglang", "missing-tokenizer", "OSError: Can't load tokenizer for '/models/m'. If you were trying to load it from 'https://huggingface.co/models', make sure"),
    Words("vllm", "unreadable-file", "PermissionError: [Errno 13] Permission denied: '/models/m/config.json'"),
    Words("vllm", "damaged-weights", "RuntimeError: unexpected EOF, expected 1016 more bytes. The file might be corrupted."),
    Words("sglang", "damaged-weights", "RuntimeError: PytorchStreamReader failed reading zip archive: failed finding central directory"),
    Words("vllm", "unreadable-file", "safetensors_rust.SafetensorError: Permission denied (os error 13)"),
    # what this host cannot do
    Words("sglang", "quantization-unsupported", "ValueError: The quantization method nvfp4_online is not supported for the current GPU. Minimum capability: 100. Current capability: 90."),
    Words("vllm", "quantization-unsupported", "ValueError: Failed to find a kernel that can implement the WNA16 linear layer."),
    Words("sglang", "quantization-unsupported", "ValueError: torch.bfloat16 is not supported for quantization method gptq. Supported dtypes: [torch.float16]"),
    Words("sglang", "tensor-parallel", "AssertionError", within="__init__\n    assert self.total_num_heads % attn_tp_size == 0"),
    Words("vllm", "tensor-parallel", "AssertionError: 151937 is not divisible by 2", within=DIVIDED),
    Words("vllm", "unknown", "AssertionError: 4096 is not divisible by 128", within="create_weights", sure=False),
    Words("vllm", "too-few-gpus", "pydantic_core._pydantic_core.ValidationError: 1 validation error for ParallelConfig\n  Value error, World size (2) is larger than the number of available GPUs (1) in this node."),
    Words("sglang", "too-few-gpus", "torch.AcceleratorError: CUDA error: invalid device ordinal"),
    Words("sglang", "no-gpu", "RuntimeError: No CUDA GPUs are available"),
    Words("vllm", "no-gpu", "RuntimeError: Failed to infer device type, please set the environment variable `VLLM_LOGGING_LEVEL=DEBUG`"),
    Words("sglang", "no-gpu", "RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU"),
    Words("sglang", "driver", "ImportError: libcuda.so.1: cannot open shared object file: No such file or directory"),
    Words("vllm", "driver", "RuntimeError: Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before calling NumCudaDevices() that might have already set an error? Error 803: system has unsupported display driver / cuda driver combination"),
    Words("vllm", "driver", "RuntimeError: FlashInfer requires GPUs with sm75 or higher. Please install the correct driver first."),
    Words("vllm", "driver", "RuntimeError: The NVIDIA driver on your system is too old (found version 12080). Please update your GPU driver"),
    Words("sglang", "driver", "torch.AcceleratorError: CUDA error: CUDA driver version is insufficient for CUDA runtime version"),
    Words("vllm", "attention-backend", "ValueError: Selected backend AttentionBackendEnum.FLASHMLA is not valid for this configuration. Reason: ['non-MLA not supported']"),
    Words("sglang", "compiler-missing", "FileNotFoundError: [Errno 2] No such file or directory: 'ninja'"),
    Words("vllm", "compiler-missing", "subprocess.CalledProcessError: Command '['/usr/bin/gcc']' returned non-zero exit status 1.\n/tmp/x/main.c:5:10: fatal error: Python.h: No such file or directory"),
    Words("vllm", "compiler-missing", "RuntimeError: Ninja build failed. Ninja output:\nninja: Entering directory `/x'\nFAILED: [code=127] x.o\n/bin/sh: 1: /usr/local/cuda/bin/nvcc: not found"),
    Words("sglang", "compiler-missing", "torch._inductor.exc.InductorError: FileNotFoundError: [Errno 2] No such file or directory: '/usr/bin/gcc-12'"),
    Words("vllm", "number-format", "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla T4 GPU has compute capability 7.5.", changes={"dtype": "float16"}),
    Words("vllm", "wrong-build", "ImportError: libcudart.so.13: cannot open shared object file: No such file or directory"),
    Words("sglang", "wrong-build", "ImportError: /opt/engine/lib/python3.12/site-packages/sgl_kernel/common_ops.abi3.so: undefined symbol: _ZN3c104cuda9SetDeviceEab"),
    Words("vllm", "wrong-build", "torch.AcceleratorError: CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors might be asynchronously reported"),
    Words("vllm", "missing-library", "ImportError: libGL.so.1: cannot open shared object file: No such file or directory"),
    Words("sglang", "missing-library", "ImportError: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required by /opt/engine/x.so)"),
    Words("vllm", "unknown", "ModuleNotFoundError: No module named 'transformers_modules.my-model'", sure=False),
    Words("vllm", "missing-package", "/opt/engine/bin/python: No module named vllm.entrypoints", alone=True),
    Words("vllm", "illegal-instruction", "Fatal Python error: Illegal instruction", alone=True),
    Words("sglang", "illegal-instruction", "", alone=True, sure=False, status=-4),
    # memory of the GPU
    Words("vllm", "memory-in-use", "ValueError: Free memory on device cuda:0 (29.3/139.8 GiB) on startup is less than desired GPU memory utilization (0.92, 128.62 GiB). Decrease GPU memory utilization", changes={"memory_fraction": "0.2"}),
    Words("sglang", "memory-in-use", "ValueError: The memory capacity is unbalanced. Some GPUs may be occupied by other processes. pre_model_load_memory=10.1"),
    Words("vllm", "memory-in-use", "AssertionError: Error in memory profiling. Initial free memory 10.1 GiB, current free memory 20.2 GiB."),
    Words("vllm", "no-kv-room", "ValueError: To serve at least one request with the model's max seq len (40960), (5.62 GiB KV cache is needed, which is larger than the available KV cache memory (0.01 GiB). Try increasing"),
    Words("vllm", "no-kv-memory", "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine"),
    Words("sglang", "no-kv-memory", "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static. Current value: mem_fraction_static=0.05"),
    Words("vllm", "oom-load", OOM, within="load_model", changes={"weights": "fp8"}),
    Words("sglang", "oom-load", OOM, within="load_model", changes={"weights": "fp8"}),
    Words("vllm", "oom-sampler", "RuntimeError: CUDA out of memory occurred when warming up sampler with 1024 dummy requests. Please try lowering `max_num_seqs`", within="_dummy_sampler_run", changes={"max_concurrency": "512"}),
    Words("vllm", "oom-capture", OOM, within="capture_model", changes={"memory_fraction": "0.87"}),
    Words("sglang", "oom-capture", CAPTURE, within="init_decode_cuda_graph"),
    Words("vllm", "oom-profile", OOM, within="profile_run"),
    Words("vllm", "oom-kv", OOM, within="initialize_kv_cache_tensors", changes={"memory_fraction": "0.87"}),
    Words("sglang", "oom-kv", OOM, within="alloc_memory_pool"),
    Words("vllm", "oom-run", OOM, within="execute_model", serving=True, changes={"memory_fraction": "0.87"}),
    Words("sglang", "oom-run", OOM, within="event_loop_overlap", serving=True),
    Words("sglang", "oom-run", "RuntimeError: Prefill out of memory. Try to lower your batch size.\nTry to allocate 900 tokens.", serving=True),
    Words("sglang", "oom-run", "RuntimeError: alloc_req_slots runs out of memory. Please set a smaller number for `--max-running-requests`.", serving=True),
    Words("sglang", "oom", "RuntimeError: NCCL error: unhandled cuda error\nLast error:\nCuda failure 2 'out of memory'"),
    Words("sglang", "oom", "RuntimeError: Triton Error [CUDA]: out of memory", within="elsewhere"),
    # the host
    Words("sglang", "shm-full", "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:77, unhandled system error\nLast error:\nError while creating shared memory segment /dev/shm/nccl-lNPZ0f (size 7340384), error: No space left on device (28)"),
    Words("vllm", "shm-full", "host:202016:202235 [0] misc/shmutils.cc:88 NCCL WARN Error: failed to extend /dev/shm/nccl-WU88OE to 9637892 bytes", alone=True),
    Words("vllm", "bus-error", "Fatal Python error: Bus error", alone=True, sure=False),
    Words("vllm", "bus-error", "", alone=True, sure=False, status=-7),
    Words("vllm", "disk-full", "safetensors_rust.SafetensorError: Error while deserializing header: I/O error: No space left on device (os error 28)"),
    Words("sglang", "disk-full", "RuntimeError: write failed: No space left on device"),
    Words("vllm", "missing-weights", "FileNotFoundError: No such file or directory: /models/m/model.safetensors"),
    Words("vllm", "wrong-weights", "AssertionError: Attempted to load weight (torch.Size([512, 256])) into parameter (torch.Size([512, 512]))", within="load_weights"),
    Words("vllm", "compiler-missing", "torch._inductor.exc.InductorError: InvalidCxxCompiler: No working C++ compiler found in torch._inductor.config.cpp.cxx: (None, 'g++')"),
    Words("sglang", "compiler-missing", "RuntimeError: Ninja is required to load C++ extensions (pip install ninja to get it)"),
    Words("vllm", "host-memory", "MemoryError"),
    Words("sglang", "host-memory", "OSError: [Errno 12] Cannot allocate memory"),
    Words("vllm", "host-memory", "OSError: Cannot allocate memory (os error 12)"),
    Words("vllm", "missing-weights", "ValueError: Following weights were not initialized from checkpoint: {'model.norm.weight'}"),
    Words("vllm", "shm-full", "RuntimeError: unable to write to file </torch_31_1030151126_0>: No space left on device (28)"),
    Words("vllm", "shm-full", "OSError: [Errno 28] No space left on device", within='go\n    f()\n  File "/usr/lib/python3.12/multiprocessing/shared_memory.py", line 116, in __init__'),
    Words("vllm", "too-many-processes", "RuntimeError: can't start new thread"),
    Words("sglang", "too-many-processes", "OpenBLAS blas_thread_init: pthread_create failed for thread 3 of 64: Resource temporarily unavailable", alone=True),
    Words("vllm", "too-many-processes", "libgomp: Thread creation failed: Resource temporarily unavailable", alone=True),
    Words("vllm", "host-memory", "RuntimeError: [enforce fail at alloc_cpu.cpp:127] data. DefaultCPUAllocator: can't allocate memory: you tried to allocate 4294967296 bytes."),
    Words("sglang", "host-memory", "RuntimeError: unable to mmap 4096 bytes from file </models/m>: Cannot allocate memory (12)"),
    Words("vllm", "host-memory", "terminate called after throwing an instance of 'std::bad_alloc'", alone=True),
    Words("vllm", "host-memory", "(APIServer pid=1) ERROR 11-21 12:46:47 [core_client.py:1] Engine core proc EngineCore died unexpectedly, shutting down client.", alone=True, sure=False, oom_killed=True),
    Words("vllm", "port-forbidden", "PermissionError: [Errno 13] error while attempting to bind on address ('0.0.0.0', 80): [errno 13] permission denied"),
    Words("sglang", "port-forbidden", "ERROR:    [Errno 13] error while attempting to bind on address ('0.0.0.0', 80): [errno 13] permission denied", alone=True),
    Words("vllm", "unknown", "PermissionError: [Errno 13] Permission denied", sure=False),
    Words("sglang", "port-taken", "ValueError: port at 30000 is not available in 30 seconds. port at 30000 is not available"),
    Words("sglang", "port-taken", "ERROR:    [Errno 98] error while attempting to bind on address ('127.0.0.1', 8000): address already in use", alone=True),
    Words("vllm", "port-taken", "torch.distributed.DistNetworkError: The server socket has failed to listen on any local network address. port: 29500, useIpv6: false, code: -98, name: EADDRINUSE, message: address already in use"),
    # faults
    Words("vllm", "gpu-hardware", "torch.AcceleratorError: CUDA error: uncorrectable ECC error encountered", serving=True),
    Words("sglang", "cuda-error", "torch.AcceleratorError: CUDA error: an illegal memory access was encountered", serving=True),
    Words("vllm", "cuda-error", "[rank0]:[E1121 12:46:47.123 ProcessGroupNCCL.cpp:1896] [PG 0 Rank 0] Process group watchdog thread terminated with exception: CUDA error: an illegal memory access was encountered", alone=True, serving=True),
    Words("vllm", "unknown", "torch.AcceleratorError: CUDA error: unknown error", sure=False),
    Words("sglang", "cuda-error", f"{ABORTED}\nFatal Python error: Aborted\n{SIGQUIT}", alone=True, serving=True, status=-9),
    Words("vllm", "cuda-error", f"{ABORTED}\n{CORE_DIED}", alone=True, serving=True),
    Words("vllm", "nccl-error", "[rank0]:[E1121 12:46:47.123 ProcessGroupNCCL.cpp:688] [Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=5, OpType=ALLREDUCE) ran for 600001 milliseconds before timing out.", alone=True, serving=True, status=-6),
    Words("vllm", "nccl-error", "RuntimeError: NCCL error: unhandled system error (run with NCCL_DEBUG=INFO for details)"),
    Words("sglang", "hung", "[2026-11-21 12:46:47] Scheduler watchdog timeout (self.watchdog_timeout=300, self.soft=False)", alone=True, serving=True, status=-9),
    Words("sglang", "hung", "[2026-11-21 12:46:47] Watchdog timeout (self.watchdog_timeout=300)", alone=True, serving=True, status=-9, version="0.5.3"),
    Words("vllm", "hung", "TimeoutError: RPC call to execute_model timed out.", serving=True),
    Words("sglang", "cache-leak", "ValueError: token_to_kv_pool_allocator memory leak detected! available_size=1, evictable_size=2", serving=True),
    # what ends SGLang by SIGKILL of itself, and what an engine got over
    Words("sglang", "unknown", f"{RAISED}KeyError: 'weird'\n{SIGQUIT}", alone=True, sure=False, status=-9),
    Words("sglang", "host-memory", f"{RAISED}MemoryError", alone=True, serving=True, status=-9),
    Words("sglang", "unknown", f"{RAISED}ValueError: nobody knows", alone=True, sure=False, serving=True, status=-9),
    Words("sglang", "unknown", "assertion failed somewhere in C++: foo.cu:23 x != y", alone=True, sure=False, status=-9),
    Words("sglang", "unknown", f"{RAISED}MemoryError\n[2026-11-21 12:46:47] Decode batch, #running-req: 1", alone=True, sure=False, serving=True, status=-9),
    Words("vllm", "unknown", f"{RAISED}MemoryError\n(APIServer pid=1) INFO 11-21 12:50:00 [loggers.py:1] Engine 000: Running: 1 reqs", alone=True, sure=False, serving=True),
    Words("vllm", "host-memory", f"{RAISED}MemoryError\n(Worker pid=9) INFO 11-21 12:50:00 [multiproc_executor.py:843] Parent process exited, terminating worker queues", alone=True, serving=True),
    Words("vllm", "unknown", f'{RAISED}MemoryError\nINFO:     127.0.0.1:5 - "POST /v1/completions HTTP/1.1" 200 OK', alone=True, sure=False, serving=True),
    Words("vllm", "unknown", f"{RAISED}ImportError: cannot import name 'x'\n(APIServer pid=1) INFO 11-21 12:50:00 [a.py:1] loading weights\nsomething else", alone=True, sure=False),
    Words("vllm", "crashed", "Fatal Python error: Segmentation fault", alone=True, serving=True),
    Words("vllm", "crashed", "", alone=True, sure=False, status=-6),
    Words("vllm", "process-died", "(APIServer pid=1) ERROR 11-21 12:46:47 [core_client.py:1] Engine core proc EngineCore died unexpectedly, shutting down client.", alone=True, sure=False),
    Words("vllm", "crashed", "", alone=True, sure=False, status=-11),
    Words("vllm", "terminated", "KeyboardInterrupt: terminated"),
    Words("vllm", "terminated", "", alone=True, sure=False, status=-15),
    Words("vllm", "terminated", "", alone=True, sure=False, status=-2),
    Words("vllm", "terminated", "", alone=True, sure=False, status=-1),
]  # fmt: skip
