#!/usr/bin/env python3
"""Times carat and llama.cpp on one GGUF file and prints their ratios.

Install llama.cpp, built natively from its source package, with
  pip install llama-cpp-python numpy
and carat with ./demo.sh. Then, on a machine with nothing else to do:
  bench/peers/compare_llama_cpp.py model.gguf

The engines run in turn, never together, each round in a new process: carat,
llama.cpp, carat, llama.cpp, ... Both get the same token ids and as many
threads, run every prompt length once untimed, and compute the last position's
logits only. llama.cpp runs with flash attention and batches of 512; carat with
its own choice of chunk. A ratio is the median over the rounds of carat's speed
by llama.cpp's.
"""
import argparse
import ctypes
import importlib.metadata
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
BATCH = 512


class LlamaCpp:
    """One model and context behind the package's low-level API."""

    def __init__(self, model, threads, context):
        import llama_cpp

        self.api = llama_cpp
        quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
        llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
        self.quiet = quiet  # must outlive the model
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = 0
        start = time.perf_counter()
        self.model = llama_cpp.llama_model_load_from_file(
            os.fsencode(model), params)
        if not self.model:
            sys.exit(f"llama.cpp cannot load {model}")
        self.load_ms = 1e3 * (time.perf_counter() - start)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = context
        params.n_batch = params.n_ubatch = BATCH
        params.n_threads = params.n_threads_batch = threads
        params.swa_full = False  # a window's keys only: its faster way
        params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        if not self.context:
            sys.exit("llama.cpp cannot make a context")
        self.batch = llama_cpp.llama_batch_init(BATCH, 0, 1)
        self.position = 0

    def append(self, ids, last):
        """Runs up to BATCH tokens; wants logits of the last one if `last`."""
        batch = self.batch
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i] = token
            batch.pos[i] = self.position + i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = last and i == len(ids) - 1
        if self.api.llama_decode(self.context, batch) != 0:
            sys.exit("llama.cpp failed to run a batch")
        self.position += len(ids)
        if last:  # waits for the answer
            self.api.llama_get_logits_ith(self.context, -1)[0]

    def prefill(self, ids):
        memory = self.api.llama_get_memory(self.context)
        self.api.llama_memory_clear(memory, True)
        self.position = 0
        start = time.perf_counter()
        for begin in range(0, len(ids), BATCH):
            end = min(begin + BATCH, len(ids))
            self.append(ids[begin:end], end == len(ids))
        return 1e3 * (time.perf_counter() - start)

    def decode(self, tokens):
        start = time.perf_counter()
        for i in range(tokens):
            self.append([i % 8 + 3], True)  # as carat bench does
        return 1e3 * (time.perf_counter() - start)


def worker():
    """One round of llama.cpp: a job on standard input, figures on output."""
    job = json.load(sys.stdin)
    ids, lengths = job["ids"], job["lengths"]
    engine = LlamaCpp(job["model"], job["threads"],
                      max(lengths) + job["decode_tokens"] + 32)
    for length in lengths:
        engine.prefill(ids[:length])
    figures = {"load_ms": engine.load_ms, "prefill": {}, "decode": {}}
    for length in lengths:
        figures["prefill"][length] = engine.prefill(ids[:length])
        if job["decode_tokens"] > 0:
            figures["decode"][length] = engine.decode(job["decode_tokens"])
    json.dump(figures, sys.stdout)


def run(command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True,
                          check=False, **options)
    if done.returncode != 0:
        sys.exit(f"failed with code {done.returncode}: {command[0]}")
    return done.stdout


def processor_seconds():
    """Of all processes, and of our finished children, since their starts."""
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(item) for item in file.readline().split()[1:9]]
    idle = ticks[3] + ticks[4]
    mine = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ((sum(ticks) - idle) / os.sysconf("SC_CLK_TCK"),
            mine.ru_utime + mine.ru_stime)


def wait_for_quiet(patience_s):
    """Returns once 2 s pass with less than a tenth of a processor in use."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        before, _ = processor_seconds()
        time.sleep(2)
        if processor_seconds()[0] - before < 0.2:
            return


def timed_round(args, run_engine, *arguments):
    """The engine's figures, and how many processors others used meanwhile."""
    wait_for_quiet(args.patience)
    start, before = time.monotonic(), processor_seconds()
    figures = run_engine(args, *arguments)
    wall, after = time.monotonic() - start, processor_seconds()
    used = (after[0] - before[0]) - (after[1] - before[1])
    figures["others_processors"] = max(0, used) / wall
    return figures


