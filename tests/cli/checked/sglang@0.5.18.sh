sglang serve m --enable-expert-distribution-metrics
sglang serve m --enable-flashinfer
sglang serve m --cuda-graph-max-bs 8
sglang serve m --speculative-ngram-ext 3
sglang serve m --gpu-memory-utilization 0.5
SGLANG_USE_CUDA_IPC_TRANSPORT=1 sglang serve m
sglang serve --port 80
python3 -m sglang.launch_server --model-path m --tp 2 --port 80
