"""Prints what a run of bench/gpu/run.sh measured as a table for GitHub.

  table.py FILE [--device TEXT] [--command TEXT]

FILE holds a JSON object a line, as append_result() writes them: "kind": "pass"
(engine, weights, shape, pass, tokens, chunk, ms, weight_bytes) or "kind": "floor"
(name, value, and shape and rows of linears).
"""
import argparse
import datetime
import json

# shape, pass, tokens, chunk; a decode step follows that many tokens.
ROWS = (("4b", "prefill", 577, 577), ("4b", "prefill", 577, 128),
        ("4b", "prefill", 2048, 2048), ("4b", "prefill", 8192, 2048),
        ("4b", "decode", 577, 1), ("1b", "prefill", 577, 577),
        ("1b", "decode", 577, 1))
NO_VALUE = "-"


def append_result(path, **fields):
    """Adds a line to the file, if there is one to write to."""
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(fields) + "\n")


def read_results(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def row_name(shape, step, tokens, chunk):
    if step == "decode":
        return f"{shape.upper()}, decode after {tokens} tokens"
    cut = "" if chunk == tokens else f" in chunks of {chunk}"
    return f"{shape.upper()}, prefill of {tokens} tokens{cut}"


def cell(result):
    if result is None:
        return NO_VALUE
    rate = (1 if result["pass"] == "decode" else result["tokens"]) / result["ms"]
    return f"{result['ms']:.2f} ms ({rate * 1e3:,.0f} tok/s)"


class Floors:
    """What no pass can beat, or how long its larger part takes elsewhere."""

    def __init__(self, results):
        floors = [r for r in results if r["kind"] == "floor"]
        self.linears = {(f["shape"], f["rows"]): f["value"] for f in floors
                        if f["name"] == "linears"}
        self.copy = next((f["value"] for f in floors if f["name"] == "copy"),
                         None)

    def linears_ms(self, row):
        """Of a prefill: its linears alone, in bf16 by the library."""
        shape, step, tokens, chunk = row
        ms = self.linears.get((shape, chunk))
        if step != "prefill" or ms is None or tokens % chunk:
            return NO_VALUE
        return f"{ms * tokens / chunk:.2f} ms"

    def reading_ms(self, row, passes):
        """Of a decode step: its weights read once, as fast as copies go."""
        if row[1] != "decode" or self.copy is None:
            return NO_VALUE
        times = {p["weights"]: p["weight_bytes"] / self.copy * 1e-6
                 for p in passes}
        return ", ".join(f"{name} {ms:.2f} ms" for name, ms in times.items())


def table(results):
    """The lines of the table; engines and rows without a number are left out."""
    passes = [r for r in results if r["kind"] == "pass"]
    engines = list(dict.fromkeys((p["engine"], p["weights"]) for p in passes))
    floors = Floors(results)
    head = [", ".join(engine) for engine in engines]
    head += ["linears alone in bf16, cuBLAS", "weights read once"]
    lines = ["| | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    for row in ROWS:
        found = {(p["engine"], p["weights"]): p for p in passes
                 if (p["shape"], p["pass"], p["tokens"], p["chunk"]) == row}
        if not found:
            continue
        cells = [cell(found.get(engine)) for engine in engines]
        cells += [floors.linears_ms(row), floors.reading_ms(row, found.values())]
        lines.append(f"| {row_name(*row)} | " + " | ".join(cells) + " |")
    return lines


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--device", default="an unnamed device")
    parser.add_argument("--command", default="bench/gpu/run.sh")
    options = parser.parse_args()
    results = read_results(options.file)
    print(f"{options.device}, {datetime.date.today()}, `{options.command}`; "
          "random weights, medians, wall clock until the device is done.")
    for result in results:
        if result["kind"] == "floor" and result["name"] != "linears":
            print(f"Measured beside it: {result['name']} {result['value']:,.0f} "
                  f"{result['unit']}.")
    print()
    print("\n".join(table(results)))


if __name__ == "__main__":
    main()
