vllm serve m --swap-space 4
vllm serve m --cohere-format auto
vllm serve m --max-model-lenn 8192
vllm serve m --nothing-like-it
vllm serve m --tp-size 2
vllm serve m --gpu-memory-utilization=high
vllm serve m --no-enable-prefix-caching=true --enable-chunked-prefill=False
vllm serve m --enforce-eager off
vllm serve --served-model-name m --port 80
vllm serve m --device cuda
vllm serve m --max-model-le 8k
vllm serve m --calculate-kv-scales
vllm serve m --seed 1 --seed=2
vllm serve m --quantization no-such-method
python3 -m vllm.entrypoints.openai.api_server m --port 80
vllm serve m --api-key sk-123 --hf-token=hf_123
VLLM_ATTENTION_BACKEND=FLASHINFER vllm serve m
vllm serve m --config=serve.yaml
vllm serve m $MORE
vllm serve m --port 80 -tp 2 -O3 --limit-mm-per-prompt.image 2
