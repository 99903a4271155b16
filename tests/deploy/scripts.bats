#!/usr/bin/env bats
# The scripts that are thin over the CLI: which words their variables become, by a `serve` that prints what it is given.

setup() {
    DEPLOY=$ROOT/deploy
    mkdir "$BATS_TEST_TMPDIR/bin"
    printf '#!/bin/sh\nfor word in serve "$@"; do printf "<%%s>" "$word"; done\n' >"$BATS_TEST_TMPDIR/bin/serve"
    chmod +x "$BATS_TEST_TMPDIR/bin/serve"
    PATH=$BATS_TEST_TMPDIR/bin:/usr/bin:/bin
    unset NAME MODEL PRESET ENGINE HOST PORT SOURCE TO SERVE_API_KEY CUDA_VISIBLE_DEVICES DRAFT_MODEL
}

@test "start_server.sh: every variable, then what else is given" {
    export MODEL="a b'c" PRESET=high_performance ENGINE=sglang HOST=0.0.0.0 PORT=8100
    export MEM_FRACTION_STATIC=0.8 SOURCE=modelscope
    run "$DEPLOY/start_server.sh" --api-key auto
    words="<serve><launch><a b'c><--preset><high_performance><--port><8100><--engine><sglang><--host><0.0.0.0>"
    [ "$output" = "$words<--memory-fraction><0.8><--source><modelscope><--api-key><auto>" ]
}

@test "start_server_eagle3.sh: the preset eagle3, for another model with its draft" {
    run "$DEPLOY/start_server_eagle3.sh"
    [ "$output" = "<serve><launch><--preset><eagle3>" ]
    MODEL=a/b DRAFT_MODEL=a/c run "$DEPLOY/start_server_eagle3.sh" --dry-run
    [ "$output" = "<serve><launch><a/b><--preset><eagle3><--speculative-draft-model><a/c><--dry-run>" ]
}

@test "called by a link, they find what is beside them" {
    for script in start_server start_server_eagle3 install_service download_model; do
        ln -s "$DEPLOY/$script.sh" "$BATS_TEST_TMPDIR/bin/$script"
        MODEL=a/b run "$script"
        [[ "$output" == "<serve>"*"<a/b>"* ]]
    done
}

@test "install_service.sh: a name, a key that is made, the GPUs" {
    NAME=qwen3 MODEL=a/b CUDA_VISIBLE_DEVICES=0,1 run "$DEPLOY/install_service.sh" --tensor-parallel 2
    words="<serve><service><install><qwen3><a/b><--preset><balanced><--api-key><auto>"
    [ "$output" = "$words<--set><env.CUDA_VISIBLE_DEVICES=0,1><--tensor-parallel><2>" ]
    SERVE_API_KEY=sk-x run "$DEPLOY/install_service.sh"
    [ "$output" = "<serve><service><install><main><--preset><balanced>" ]
}

@test "download_model.sh: a model, from where, to where" {
    run "$DEPLOY/download_model.sh"
    [ "$status" -eq 2 ]
    [[ "$output" == *"no model is named"* ]]
    MODEL=a/b SOURCE=modelscope TO="/a b" run "$DEPLOY/download_model.sh" --revision main
    [ "$output" = "<serve><models><pull><a/b><--source><modelscope><--to></a b><--revision><main>" ]
    PRESET=eagle3 run "$DEPLOY/download_model.sh"
    [ "$output" = "<serve><models><pull><--preset><eagle3>" ]
}

@test "without serve they say what to do" {
    rm "$BATS_TEST_TMPDIR/bin/serve"
    cp -r "$DEPLOY" "$BATS_TEST_TMPDIR/deploy" # of which no .venv is beside
    for script in start_server start_server_eagle3 install_service download_model; do
        MODEL=a/b run "$BATS_TEST_TMPDIR/deploy/$script.sh"
        [ "$status" -eq 2 ]
        [[ "$output" == *"serve is not on PATH"*"deploy/install.sh"* ]]
    done
}
