"""Where launches are found, in every form that people write them in."""

import shlex
from pathlib import Path

import pytest

from launcher.commands import launches, source
from tests.commands.finding import environment, found, only, texts, written

FILES = Path(__file__).parent / "files"
# What stands around a launch, one form a line; `LAUNCH` is the launch.
AROUND = r"""
LAUNCH
LAUNCH &
/opt/venv/bin/LAUNCH
.venv/bin/LAUNCH | tee log
$VENV/bin/LAUNCH
exec LAUNCH
nohup LAUNCH > log 2>&1 &
time LAUNCH
nice -n 5 LAUNCH
taskset -c 0-7 LAUNCH
numactl --cpunodebind=0 --membind 0 LAUNCH
stdbuf -oL LAUNCH 2>&1 | tee log
setsid LAUNCH </dev/null &
sudo -E -u llm LAUNCH
env A=b LAUNCH
A=b C=d LAUNCH
CUDA_VISIBLE_DEVICES=0,1 LAUNCH
timeout 60 LAUNCH || true
uv run LAUNCH
uv run --with vllm LAUNCH
uvx --from vllm LAUNCH
conda run -n x --no-capture-output LAUNCH
poetry run LAUNCH
srun --gpus 8 LAUNCH
sudo nohup env A=b nice LAUNCH &
$RUNNER LAUNCH
command LAUNCH
! LAUNCH
cd x && LAUNCH && y
if true; then LAUNCH; fi
x | LAUNCH
(LAUNCH)
{ LAUNCH; }
pid=$(LAUNCH & echo $!)
systemd-run --unit x LAUNCH
tini -- LAUNCH
for i in 1; do LAUNCH; done
while true; do LAUNCH; sleep 1; done
bash -c 'LAUNCH'
sh -lc "LAUNCH"
bash -c "bash -c 'LAUNCH'"
sudo bash -c 'cd x; exec LAUNCH'
ssh host 'LAUNCH'
ssh -p 22 u@h "cd x && nohup LAUNCH &"
eval 'LAUNCH'
tmux new -d -s x 'LAUNCH'
tmux send-keys -t x "LAUNCH" Enter
screen -dmS x bash -c 'LAUNCH'
su - llm -c 'LAUNCH'
docker exec -it -e A=b c LAUNCH
docker exec c bash -c 'LAUNCH'
docker run --rm -it --gpus all image LAUNCH
docker run image bash -c 'LAUNCH'
docker run --entrypoint '' vllm/vllm-openai:v0.11.0 LAUNCH
podman run -d --name x -p80:80 image LAUNCH
kubectl exec -it pod -- LAUNCH
""".strip().splitlines()
AROUND += [
    "cat <<E | bash\nLAUNCH\nE",
    "cat > run.sh <<'E'\n#!/bin/sh\nLAUNCH \\\n\nE",
    "cat > x.service <<E\n[Service]\nExecStart=/x/LAUNCH\nE",
    "bash <<< x\nLAUNCH",
    "function f() {\n\tLAUNCH\n}\n",
    "case $1 in\n  a|b)\n    LAUNCH ;;\nesac",
]
# Containers whose image or entry point runs `vllm serve`, and gets these words.
CONTAINERS = """
docker run --entrypoint vllm image serve m --x
docker run -itd -v a:b --env A=b -eC=d --shm-size 16g --ipc=host vllm/vllm-openai:v0.11.0 m --x
docker container run vllm/vllm-openai m --x
docker run $OPTIONS vllm/vllm-openai m --x
sudo docker run -dp 80:80 vllm/vllm-openai m --x
""".strip().splitlines()
PYTHONS = """
python
python3.11
/usr/bin/python3 -u
python3 -X importtime -u
$PY
${PY:-python3}
uv run python
nohup .venv/bin/python
A=b exec python3
docker run --gpus all lmsysorg/sglang:v0.5.6 python3
""".strip().splitlines()


@pytest.mark.parametrize("around", AROUND)
def test_a_launch_is_found_in(around: str) -> None:
    launch = only(f"#!/bin/bash\n{around.replace('LAUNCH', 'vllm serve m --x')}\n")
    assert (launch.engine, launch.entry, texts(launch)) == ("vllm", "serve", ["m", "--x"])


@pytest.mark.parametrize("command", CONTAINERS)
def test_a_launch_is_found_in_a_container(command: str) -> None:
    launch = only(f"{command}\n")
    assert (launch.engine, launch.entry, texts(launch)) == ("vllm", "serve", ["m", "--x"])


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize(
    ("module", "engine", "entry"),
    [
        ("vllm.entrypoints.openai.api_server", "vllm", "api_server"),
        ("vllm.entrypoints.cli.main serve", "vllm", "serve"),
        ("sglang.launch_server", "sglang", "launch_server"),
        ("sglang.cli.main serve", "sglang", "serve"),
    ],
)
def test_a_module_is_a_launch(python: str, module: str, engine: str, entry: str) -> None:
    launch = only(f"{python} -m {module} --model m\n")
    assert (launch.engine, launch.entry, texts(launch)) == (engine, entry, ["--model", "m"])
    assert launch.program[-1].text in module.split()


