"""What this GPU can do at most: copies, and the 4B shape's linears in bf16."""
import torch

HIDDEN, QKV, FFN, LAYERS = 2560, 4096, 10240, 34


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


def main():
    memory = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(memory)
    ms = median_ms(lambda: target.copy_(memory))
    print(f"floor: copy {2 * memory.numel() / ms * 1e-6:.0f} GB/s")
    a, b = random(8192, 8192), random(8192, 8192)
    ms = median_ms(lambda: a @ b)
    print(f"floor: bf16 matmul {2 * 8192**3 / ms * 1e-9:.0f} TFLOP/s")
    layers = [[random(n, k) for n, k in ((QKV, HIDDEN), (HIDDEN, 2048),
                                         (2 * FFN, HIDDEN), (HIDDEN, FFN))]
              for _ in range(LAYERS)]
    for rows in (128, 576, 2048):
        inputs = [random(rows, w.shape[1]) for w in layers[0]]

        def linears():
            for layer in layers:
                for x, w in zip(inputs, layer):
                    torch.nn.functional.linear(x, w)

        print(f"floor: 4B linears in bf16, {rows} rows: "
              f"{median_ms(linears):.2f} ms")


main()
