#!/usr/bin/env python3
"""Times OpenVINO's 4-bit linear layers beside a whole carat prefill.

OpenVINO has no Gemma 3 of random weights to open, so it gets the linear layers
of one transformer layer of the shape, with 4-bit codes in groups of 32 and its
dynamic int8 quantisation of activations (groups of 32, as carat's); its time
times the number of layers is less than its prefill would take. carat runs the
whole prefill of the same shape in Q4_0 (carat bench --shape). In turn, medians.

  pip install openvino numpy
  bench/peers/compare_openvino.py --shape gemma3-1b
"""
import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
GROUP = 32

# hidden, query width, key and value width, feed-forward width, layers
SHAPES = {
    "gemma3-270m": (640, 1024, 256, 2048, 18),
    "gemma3-1b": (1152, 1024, 256, 6912, 26),
    "gemma3-4b": (2560, 2048, 1024, 10240, 34),
}


def linear(ov, ops, numpy, random, kept, x, rows, cols):
    """x [tokens, cols] times 4-bit weights [rows, cols], transposed.

    The model only refers to the codes: `kept` must live as long as it.
    """
    groups = cols // GROUP
    packed = random.integers(0, 256, rows * cols // 2, dtype=numpy.uint8)
    kept.append(packed)
    codes = ov.Tensor(packed, ov.Shape([rows, groups, GROUP]), ov.Type.u4)
    scales = random.uniform(0.01, 0.02, (rows, groups, 1)).astype(numpy.float16)
    zero = ops.convert(ops.constant(numpy.uint8(8)), "f16")
    weight = ops.subtract(ops.convert(ops.constant(codes), "f16"), zero)
    weight = ops.multiply(weight, ops.constant(scales))
    weight = ops.reshape(weight, numpy.array([rows, cols]), False)
    return ops.matmul(x, ops.convert(weight, "f32"), False, True)


def compile_layer(shape, threads):
    import numpy
    import openvino as ov
    from openvino import opset13 as ops

    hidden, queries, keys, feed_forward, _ = SHAPES[shape]
    random = numpy.random.default_rng(1)
    kept = []

    def make(x, rows, cols):
        return linear(ov, ops, numpy, random, kept, x, rows, cols)

    x = ops.parameter([-1, hidden], numpy.float32)
    attention = ops.parameter([-1, queries], numpy.float32)
    gated = ops.parameter([-1, feed_forward], numpy.float32)
    results = [
        make(x, queries, hidden),
        make(x, keys, hidden),
        make(x, keys, hidden),
        make(attention, hidden, queries),
        make(x, feed_forward, hidden),
        make(x, feed_forward, hidden),
        make(gated, hidden, feed_forward),
    ]
    model = ov.Model(results, [x, attention, gated], "layer")
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": GROUP,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = ov.Core().compile_model(model, "CPU", options)
    return compiled.create_infer_request(), kept


def openvino_seconds(request, shape, tokens):
    import numpy

    hidden, queries, _, feed_forward, layers = SHAPES[shape]
    random = numpy.random.default_rng(2)
    inputs = [
        random.standard_normal((tokens, width)).astype(numpy.float32)
        for width in (hidden, queries, feed_forward)
    ]
    request.infer(inputs)
    start = time.monotonic()
    request.infer(inputs)
    return (time.monotonic() - start) * layers


def carat_seconds(carat, model, tokens, threads):
    with tempfile.NamedTemporaryFile(suffix=".json") as figures:
        command = [carat, "bench", "--model", model, "--threads", str(threads)]
        command += ["--prompt-tokens", str(tokens), "--modes", "chunked"]
        command += ["--repeat", "1", "--decode-tokens", "0", "--chunks", "128"]
        command += ["--json", figures.name]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        prefill = json.loads(Path(figures.name).read_text())["prefill"]
    return prefill[0]["median_ms"] / 1000


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="gemma3-1b")
    parser.add_argument("--prompt-tokens", type=int, default=577, metavar="N")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument(
        "--carat", default=REPOSITORY / "build/release/carat", metavar="PATH"
    )
    args = parser.parse_args()
    request, _kept = compile_layer(args.shape, args.threads)
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        model = str(Path(folder) / "model.gguf")
        synthesize = [args.carat, "synthesize", "--shape", args.shape]
        subprocess.run(
            [*synthesize, "--encoding", "q4_0", model],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        for _ in range(args.rounds):
            seconds = carat_seconds(
                args.carat, model, args.prompt_tokens, args.threads
            )
            ours.append(seconds)
            theirs.append(
                openvino_seconds(request, args.shape, args.prompt_tokens)
            )
    ratio = statistics.median(t / o for o, t in zip(ours, theirs))
    print(f"{args.shape}, {args.prompt_tokens} tokens, {args.threads} threads")
    for name, seconds in (
        ("carat, whole prefill", ours),
        ("OpenVINO, linears alone", theirs),
    ):
        speed = args.prompt_tokens / statistics.median(seconds)
        print(f"{name:24} {speed:8.1f} tok/s")
    print(f"{'ratio':24} {ratio:8.2f}")


if __name__ == "__main__":
    sys.exit(main())