@pytest.mark.parametrize(
    ("command", "engine", "entry", "words"),
    [
        ("docker run vllm/vllm-openai --model m", "vllm", "api_server", ["--model", "m"]),
        ("docker run vllm/vllm-openai", "vllm", "serve", []),
        ("sglang serve --model-path m", "sglang", "serve", ["--model-path", "m"]),
        ("/x/sglang serve", "sglang", "serve", []),
        ("vllm serve", "vllm", "serve", []),
    ],
)
def test_a_launch_is(command: str, engine: str, entry: str, words: list[str]) -> None:
    launch = only(f"{command}\n")
    assert (launch.engine, launch.entry, texts(launch)) == (engine, entry, words)


NOTHING = """

echo vllm serve m
# vllm serve m
pip install vllm
vllm bench serve m
vllm --help
vllm
vllm-serve m
python -m vllm
python vllm serve m
sglang
python -m sglang.bench_serving
docker run
docker run image --model m
docker pull vllm/vllm-openai
x='vllm serve m'
grep 'vllm serve' x
ssh host ls
echo 'bash -c "vllm serve m"'
test -m sglang.launch_server
printf '%s' "vllm serve's flags"
git commit -m 'bash: vllm serve'
""".splitlines()


@pytest.mark.parametrize("text", [*NOTHING, "cat <<E\nrun vllm's server\nE", "vllm\nserve m"])
def test_nothing_is_found_in(text: str) -> None:
    held = found(f"{text}\n")
    assert (held.launches, held.troubles) == ((), ())


def test_the_program_is_told_from_what_runs_it() -> None:
    text = "sudo -E nohup .venv/bin/python -u -m sglang.launch_server --x\n"
    launch = only(text)
    assert [word.text for word in launch.program] == [".venv/bin/python", "-u", "-m", "sglang.launch_server"]
    assert not launch.prefix
    assert only("A=b vllm serve m\n").prefix


@pytest.mark.parametrize(
    ("image", "release"),
    [
        ("vllm/vllm-openai:v0.11.0", "0.11.0"),
        ("docker.io/vllm/vllm-openai:v0.11.0-x86_64", "0.11.0"),
        ("vllm/vllm-openai:v0.11.1rc2", "0.11.1rc2"),
        ("lmsysorg/sglang:v0.5.6.post2-cu126", "0.5.6.post2"),
        ("lmsysorg/sglang:v0.5.3@sha256:0123", "0.5.3"),
        ("lmsysorg/sglang:latest", None),
        ("nvcr.io/nvidia/vllm:25.09-py3", None),
        ("vllm/vllm-openai", None),
        ("vllm/vllm-openai:v0.11", None),
        ("$IMAGE", None),
    ],
)
def test_an_image_names_a_release(image: str, release: str | None) -> None:
    launch = only(f"docker run --gpus all {image} {'' if 'openai' in image else 'vllm serve '}m\n")
    assert launch.image == image.replace("$IMAGE", "\0")
    assert launch.release == release
    assert texts(launch) == ["m"]


def test_variables_of_a_container_are_those_that_it_is_given() -> None:
    text = "export A=1\nB=2 docker run -e C=3 --env D='4 5' --env=E=6 -eF=7 vllm/vllm-openai m\n"
    launch = only(text)
    assert environment(launch) == {"C": "3", "D": "4 5", "E": "6", "F": "7"}
    assert [text[word.start : word.end] for _, word in launch.environment] == ["3", "4 5", "6", "7"]


def test_a_doubled_entry_point_is_told() -> None:
    text = "docker run vllm/vllm-openai:latest vllm serve m --x\n"
    held = found(text)
    assert [texts(launch) for launch in held.launches] == [["m", "--x"]]
    assert text[held.troubles[0].start : held.troubles[0].end] == "vllm serve"


@pytest.mark.parametrize(
    ("path", "text", "kind"),
    [
        ("run.sh", "ls\n", "shell"),
        ("run", "#!/bin/sh\nvllm serve m\n", "shell"),
        ("x.service", "", "unit"),
        ("10-x.conf", "[Service]\n", "unit"),
        ("x", "# comment\n[Unit]\n[Service]\n", "unit"),
        ("x", "ls <<E\n[Service]\nE\n", "shell"),
        ("compose.yaml", "services: {}\n", "compose"),
        ("x", "services:\n  a:\n", "compose"),
        ("x.yml", "kind: Pod\n", "manifest"),
        ("x.json", '{"apiVersion": "v1"}', "manifest"),
        ("x", "apiVersion: v1\nkind: Pod\n", "manifest"),
        ("x.yaml", "model: demo\nengine: vllm\n", "config"),
        ("x.yaml", "", "config"),
        ("x.yaml", "a: [\n", "config"),
        ("x", "", "shell"),
    ],
)
def test_what_a_file_is_read_as(path: str, text: str, kind: str) -> None:
    assert found(text, path).kind == kind