def run_llama_cpp(args, ids):
    job = {"model": args.model, "threads": args.threads, "ids": ids,
           "lengths": args.prompt_tokens, "decode_tokens": args.decode_tokens}
    figures = json.loads(run([args.python, __file__, "--worker"],
                             input=json.dumps(job)))
    return {kind: {int(length): ms for length, ms in figures[kind].items()}
            for kind in ("prefill", "decode")} | {
                "load_ms": figures["load_ms"]}


def run_carat(args, ids_file):
    command = [args.carat, "bench", "--model", args.model, "--threads",
               str(args.threads), "--modes", "chunked", "--repeat", "1",
               "--chunks", "",
               "--prompt-tokens", ",".join(map(str, args.prompt_tokens)),
               "--decode-tokens", str(args.decode_tokens),
               "--tokens-file", ids_file, "--json"]
    figures = json.loads(run(command))
    return {
        "load_ms": figures["load_ms"],
        "prefill": {row["prompt_tokens"]: row["ms"][0]
                    for row in figures["prefill"] if row["automatic"]},
        "decode": {row["prompt_tokens"]: row["ms"][0]
                   for row in figures["decode"]},
        "share": {row["prompt_tokens"]: row["linear_macs"] / 1e6
                  / row["ms"][0] / figures["machine"]["integer_gmacs"]
                  for row in figures["prefill"] if row["automatic"]},
        "machine": figures["machine"],
        "backend": figures["backend"],
        "weight_bytes": figures["weight_bytes"],
    }


def token_ids(args):
    """At least as many ids as the longest prompt, from the text."""
    needed = max(args.prompt_tokens)
    ids = json.loads(run([args.carat, "tokenize", "--json", "--model",
                          args.model, "--file", args.text]))["ids"]
    if len(ids) < 2:
        sys.exit(f"{args.text} has too few tokens")
    text = ids[1:]  # BOS only once
    while len(ids) < needed:
        ids += text
    return ids[:needed]


def summarise(args, carat, peer):
    def row(kind, length, tokens):
        ours = [round_[kind][length] for round_ in carat]
        theirs = [round_[kind][length] for round_ in peer]
        ratios = [b / a for a, b in zip(ours, theirs)]
        result = {
            "prompt_tokens": length,
            "carat_ms": ours,
            "llama_cpp_ms": theirs,
            "carat_tokens_per_s": 1e3 * tokens / statistics.median(ours),
            "llama_cpp_tokens_per_s": 1e3 * tokens / statistics.median(theirs),
            "ratio": statistics.median(ratios),
            "lowest_ratio": min(ratios),
            "highest_ratio": max(ratios),
        }
        if kind == "prefill":
            result["integer_share"] = statistics.median(
                round_["share"][length] for round_ in carat)
        return result

    machine = {key: statistics.median(r["machine"][key] for r in carat)
               for key in carat[0]["machine"]}
    report = {
        "model": Path(args.model).name,
        "backend": carat[0]["backend"],
        "llama_cpp_python": importlib_version(args.python),
        "threads": args.threads,
        "rounds": args.rounds,
        "machine": machine,
        "carat_load_ms": statistics.median(r["load_ms"] for r in carat),
        "llama_cpp_load_ms": statistics.median(r["load_ms"] for r in peer),
        "others_processors": [
            [r["others_processors"] for r in pair]
            for pair in zip(carat, peer)],
        "carat_weight_bytes": carat[0]["weight_bytes"],
        "prefill": [row("prefill", n, n) for n in args.prompt_tokens],
        "decode": [],
    }
    if args.decode_tokens > 0:
        report["decode"] = [row("decode", n, args.decode_tokens)
                            for n in args.prompt_tokens]
    return report


def importlib_version(python):
    if python == sys.executable:
        return importlib.metadata.version("llama-cpp-python")
    return run([python, "-c", "from importlib.metadata import version;"
                "print(version('llama-cpp-python'))"]).strip()


