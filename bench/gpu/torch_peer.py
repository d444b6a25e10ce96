"""Gemma 3 with random bf16 weights in PyTorch: prefill, and decode after it.

  torch_peer.py [--shape 4b] [--tokens 577] [--json FILE]

Twice: eager, and with each layer compiled and the whole pass captured in a CUDA
graph. Both compute one row of logits, and decode reads a static KV cache that is
little longer than it needs. Times are wall clock until the device is done;
medians. --json appends a line for each measurement to FILE.
"""
import argparse
import math
import time

import torch
import torch.nn.functional as F

from table import append_result

# Names of Hugging Face's Gemma 3 configuration.
COMMON = dict(vocab_size=262144, head_dim=256, query_pre_attn_scalar=256,
              rms_norm_eps=1e-6, rope_theta=1e6, rope_local_base_freq=1e4,
              sliding_window_pattern=6)
SHAPES = {
    "1b": dict(COMMON, hidden_size=1152, num_hidden_layers=26,
               num_attention_heads=4, num_key_value_heads=1,
               intermediate_size=6912, sliding_window=512),
    "4b": dict(COMMON, hidden_size=2560, num_hidden_layers=34,
               num_attention_heads=8, num_key_value_heads=4,
               intermediate_size=10240, sliding_window=1024),
}
NORMS = ("input_layernorm", "post_attention_layernorm",
         "pre_feedforward_layernorm", "post_feedforward_layernorm")
CACHE_STEP = 64


def random(*shape):
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16) * 0.02


def rms_norm(x, weight, eps):
    wide = x.float()
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return (wide * (1 + weight.float())).to(x.dtype)


def rotated(x, cos, sin):
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-high, low), dim=-1) * sin


def rope(positions, base, head_dim):
    exponents = torch.arange(0, head_dim, 2, device="cuda") / head_dim
    angles = positions[:, None].float() * base ** -exponents
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos().bfloat16(), angles.sin().bfloat16()


def attention(h, w, cos, sin, cache, positions, mask, config):
    """mask None: a prefill from position 0; else one row, over the cache."""
    rows, head_dim = h.shape[0], config["head_dim"]
    kv_heads = config["num_key_value_heads"]
    scale = config["query_pre_attn_scalar"] ** -0.5

    def heads(name):
        return F.linear(h, w[name]).view(rows, -1, head_dim).transpose(0, 1)

    q = rms_norm(heads("q_proj"), w["q_norm"], config["rms_norm_eps"])
    k = rms_norm(heads("k_proj"), w["k_norm"], config["rms_norm_eps"])
    q, k, v = rotated(q, cos, sin), rotated(k, cos, sin), heads("v_proj")
    cache[0].index_copy_(1, positions, k)
    cache[1].index_copy_(1, positions, v)
    if mask is None:
        out = F.scaled_dot_product_attention(
            q[None], k[None], v[None], is_causal=True, scale=scale,
            enable_gqa=True)
        return out[0].transpose(0, 1).reshape(rows, -1)
    # The heads that share keys are the rows of one query.
    out = F.scaled_dot_product_attention(
        q.reshape(1, kv_heads, -1, head_dim), cache[0][None], cache[1][None],
        attn_mask=mask, scale=scale)
    return out.reshape(rows, -1)


def decoder_layer(x, h, w, cos, sin, cache, positions, mask, next_norm, config):
    """Residual x and normed h in; the same out, h by the next layer's norm."""
    eps = config["rms_norm_eps"]
    y = F.linear(attention(h, w, cos, sin, cache, positions, mask, config),
                 w["o_proj"])
    x = x + rms_norm(y, w["post_attention_layernorm"], eps)
    h = rms_norm(x, w["pre_feedforward_layernorm"], eps)
    gate = F.gelu(F.linear(h, w["gate_proj"]), approximate="tanh")
    y = F.linear(gate * F.linear(h, w["up_proj"]), w["down_proj"])
    x = x + rms_norm(y, w["post_feedforward_layernorm"], eps)
    return x, rms_norm(x, next_norm, eps)


