#!/usr/bin/env python3
"""A hub and, on a second port, its CDN, on loopback, for tests.

  hub_server.py FOLDER

Serves made-up files of a model under any name; the name's organisation chooses
what it has (sharded, ggufs) or how it misbehaves: cut, ignore, corrupt, long,
short, loop, gated, denied, forbidden, absent, liar (a Content-Length), slow,
stall (no bytes after the first), evil (a listing that leaves its folder). Once
FOLDER/moved is there, the branch is at another commit with other weights.
Writes its port to FOLDER/port when ready, and "ROLE AUTHORIZATION" to
FOLDER/log for each request.
"""
import hashlib
import http.server
import json
import os
import random
import sys
import threading
import time

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MOVED = "89abcdef0123456789abcdef0123456789abcdef"
PLAIN = {
    "config.json": b'{"model_type": "made_up"}\n',
    "tokenizer.json": b"{}" * 500,
    "model.safetensors": random.Random(1).randbytes(6 * (1 << 20) + 12345),
    "README.md": b"not needed\n",
}
SHARDS = {
    "config.json": PLAIN["config.json"],
    "tokenizer.json": PLAIN["tokenizer.json"],
    "model.safetensors.index.json": json.dumps({"weight_map": {
        "a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}).encode(),
    "model-1-of-2.safetensors": random.Random(2).randbytes(3 * (1 << 20)),
    "model-2-of-2.safetensors": random.Random(3).randbytes(1 << 20),
    "pytorch_model.bin": b"not needed\n",
}
GGUFS = {
    "m.Q4_K_M.gguf": random.Random(4).randbytes(1 << 20),
    "m.Q8_0.gguf": random.Random(5).randbytes(2 << 20),
    "config.json": PLAIN["config.json"],
}
folder = sys.argv[1]
cuts = {}


def moved():
    return os.path.exists(os.path.join(folder, "moved"))


def files_of(org, commit):
    if org in ("sharded", "ggufs"):
        return SHARDS if org == "sharded" else GGUFS
    if commit == MOVED:
        weights = random.Random(6).randbytes(8 * (1 << 20))
        return dict(PLAIN, **{"model.safetensors": weights})
    return PLAIN


def is_large(name):
    return name.endswith((".safetensors", ".gguf"))


def entry(name, data):
    if is_large(name):
        return {"rfilename": name, "size": len(data), "blobId": "f" * 40,
                "lfs": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}}
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    return {"rfilename": name, "size": len(data), "blobId": blob}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self, status, headers=(), body=b"", length=None):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        role = self.server.role
        with open(os.path.join(folder, "log"), "a") as log:
            log.write(f"{role} {self.headers.get('Authorization')}\n")
        try:
            self.cdn() if role == "cdn" else self.hub()
        except OSError:
            self.close_connection = True

    def hub(self):
        parts = self.path.split("?")[0].strip("/").split("/")
        api = parts[0] == "api"
        org = parts[2 if api else 0]
        refused = {"gated": (403, "GatedRepo"), "denied": (401, ""),
                   "forbidden": (403, ""),
                   "absent": (404, "RepoNotFound")}.get(org)
        if refused:
            return self.answer(refused[0], [("X-Error-Code", refused[1])])
        if api:
            commit = MOVED if moved() else COMMIT
            files = [entry(n, d) for n, d in files_of(org, commit).items()]
            if org == "evil":
                files[0]["rfilename"] = "../../outside"
            return self.answer(200, body=json.dumps({"sha": commit, "siblings": files}).encode())
        if org == "loop":
            return self.answer(302, [("Location", self.path)])
        commit, name = parts[-2], parts[-1]
        data = files_of(org, commit)[name]
        if not is_large(name):
            length = len(data) + 7 if org == "liar" else None
            self.close_connection = length is not None
            return self.answer(200, body=data, length=length)
        return self.answer(302, [
            ("Location", f"http://127.0.0.1:{cdn.server_port}/{org}/{commit}/{name}"),
            ("X-Repo-Commit", commit),
            ("X-Linked-Etag", f'"{entry(name, data)["lfs"]["sha256"]}"')])

    def cdn(self):
        _, org, commit, name = self.path.split("/")
        data = files_of(org, commit)[name]
        if org == "corrupt":
            data = data[:1000] + b"!" + data[1001:]
        wanted = self.headers.get("Range")
        if org == "ignore" or wanted is None:
            return self.answer(200, body=data)
        first, last = map(int, wanted.removeprefix("bytes=").split("-"))
        body = data[first:last + 1]
        total = len(data) + {"long": 5, "short": -5}.get(org, 0)
        headers = [("Content-Range", f"bytes {first}-{last}/{total}")]
        if org == "cut" and cuts.setdefault(last, 0) < 2:
            cuts[last] += 1
            self.close_connection = True
            return self.answer(206, headers, body[:len(body) // 3], len(body))
        if org in ("slow", "stall"):
            self.answer(206, headers, length=len(body))
            for at in range(0, len(body), 1 << 16):
                self.wfile.write(body[at:at + (1 << 16)])
                time.sleep(0.05 if org == "slow" else 30)
            return None
        return self.answer(206, headers, body)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


hub, cdn = Server(("127.0.0.1", 0), Handler), Server(("127.0.0.1", 0), Handler)
hub.role, cdn.role = "hub", "cdn"
threading.Thread(target=cdn.serve_forever, daemon=True).start()
with open(os.path.join(folder, "port.new"), "w") as file:
    file.write(str(hub.server_port))
os.rename(os.path.join(folder, "port.new"), os.path.join(folder, "port"))
hub.serve_forever()
