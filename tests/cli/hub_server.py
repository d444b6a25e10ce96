#!/usr/bin/env python3
"""A hub and, on a second port, its CDN, on loopback, for tests.

  hub_server.py FOLDER

Serves made-up files of a model under any name; the name's organisation chooses
how it misbehaves: cut, ignore, corrupt, long, short, loop, gated, denied,
absent, evil (a listing that leaves its folder). Writes its port to FOLDER/port
when ready, and "ROLE AUTHORIZATION" to FOLDER/log for each request.
"""
import hashlib
import http.server
import json
import os
import random
import sys
import threading

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b'{"model_type": "made_up"}\n',
    "tokenizer.json": b"{}" * 500,
    "model.safetensors": random.Random(1).randbytes(6 * (1 << 20) + 12345),
    "README.md": b"not needed\n",
}
LARGE = "model.safetensors"
folder = sys.argv[1]
cuts = {}


def entry(name, data):
    if name == LARGE:
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
                   "absent": (404, "RepoNotFound")}.get(org)
        if refused:
            return self.answer(refused[0], [("X-Error-Code", refused[1])])
        if api:
            files = [entry(n, d) for n, d in FILES.items()]
            if org == "evil":
                files[0]["rfilename"] = "../../outside"
            return self.answer(200, body=json.dumps({"sha": COMMIT, "siblings": files}).encode())
        if org == "loop":
            return self.answer(302, [("Location", self.path)])
        name = parts[-1]
        if name != LARGE:
            return self.answer(200, body=FILES[name])
        return self.answer(302, [
            ("Location", f"http://127.0.0.1:{cdn.server_port}/{org}/{name}"),
            ("X-Repo-Commit", COMMIT),
            ("X-Linked-Etag", f'"{entry(name, FILES[name])["lfs"]["sha256"]}"')])

    def cdn(self):
        _, org, name = self.path.split("/")
        data = FILES[name]
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
