"""HTTP servers of this process, on free ports of 127.0.0.1, and a client that goes through no proxy."""

import http.server
import json
import threading
import time
import urllib.error
import urllib.request

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Server:
    """A server that answers with `handler`, a subclass of BaseHTTPRequestHandler, until it is stopped."""

    def __init__(self, handler):
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.http.daemon_threads = True
        self.address = f"127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self.http.shutdown()
        self.http.server_close()


class Answer:
    """An HTTP answer, whatever its status."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.body[:500].decode(errors='replace')}"


def frames(url, headers=None, timeout=40):
    """The server-sent events of a stream, each with the time at which its last line came: (when, its fields)."""
    found, fields = [], {}
    with _direct.open(urllib.request.Request(url, headers=dict(headers or {})), timeout=timeout) as answer:
        for line in answer:
            name, separator, value = line.decode().rstrip("\n").partition(": ")
            if separator and name:
                fields[name] = value
            elif not separator and "event" in fields:
                found.append((time.time(), fields))
                fields = {}
    return found


def request(method, url, headers=None, body=None, timeout=40):
    """Sends a request, its body as JSON, and reads the answer."""
    headers = dict(headers or {})
    if body is not None:
        body = json.dumps(body).encode()
        headers["content-type"] = "application/json"
    asked = urllib.request.Request(url, data=body, headers=headers, method=method)
    try:
        with _direct.open(asked, timeout=timeout) as answer:
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as refused:
        return Answer(refused.code, refused.headers, refused.read())
