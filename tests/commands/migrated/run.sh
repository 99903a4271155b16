#!/bin/bash
# vllm serve --swap-space 4, as ever
PORT=8000
EXTRA=(
  --swap-space 4   # V0 only
  "--guided-decoding-backend" 'xgrammar'
)
EXTRA+=(--num-scheduler-steps 8 --swap-space 4)
exec vllm serve "$MODEL" \
	--port $PORT --host "$HOST" \
    '--tp-size' ${TP:-2} --swap-space=4 \
    --mem-fraction-static="0.$SHARE" "${EXTRA[@]}" > log 2>&1
echo --swap-space 4