def table(report):
    machine = report["machine"]
    others = [use for pair in report["others_processors"] for use in pair]
    lines = [
        f"{report['model']}: carat ({report['backend']}) by llama.cpp (in "
        f"llama-cpp-python {report['llama_cpp_python']})",
        f"{report['threads']} threads, {report['rounds']} rounds in turn, "
        "medians (lowest and highest ratio)",
        f"machine: {machine['integer_gmacs']:.0f} GMAC/s of 8-bit integers, "
        f"reads {machine['read_gbytes_per_s']:.1f} GB/s",
        f"load: carat {report['carat_load_ms']:.0f} ms, llama.cpp "
        f"{report['llama_cpp_load_ms']:.0f} ms (maps the file)",
        f"load average: {report['load_average_before']:.1f} before, "
        f"{report['load_average_after']:.1f} after; other programs used "
        f"{statistics.mean(others):.2f} processors (at most "
        f"{max(others):.2f})",
        "",
        f"{'':8}{'tokens':>7}{'carat tok/s':>13}{'llama.cpp tok/s':>17}"
        f"{'ratio':>8}{'':>14}{'of peak':>9}",
    ]
    for kind in ("prefill", "decode"):
        for row in report[kind]:
            span = f"({row['lowest_ratio']:.2f}-{row['highest_ratio']:.2f})"
            share = row.get("integer_share")
            lines.append(
                f"{kind:8}{row['prompt_tokens']:>7}"
                f"{row['carat_tokens_per_s']:>13.1f}"
                f"{row['llama_cpp_tokens_per_s']:>17.1f}"
                f"{row['ratio']:>7.2f}x{span:>14}"
                + (f"{100 * share:>8.0f}%" if share else ""))
    return "\n".join(lines)


def positive_numbers(text):
    numbers = sorted({int(item) for item in text.split(",")})
    if not numbers or numbers[0] < 1:
        raise argparse.ArgumentTypeError("expected numbers of at least 1")
    return numbers


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", help="GGUF file")
    parser.add_argument("--text", default=str(REPOSITORY / "LICENSE"),
                        help="text whose tokens are the prompts [LICENSE],\n"
                        "repeated where it is too short")
    parser.add_argument("--prompt-tokens", type=positive_numbers,
                        default=[128, 577, 2048], metavar="LIST",
                        help="prompt lengths [128,577,2048]")
    parser.add_argument("--decode-tokens", type=int, default=32, metavar="N",
                        help="tokens to decode after each prompt [32]")
    parser.add_argument("--threads", type=int, metavar="N",
                        default=len(os.sched_getaffinity(0)),
                        help="of both engines [all processors]")
    parser.add_argument("--rounds", type=int, default=7, metavar="N",
                        help="pairs of runs [7]")
    parser.add_argument("--patience", type=float, default=0, metavar="S",
                        help="seconds to wait, before each run, for a machine\n"
                        "with nothing else to do [0]")
    parser.add_argument("--carat", metavar="PATH",
                        default=str(REPOSITORY / "build/release/carat"),
                        help="the tool [build/release/carat]")
    parser.add_argument("--python", metavar="PATH", default=sys.executable,
                        help="a Python with llama-cpp-python [this one]")
    parser.add_argument("--json", metavar="PATH", help="write all figures")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error("--rounds must be at least 1")
    return args


def main():
    args = parse_arguments()
    ids = token_ids(args)
    load_before = os.getloadavg()[0]
    carat, peer = [], []
    with tempfile.NamedTemporaryFile("w", suffix=".ids") as ids_file:
        ids_file.write(",".join(map(str, ids)))
        ids_file.flush()
        for round_ in range(args.rounds):
            if sys.stderr.isatty():
                print(f"round {round_ + 1} of {args.rounds}", end="",
                      file=sys.stderr, flush=True)
            carat.append(timed_round(args, run_carat, ids_file.name))
            peer.append(timed_round(args, run_llama_cpp, ids))
            if sys.stderr.isatty():
                print("\r\x1b[K", end="", file=sys.stderr)
    report = summarise(args, carat, peer)
    report["load_average_before"] = load_before
    report["load_average_after"] = os.getloadavg()[0]
    if args.json:
        Path(args.json).write_text(json.dumps(report, indent=2) + "\n",
                                   encoding="utf-8")
    print(table(report))


if __name__ == "__main__":
    if sys.argv[1:] == ["--worker"]:
        worker()
    else:
        main()
