#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: checks the CUDA backend, then measures it.
#
#   bench/gpu/run.sh [BUILD]      BUILD [build/gpu] is configured if it is not there
#
# Conformance, contract and golden tests, compute-sanitizer on a short run, then
# single operations and whole passes of the 4B and 1B shapes with random weights,
# beside the floors of this machine and PyTorch in bf16, both left out without
# PyTorch. Ends with one table of all of them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build=${1:-build/gpu}
command="bench/gpu/run.sh${1:+ $1}"

# What runs here works on token ids: neither tokenizer tables nor a hub.
if [[ ! -f $build/build.ninja ]]; then
  cmake -G Ninja -B "$build" -DCMAKE_BUILD_TYPE=Release -DCARAT_CUDA=ON \
    -DCARAT_CLI=OFF -DCARAT_EXAMPLES=OFF -DCARAT_HUB=OFF -DCARAT_UTF8PROC=OFF
fi
ninja -C "$build" cuda_test model_test engine_test backend_test gpu_bench
device=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | head -1)
echo "$device"
date -u +%F

"$build/cuda_test" --gtest_brief=1
"$build/model_test" --gtest_brief=1 --gtest_filter='*uda*'
"$build/engine_test" --gtest_brief=1 --gtest_filter='*uda*'
"$build/backend_test" --gtest_brief=1 --gtest_filter='RegistryTest.*'
if command -v compute-sanitizer >/dev/null; then
  # Linear layers, heads and every kind of attention, a few times each.
  some='CudaLinear.Several*:CudaLinear.Gated*:*CudaFus*'
  for tool in memcheck racecheck synccheck; do
    compute-sanitizer --tool "$tool" --error-exitcode 1 \
      "$build/cuda_test" --gtest_brief=1 --gtest_filter="$some" | tail -2
  done
else
  echo "compute-sanitizer is not there: left out"
fi

"$build/op_bench"
results=$build/gpu-results.jsonl
rm -f "$results"
carat() { # SHAPE WEIGHTS MODE...
  "$build/synthetic_bench" --json "$results" --weights "$2" "$1" cuda "${@:3}"
}
carat 4b q4_0 prefill decode sweep
carat 4b mlx4 prefill=577 decode=577
carat 1b q4_0 prefill decode sweep
if python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
  python3 bench/gpu/torch_peer.py --json "$results" ||
    echo "PyTorch's times are left out from where it failed"
  python3 bench/gpu/floors.py --json "$results"
else
  echo "PyTorch with CUDA is not there: neither floors nor peers"
fi
python3 bench/gpu/table.py "$results" --device "$device" --command "$command"