def test_a_script_of_another_language_is_told() -> None:
    for path, text in (
        ("x", "#!/usr/bin/env python3\nprint('x\n"),
        ("x", "#!/usr/bin/perl -w\n"),
        ("x.py", "x = '''\n"),
    ):
        held = found(text, path)
        assert (held.kind, held.launches) == ("shell", ())
        assert "not a shell script" in held.troubles[0].what
    assert found("#!/usr/bin/env -S bash -eu\nvllm serve m\n", "x").launches


def _summary(name: str) -> list[object]:
    read = source.read(FILES / name)
    held = launches.find(read)
    assert held.troubles == ()
    rows: list[object] = [held.kind]
    for launch in held.launches:
        place = read.place(launch.program[0].start)
        rows.append((*place, launch.engine, launch.entry, launch.release, texts(launch), environment(launch)))
    return rows


def test_a_script_with_nohup() -> None:
    words = shlex.split("""
        /data/models/InternVL2-8B --served-model-name InternVL2-8B --api-key ? --tensor-parallel-size 2
        --gpu-memory-utilization=0.9 --dtype half --max-model-len 4096 --trust_remote_code
        --limit-mm-per-prompt '{"image": 4}' --port 8000
    """)
    variables = {"HF_ENDPOINT": "https://hub.example", "CUDA_VISIBLE_DEVICES": "0,1"}
    launch = (18, 7, "vllm", "serve", None, words, variables)
    assert _summary("nohup.sh") == ["shell", launch]


def test_a_script_with_an_array() -> None:
    words = shlex.split("""
        --model-path Qwen/Qwen3-VL-8B-Instruct --host 0.0.0.0 --port 8000 --mem-fraction-static 0.85
        [--api-key] [?] [--speculative-algorithm] [EAGLE3] [--speculative-num-steps] [3] ?...
    """)
    assert _summary("start_server.sh") == ["shell", (25, 10, "sglang", "launch_server", None, words, {})]


def test_a_unit() -> None:
    words = shlex.split("""
        --model-path /models/? --host 0.0.0.0 --port 8000 --served-model-name 'Qwen3 VL'
        --json-model-override-args '{"a": "bA"}' --schedule-policy lpm --max-running-requests 48 --api-key ?
    """)
    variables = {"CUDA_VISIBLE_DEVICES": "0", "HF_HOME": "/opt/dlami/nvme/hf", "PORT": "8000"}
    variables["FLAGS"] = "--schedule-policy lpm --max-running-requests 48"
    launch = (10, 11, "sglang", "launch_server", None, words, variables)
    assert _summary("qwen3vl-sglang.service") == ["unit", launch]


def test_a_compose_file() -> None:
    chat = ["--model", "Qwen/Qwen3-8B", "--port", "8000", "--override-generation-config", '{"temperature": 0.6}']
    chat += ["--max-model-len", "4096"]
    vision = ["--model-path", "Qwen/Qwen3-VL-8B-Instruct", '--served-model-name=vision \u00fc "v"', "--port", "30000"]
    assert _summary("compose.yaml") == [
        "compose",
        (10, 12, "vllm", "api_server", "0.11.0", chat, {"HF_TOKEN": "?", "VLLM_USE_V1": "1"}),
        (17, 18, "sglang", "launch_server", "0.5.6.post2", vision, {"SGLANG_LOG": "1"}),
        (27, 28, "vllm", "serve", None, ["Qwen/Qwen3-0.6B", "--seed", "7"], {"MODEL": "Qwen/Qwen3-0.6B"}),
    ]


def test_a_manifest() -> None:
    model = "Qwen/Qwen3-14B"
    served = ["Qwen/Qwen3-8B", "--port", "8080", "--api-key=?", "--x", "$(PORT)"]
    assert _summary("deployment.yaml") == [
        "manifest",
        (7, 10, "vllm", "serve", None, ["/models/a", "--port", "9000"], {}),
        (16, 18, "vllm", "serve", "0.12.0", served, {"PORT": "8080", "KEY": "?"}),
        (28, 15, "sglang", "launch_server", None, ["--model-path", model, "--tp", "2"], {"MODEL": model}),
    ]


def test_windows_line_ends_a_byte_order_mark_tabs_and_other_alphabets_keep_their_places(tmp_path: Path) -> None:
    text = "\ufeff# \u65e5\u672c\r\n\tvllm serve 'm\u00fc' \\\r\n\t\t--port 8000\r\n"
    (tmp_path / "run.sh").write_bytes(text.encode())
    read = source.read(tmp_path / "run.sh")
    launch = launches.find(read).launches[0]
    assert texts(launch) == ["m\u00fc", "--port", "8000"]
    assert written(launch, read.text) == ["'m\u00fc'", "--port", "8000"]
    assert [read.place(word.start) for word in launch.words] == [(2, 13), (3, 3), (3, 10)]
    assert source.Source("", "\ufeffvllm").place(1) == (1, 1)
