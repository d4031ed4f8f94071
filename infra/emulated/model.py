"""A language model that does as it is told: OpenAI's streamed chat completions, scripted by the user's last message.

Say: WORDS        answers with the words
Slowly: WORDS     the same, a word each 0.2 s
Sum: EXPRESSION   asks for the tool `calculate`, then answers with its result
Hang              says one word, and nothing more until whoever asked goes away
"""

import http.server
import json
import socket
import threading
import time

from servers import Server

PAUSE = 0.2


class Model:
    """The server, and what it was asked."""

    def __init__(self):
        # (The task, the key that came with it.)
        self.asked = []
        # One for each `Hang` that was given up by who asked.
        self.left = threading.Semaphore(0)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(handler):
                body = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
                self.asked.append((_task(body["messages"]), handler.headers["authorization"]))
                handler.send_response(200)
                handler.send_header("content-type", "text/event-stream")
                handler.end_headers()
                handler.close_connection = True
                try:
                    self._answer(handler, body)
                except OSError:
                    pass

            def log_message(self, *_):
                pass

        self._server = Server(Handler)
        self.url = f"http://{self._server.address}/v1"

    def _answer(self, handler, body):
        def send(delta, finish=None, **more):
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": body["model"], "choices": [choice]}
            handler.wfile.write(b"data: " + json.dumps(chunk | more).encode() + b"\n\n")

        how, _, text = _task(body["messages"]).partition(": ")
        usage = {"usage": {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}}
        if how == "Hang":
            send({"content": "Well"})
            # Whoever asked sends nothing more: readable means gone.
            handler.connection.settimeout(60)
            try:
                if handler.connection.recv(1, socket.MSG_PEEK) == b"":
                    self.left.release()
            except ConnectionError:
                self.left.release()
            return
        if how == "Sum" and body["messages"][-1]["role"] != "tool":
            call = {"name": "calculate", "arguments": json.dumps({"expression": text})}
            send({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": call}]})
            send({}, "tool_calls", **usage)
        else:
            if how == "Sum":
                text = f"It is {json.loads(body['messages'][-1]['content'])['result']}."
            for word in text.split(" "):
                send({"content": word + " "})
                time.sleep(PAUSE if how == "Slowly" else 0)
            send({}, "stop", **usage)
        handler.wfile.write(b"data: [DONE]\n\n")

    def stop(self):
        self._server.stop()


def _task(messages):
    content = next(message["content"] for message in reversed(messages) if message["role"] == "user")
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
