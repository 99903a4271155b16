"""Which files of a repository an engine needs: one format of the weights, and all that is small beside them."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import PurePosixPath

from launcher.errors import ServeError
from launcher.models.repository import File

# Formats of weights, the best first: of the first that a repository has, everything is taken, of the others nothing.
FORMATS = ((".safetensors",), (".bin",), (".pt", ".pth"), (".gguf",))
INDEX = ".index.json"  # of a format's shards, such as pytorch_model.bin.index.json
# The same weights for other programs: folders and endings that neither engine reads.
OTHER_FOLDERS = ("original", "onnx", "openvino", "coreml", "metal", "runs", "checkpoint-*", "global_step*", ".*")
OTHER_ENDINGS = (".onnx", ".onnx_data", ".h5", ".msgpack", ".ckpt", ".tflite", ".mlmodel", ".ot", ".nemo", ".keras")
# What people look at, and what training leaves.
PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg", ".mp4", ".mov", ".webm", ".mp3", ".wav", ".pdf", ".ipynb")
LEFTOVERS = ("training_args.bin", "optimizer*", "scheduler.*", "scaler.*", "rng_state*", "events.out.tfevents*")
MISTRAL = "consolidated*"  # Mistral's own layout of the same weights, beside the usual one


def needed(files: tuple[File, ...], include: tuple[str, ...] = ()) -> tuple[File, ...]:
    """The files to fetch.

    Args:
        files: all of a repository.
        include: patterns of a shell; where some are given they decide alone.

    Raises:
        ServeError: a pattern takes no file; there is nothing but GGUF files, of which each is a whole model.
    """
    if include:
        for pattern in include:
            if not any(fnmatch(file.path, pattern) for file in files):
                raise ServeError(f"no file of the repository is named {pattern!r}", where="--include")
        return tuple(file for file in files if any(fnmatch(file.path, pattern) for pattern in include))
    kept = [file for file in files if not _for_others(PurePosixPath(file.path))]
    found = next((endings for endings in FORMATS if any(_is(file, endings) for file in kept)), ())
    if found == (".gguf",) and len(choices := [file.path for file in kept if _is(file, found)]) > 1:
        texts = " --include '*.json'" if any(file.path.endswith(".json") for file in kept) else ""
        raise ServeError(
            f"the repository holds {len(choices)} GGUF files, and each may be a model of its own",
            fix=f"name what you want, such as --include {choices[0]!r}{texts}",
        )
    others = tuple(ending for endings in FORMATS if endings != found for ending in endings)
    kept = [file for file in kept if not _is(file, others)]
    usual = [file for file in kept if not fnmatch(PurePosixPath(file.path).name, MISTRAL)]
    return tuple(usual if any(_is(file, found) for file in usual) else kept)


def _is(file: File, endings: tuple[str, ...]) -> bool:
    return file.path.removesuffix(INDEX).lower().endswith(endings) if endings else False


def _for_others(path: PurePosixPath) -> bool:
    folders = path.parts[:-1]
    return (
        any(fnmatch(folder, pattern) for folder in folders for pattern in OTHER_FOLDERS)
        or path.name.startswith(".")
        or path.name.lower().endswith((*OTHER_ENDINGS, *PICTURES))
        or any(fnmatch(path.name, pattern) for pattern in LEFTOVERS)
    )
