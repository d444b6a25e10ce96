"""What this GPU can do at most: copies, and a shape's linears in bf16.

  floors.py [--json FILE]      --json appends a line for each floor to FILE
"""
import argparse

import torch

from table import append_result
from torch_peer import SHAPES


def median_ms(body, count=15):
    for _ in range(3):
        body()
    times = []
    for _ in range(count):
        start = torch.cuda.Event(enable_timing=True)
        end = torch.cuda.Event(enable_timing=True)
        start.record()
        body()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return sorted(times)[count // 2]


def random(rows, cols):
    return torch.randn(rows, cols, device="cuda", dtype=torch.bfloat16)


def linears_of(shape):
    """The matrices of every layer; q, k and v joined, and gate and up."""
    hidden, ffn = shape["hidden_size"], shape["intermediate_size"]
    q = shape["num_attention_heads"] * shape["head_dim"]
    kv = shape["num_key_value_heads"] * shape["head_dim"]
    sizes = ((q + 2 * kv, hidden), (hidden, q), (2 * ffn, hidden), (hidden, ffn))
    return [[random(n, k) for n, k in sizes]
            for _ in range(shape["num_hidden_layers"])]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--json")
    path = parser.parse_args().json

    def floor(value, **fields):
        append_result(path, kind="floor", value=value, **fields)

    memory = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(memory)
    ms = median_ms(lambda: target.copy_(memory))
    speed = 2 * memory.numel() / ms * 1e-6
    print(f"floor: copy {speed:.0f} GB/s")
    floor(speed, name="copy", unit="GB/s")
    a, b = random(8192, 8192), random(8192, 8192)
    ms = median_ms(lambda: a @ b)
    speed = 2 * 8192**3 / ms * 1e-9
    print(f"floor: bf16 matmul {speed:.0f} TFLOP/s")
    floor(speed, name="bf16 matmul of 8192 cubed", unit="TFLOP/s")
    for name, lengths in (("4b", (128, 576, 577, 2048)), ("1b", (577,))):
        layers = linears_of(SHAPES[name])
        for rows in lengths:
            inputs = [random(rows, w.shape[1]) for w in layers[0]]

            def linears():
                for layer in layers:
                    for x, w in zip(inputs, layer):
                        torch.nn.functional.linear(x, w)

            ms = median_ms(linears)
            print(f"floor: {name.upper()} linears in bf16, {rows} rows: "
                  f"{ms:.2f} ms")
            floor(ms, name="linears", shape=name, rows=rows)


main()
