"""The vocabulary: each key declared once. Options, variables, validation, schema and tables are derived from here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from launcher.config.values import Choice, Flag, Fraction, Many, Text, Type, Whole

ENGINES = ("vllm", "sglang")
COUNT = Whole(1, 4096)
TOKENS = Whole(1, 2**31 - 1, tokens=True, metavar="TOKENS")


def option(name: str) -> str:
    """The command-line option that a key's name gives."""
    return "--" + name.replace(".", "-").replace("_", "-")


@dataclass(frozen=True)
class Key:
    """One name of the portable vocabulary.

    Attributes:
        name: as written in YAML; a dot stands for nesting (``speculative.steps``).
        type: what its value may be.
        help: what it asks for, with its unit, in one sentence.
        group: the heading under which help and tables list it.
        default: the launcher's own value as text, the lowest layer; None leaves the matter to the engine.
        option: the command-line option; derived from the name unless given.
    """

    name: str
    type: Type
    help: str
    group: str
    default: str | None = None
    option: str = field(default="")

    def __post_init__(self) -> None:
        if not self.option:
            object.__setattr__(self, "option", option(self.name))

    @property
    def variable(self) -> str:
        """The environment variable that sets it, such as ``SERVE_CONTEXT_LENGTH``."""
        return "SERVE_" + self.name.replace(".", "_").upper()


