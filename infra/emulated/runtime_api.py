"""The half of Lambda that a function talks to, for one function: hands out invocations, and notes when each piece of
a streamed answer came. MiniStack passes a function URL's answer on only when it is whole."""

import http.server
import json
import queue
import threading
import time
import uuid

from processes import Process
from servers import Server

_PATH = "/2018-06-01/runtime/invocation/"
# What separates a streamed answer's status and headers from its body.
_PRELUDE_ENDS = b"\0" * 8


class Invocation:
    """A request to the function, and its answer as it comes: `pieces` of (when, bytes)."""

    def __init__(self, event):
        self.id, self.event = str(uuid.uuid4()), event
        self.pieces, self.is_whole, self.mode = [], threading.Event(), None

    def wait(self, timeout):
        if not self.is_whole.wait(timeout):
            raise AssertionError(f"no whole answer within {timeout} s: {self.pieces}")

    def prelude(self):
        return json.loads(b"".join(piece for _, piece in self.pieces).split(_PRELUDE_ENDS)[0])

    def frames(self):
        """The server-sent events: (when its last byte came, its fields)."""
        found, text, is_body = [], b"", False
        for when, piece in self.pieces:
            text += piece
            if not is_body:
                _, separator, rest = text.partition(_PRELUDE_ENDS)
                if not separator:
                    continue
                text, is_body = rest, True
            while b"\n\n" in text:
                block, _, text = text.partition(b"\n\n")
                fields = dict(line.split(": ", 1) for line in block.decode().split("\n") if not line.startswith(":"))
                if "event" in fields:
                    found.append((when, fields))
        return found


class Function:
    """A function's binary in an environment of its own."""

    def __init__(self, bootstrap, env, log):
        self._waiting, self._taken = queue.Queue(), {}

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(handler):
                invocation = self._waiting.get()
                self._taken[invocation.id] = invocation
                body = json.dumps(invocation.event).encode()
                handler.send_response(200)
                handler.send_header("lambda-runtime-aws-request-id", invocation.id)
                handler.send_header("lambda-runtime-deadline-ms", str(int((time.time() + 300) * 1000)))
                handler.send_header(
                    "lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:000000000000:function:f"
                )
                handler.send_header("content-type", "application/json")
                handler.send_header("content-length", str(len(body)))
                handler.end_headers()
                handler.wfile.write(body)

            def do_POST(handler):
                invocation = self._taken.get(handler.path.removeprefix(_PATH).split("/")[0])
                for piece in _body(handler):
                    if invocation:
                        invocation.pieces.append((time.time(), piece))
                handler.send_response(202)
                handler.send_header("content-length", "0")
                handler.end_headers()
                if invocation:
                    invocation.mode = handler.headers.get("lambda-runtime-function-response-mode")
                    invocation.is_whole.set()

            def log_message(self, *_):
                pass

        self._server = Server(Handler)
        self.process = Process([str(bootstrap)], env | {"AWS_LAMBDA_RUNTIME_API": self._server.address}, log)

    def invoke(self, event):
        invocation = Invocation(event)
        self._waiting.put(invocation)
        return invocation

    def stop(self):
        self._server.http.shutdown()
        return self.process.stop()


def _body(handler):
    """A request's body in the pieces that it was sent in."""
    if "content-length" in handler.headers:
        yield handler.rfile.read(int(handler.headers["content-length"]))
        return
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        yield handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