class Gemma3:
    def __init__(self, config, cache_tokens):
        self.config = config
        self.layer = decoder_layer
        hidden, ffn = config["hidden_size"], config["intermediate_size"]
        head_dim = config["head_dim"]
        q = config["num_attention_heads"] * head_dim
        kv = config["num_key_value_heads"] * head_dim
        self.embed_tokens = random(config["vocab_size"], hidden)
        self.norm = random(hidden)
        self.layers, self.caches = [], []
        for _ in range(config["num_hidden_layers"]):
            w = {"q_proj": random(q, hidden), "k_proj": random(kv, hidden),
                 "v_proj": random(kv, hidden), "o_proj": random(hidden, q),
                 "gate_proj": random(ffn, hidden),
                 "up_proj": random(ffn, hidden),
                 "down_proj": random(hidden, ffn),
                 "q_norm": random(head_dim), "k_norm": random(head_dim)}
            w.update((name, random(hidden)) for name in NORMS)
            self.layers.append(w)
            shape = (config["num_key_value_heads"], cache_tokens, head_dim)
            self.caches.append((torch.zeros(shape, device="cuda",
                                            dtype=torch.bfloat16),
                                torch.zeros(shape, device="cuda",
                                            dtype=torch.bfloat16)))

    def weight_bytes(self):
        tensors = [self.embed_tokens, self.norm]
        tensors += [t for w in self.layers for t in w.values()]
        return sum(t.numel() * t.element_size() for t in tensors)

    def forward(self, tokens, positions, mask):
        """The last row's logits."""
        c = self.config
        local = rope(positions, c["rope_local_base_freq"], c["head_dim"])
        full = rope(positions, c["rope_theta"], c["head_dim"])
        x = F.embedding(tokens, self.embed_tokens) * math.sqrt(c["hidden_size"])
        h = rms_norm(x, self.layers[0]["input_layernorm"], c["rms_norm_eps"])
        for i, w in enumerate(self.layers):
            is_full = (i + 1) % c["sliding_window_pattern"] == 0
            next_norm = (self.layers[i + 1]["input_layernorm"]
                         if i + 1 < len(self.layers) else self.norm)
            x, h = self.layer(x, h, w, *(full if is_full else local),
                              self.caches[i], positions, mask, next_norm, c)
        return F.linear(h[-1:], self.embed_tokens)


def captured(body):
    """`body` as a CUDA graph; returns what replays it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            body()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        body()
    return graph.replay


def median_ms(body, count):
    times = []
    for i in range(count + 3):
        torch.cuda.synchronize()
        start = time.perf_counter()
        body()
        torch.cuda.synchronize()
        if i >= 3:
            times.append((time.perf_counter() - start) * 1e3)
    return sorted(times)[count // 2]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", choices=SHAPES, default="4b")
    parser.add_argument("--tokens", type=int, default=577)
    parser.add_argument("--json")
    options = parser.parse_args()
    config, count = SHAPES[options.shape], options.tokens
    # Within the window local layers see all that full ones do.
    if count >= config["sliding_window"]:
        parser.error(f"--tokens: at most {config['sliding_window'] - 1}")
    cache_tokens = (count // CACHE_STEP + 1) * CACHE_STEP
    model = Gemma3(config, cache_tokens)
    prompt = torch.randint(config["vocab_size"], (count,), device="cuda")
    first = torch.arange(count, device="cuda")
    # Every step is the first one after the prompt.
    last = torch.tensor([count], device="cuda")
    mask = torch.arange(cache_tokens, device="cuda")[None] <= count
    passes = {"prefill": (count, 15, lambda: model.forward(prompt, first, None)),
              "decode": (1, 60, lambda: model.forward(prompt[:1], last, mask))}

    def measure(engine, prepared):
        for name, (chunk, repeats, body) in passes.items():
            ms = median_ms(prepared(body), repeats)
            print(f"{engine}, {options.shape.upper()}: {name} "
                  f"{'of' if name == 'prefill' else 'after'} {count}: "
                  f"{ms:.3f} ms", flush=True)
            append_result(options.json, kind="pass", engine=engine,
                          weights="bf16", shape=options.shape, tokens=count,
                          chunk=chunk, ms=ms, weight_bytes=model.weight_bytes(),
                          **{"pass": name})

    with torch.no_grad():
        measure("PyTorch eager", lambda body: body)
        model.layer = torch.compile(decoder_layer, fullgraph=True, dynamic=False)
        measure("PyTorch compiled + graph", captured)


if __name__ == "__main__":
    main()