KEYS: tuple[Key, ...] = (
    Key("engine", Text("auto|vllm|sglang[@VERSION]", r"(auto|vllm|sglang)(@\S+)?", "auto, vllm, sglang or one of them with @VERSION"),
        "The engine, with or without its release; auto takes what is installed, vLLM first.", "engine", "auto"),
    Key("engine_version", Text("VERSION", r"\d[\w.+!-]*", "a version such as 0.32.0"), "The engine's release; the same as ENGINE@VERSION.", "engine"),
    Key("engine_python", Text("PATH"), "The Python of an environment of your own that holds the engine.", "engine"),
    Key("model", Text("MODEL"), "A local folder, a repository id of a model hub, or demo.", "model"),
    Key("revision", Text("REVISION"), "A branch, tag or commit of the repository.", "model"),
    Key("source", Choice(("auto", "huggingface", "modelscope", "local")), "Where a repository id is looked up.", "model", "auto"),
    Key("served_name", Text("NAME"), "The model's name in the API; the model's own name unless given.", "model"),
    Key("trust_remote_code", Flag(), "Run Python code that comes with the checkpoint.", "model"),
    Key("chat_template", Text("PATH"), "A Jinja chat template in place of the checkpoint's.", "model"),
    Key("dtype", Choice(("auto", "bfloat16", "float16", "float32"), also={"half": "float16", "bf16": "bfloat16"}),
        "The type of unquantized weights and activations.", "model"),
    Key("host", Text("ADDRESS", r"[A-Za-z0-9.:_-]+", "an address"), "The address to bind.", "server", "127.0.0.1"),
    Key("port", Whole(1, 65535, metavar="PORT"), "The TCP port to bind.", "server", "8000"),
    Key("api_key", Text("auto|env|file[:PATH]|none", r"auto|env|none|file(:.+)?", "auto, env, file, file:PATH or none (a key itself goes into SERVE_API_KEY, never into a file or argument)"),
        "Where the API key comes from: made on first use, the variable SERVE_API_KEY, a file, or none.", "server", "none"),
    Key("allow_unauthenticated", Flag(), "Serve other hosts without an API key.", "server", "false"),
    Key("weights", Many(Choice(("none", "fp8", "int8", "int4"))), "How weights are quantized at load: intents in order, the first that works here is taken.", "memory"),
    Key("kv_cache", Choice(("auto", "fp8", "fp8_e4m3", "fp8_e5m2")), "The type of the KV cache.", "memory"),
    Key("context_length", Choice(("auto",), other=TOKENS), "Tokens a request may hold, prompt and answer; auto lets the engine fit it to the memory if it can.", "memory"),
    Key("memory_fraction", Fraction(), "The share of GPU memory: of the whole server in vLLM, of weights and KV cache in SGLang.", "memory"),
    Key("max_concurrency", Whole(1, 1_000_000), "Requests that run at the same time.", "throughput"),
    Key("prefill_tokens", TOKENS, "Tokens of prefill in one step of the scheduler.", "throughput"),
    Key("scheduling", Choice(("fcfs", "priority", "longest_prefix")), "The order in which waiting requests start.", "throughput"),
    Key("prefix_cache", Flag(), "Keep and reuse the KV cache of shared prefixes.", "throughput"),
    Key("cuda_graphs", Choice(("auto", "off"), other=Whole(1, 8192)), "CUDA graphs: auto, off, or the largest batch that gets one.", "throughput"),
    Key("torch_compile", Choice(("auto", "on", "off")), "torch.compile of the model.", "throughput"),
    Key("attention_backend", Text("NAME", r"[A-Za-z0-9_.-]+", "a name of one word"), "The engine's attention kernels, by the engine's own name.", "throughput"),
    Key("tensor_parallel", COUNT, "GPUs that share each layer.", "parallelism"),
    Key("pipeline_parallel", COUNT, "Groups of GPUs that hold consecutive layers.", "parallelism"),
    Key("data_parallel", COUNT, "Replicas of the model behind one address.", "parallelism"),
    Key("nodes.count", COUNT, "Hosts that serve one model together.", "parallelism"),
    Key("nodes.rank", Whole(0, 4095), "This host's number among them, from 0.", "parallelism"),
    Key("nodes.address", Text("HOST:PORT", r"\S+:\d{1,5}", "HOST:PORT"), "Where the first host listens for the others.", "parallelism"),
    Key("speculative.method", Choice(("eagle3",)), "How draft tokens are made.", "speculative decoding"),
    Key("speculative.draft_model", Text("MODEL"), "The draft model: a local folder or a repository id.", "speculative decoding"),
    Key("speculative.steps", Whole(1, 64), "Draft steps before each verification.", "speculative decoding"),
    Key("speculative.topk", Whole(1, 64), "Branches a draft step keeps (a tree; vLLM has none).", "speculative decoding"),
    Key("speculative.draft_tokens", Whole(1, 1024), "Draft tokens verified at once.", "speculative decoding"),
    Key("reasoning_parser", Text("NAME", r"[A-Za-z0-9_.-]+", "a name of one word"), "Splits thoughts from answers, by the engine's own name.", "output"),
    Key("tool_call_parser", Text("NAME", r"[A-Za-z0-9_.-]+", "a name of one word"), "Reads tool calls, by the engine's own name.", "output"),
    Key("multimodal.images", Whole(0, 4096), "Images a request may hold.", "output"),
    Key("multimodal.videos", Whole(0, 4096), "Videos a request may hold.", "output"),
    Key("metrics", Flag(), "Prometheus metrics at /metrics (vLLM always has them).", "supervision"),
    Key("log_level", Choice(("debug", "info", "warning", "error")), "How much the engine logs.", "supervision"),
    Key("restart", Choice(("never", "on-failure")), "What happens when the engine fails: on-failure starts it again if that can help, a few times an hour.", "supervision", "never"),
    Key("stall_timeout", Whole(10, 7 * 86400, metavar="SECONDS"), "Seconds without any progress until a start is given up.", "supervision", "600"),
    Key("hang_timeout", Whole(10, 7 * 86400, metavar="SECONDS"), "Seconds without a token, while requests run, until a server counts as hung.", "supervision", "120"),
    Key("wait_timeout", Whole(1, 7 * 86400, metavar="SECONDS"), "Seconds until a start that is not ready is given up, progress or not; no bound unless given.", "supervision", option="--timeout"),
)  # fmt: skip

BY_NAME: dict[str, Key] = {key.name: key for key in KEYS}
GROUPS: dict[str, frozenset[str]] = {
    # nested names: group -> its members
    head: frozenset(key.name.split(".")[1] for key in KEYS if key.name.startswith(head + "."))
    for head in dict.fromkeys(key.name.split(".")[0] for key in KEYS if "." in key.name)
}
# Maps whose inner names are the user's: env.NAME, and args.ENGINE.FLAG (the engine's own flags, checked by its catalog).
OPEN_MAPS = {"env": "variables for the engine's process", "args": "flags of one engine, by engine"}


def settable() -> tuple[str, ...]:
    """Every name that may stand at the top of a file."""
    return tuple(dict.fromkeys([key.name.split(".")[0] for key in KEYS] + list(OPEN_MAPS)))


def defaults() -> dict[str, Any]:
    """The launcher's own values, as text."""
    return {key.name: key.default for key in KEYS if key.default is not None}
