"""The stream: through its function URL, which an emulator passes on only whole, and by itself, piece by piece."""

import datetime
import time
import urllib.parse

from model import PAUSE
from runtime_api import Function
from servers import request
from world import ANN, eventually, text

WORDS = "One by one the words of this answer come along."


def a_stream_has_the_whole_log(world):
    job = world.start("Sum: 2 + 3")
    world.finished(job)
    log = world.log(job)
    url = world.call("POST", f"/jobs/{job['id']}/stream_token").json()["stream_url"]
    path = "/jobs/" + url.split("/jobs/", 1)[1]
    base = f"{world.cloud.url}/_aws/lambda-url/{_url_id(world)}"
    answer = request("GET", base + path)
    assert answer.status == 200 and answer.headers["content-type"] == "text/event-stream", answer
    frames = [frame for frame in answer.body.decode().split("\n\n") if frame.startswith("id: ")]
    assert frames[-1].startswith(f"id: {len(log)}\n"), frames[-1]
    assert answer.body.endswith(b"event: done\ndata: [DONE]\n\n"), answer.body[-200:]
    other = world.start("Say: Another.")
    for token in ["", "?token=", f"?token={url.rpartition('.')[0]}.AAAA", "?" + urllib.parse.urlsplit(url).query]:
        refused = request("GET", f"{base}/jobs/{other['id']}/stream{token}")
        assert refused.status == 401, refused
    # What opens a stream opens nothing else, and a user's token opens no stream.
    assert world.call("GET", f"/jobs/{job['id']}", token=url.rpartition("token=")[2]).status == 401
    bearer = {"authorization": f"Bearer {world.issuer.token(ANN)}"}
    assert request("GET", f"{base}/jobs/{job['id']}/stream", bearer).status == 401
    return f"{len(frames)} frames"


def frames_arrive_as_they_are_made(world):
    """The function's own binary on a runtime API that notes when each piece came."""
    function = Function(
        world.bootstrap("stream"), world.cloud.function_env("StreamFunction"), world.directory / "stream.log"
    )
    try:
        job = world.start(f"Slowly: {WORDS}")
        live = function.invoke(_event(job["stream_url"]))
        live.wait(30)
        prelude = live.prelude()
        assert prelude["statusCode"] == 200 and prelude["headers"]["content-type"] == "text/event-stream", prelude
        assert live.mode == "streaming", live.mode
        log, frames = world.log(job), live.frames()
        assert frames[-1][1]["event"] == "done", frames
        made = {event["number"]: _seconds(event["at"]) for event in log}
        late = [when - made[int(frame["id"])] for when, frame in frames if "id" in frame]
        words = [when for when, frame in frames if frame["event"] == "output.delta"]
        spoken = PAUSE * (len(WORDS.split()) - 1)
        assert len(words) >= 5 and words[-1] - words[0] > spoken * 0.6, f"the words came in a lump: {words}"
        assert max(late) < 1.5, f"frames came late: {late}"

        # Somebody who was cut off in the middle comes back.
        (middle,) = [frame["id"] for _, frame in frames if "id" in frame][len(words) // 2 :][:1]
        rest = function.invoke(_event(job["stream_url"], {"last-event-id": middle}))
        rest.wait(10)
        ids = [int(frame["id"]) for _, frame in rest.frames() if "id" in frame]
        assert ids and min(ids) > int(middle) and ids[-1] == log[-1]["number"], (middle, ids)
        over = function.invoke(_event(job["stream_url"], {"last-event-id": str(log[-1]["number"])}))
        over.wait(10)
        assert over.prelude()["statusCode"] == 204, over.prelude()
        eventually("the answer is right", lambda: text(log).strip() == WORDS, within=1)
        assert function.process.exposed() == [], "it listens beyond loopback"
        late.sort()
        return f"{len(words)} frames of text over {words[-1] - words[0]:.1f} s, {1000 * late[len(late) // 2]:.0f} ms late at the median, {1000 * late[-1]:.0f} at most"
    finally:
        assert function.stop(), "the stream's process does not end"


def _url_id(world):
    url = world.lambdas.get_function_url_config(FunctionName=world.cloud.stack["StreamFunction"])["FunctionUrl"]
    return urllib.parse.urlsplit(url).hostname.split(".")[0]


def _event(stream_url, headers=None):
    """The request as a function URL hands it on."""
    address = urllib.parse.urlsplit(stream_url)
    http = {"method": "GET", "path": address.path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "x"}
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": address.path,
        "rawQueryString": address.query,
        "headers": {"host": address.netloc, **(headers or {})},
        "queryStringParameters": dict(urllib.parse.parse_qsl(address.query)),
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "x",
            "domainName": address.netloc,
            "domainPrefix": "x",
            "http": http,
            "requestId": "r",
            "routeKey": "$default",
            "stage": "$default",
            "time": "23/Nov/2026:00:00:00 +0000",
            "timeEpoch": int(time.time() * 1000),
        },
        "isBase64Encoded": False,
    }


def _seconds(at):
    return datetime.datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp()
