"""`cargo lambda watch` and `cargo lambda invoke`, with the functions as they are and the event files of infra/events."""

import json
import os
import pathlib
import subprocess
import sys

from model import PAUSE
from processes import Process, free_port
from servers import frames, request
from streaming import WORDS
from world import eventually

EVENTS = pathlib.Path(__file__).resolve().parents[1] / "events"
# Each event file's function. The last one lists what the one before it started.
FILES = {
    "worker": "WorkerFunction",
    "sweeper": "SweeperFunction",
    "start-job": "StartJobFunction",
    "jobs": "JobsFunction",
}


def cargo_lambda_invokes_the_functions_with_the_event_files(world):
    address, port = "127.0.0.1", str(free_port())
    # cargo-lambda is beside the interpreter, in the virtual environment.
    env = world.cloud.env | {"PATH": f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    at = ["-A", address, "-P", port]
    # The functions are built already: it only hands the invocations on.
    watch = ["cargo", "lambda", "watch", "--only-lambda-apis", *at]
    processes = [Process(watch, env, world.directory / "watch.log")]
    try:
        eventually("it listens", lambda: "starting Runtime server" in processes[0].log.read_text())
        answers = {}
        for name, function in FILES.items():
            variables = world.cloud.function_env(function)
            variables["AWS_LAMBDA_RUNTIME_API"] = f"http://{address}:{port}/.rt/{name}"
            log = world.directory / f"{name}.log"
            processes.append(Process([str(world.bootstrap(name))], variables, log))
            asked = ["cargo", "lambda", "invoke", *at, name, "--data-file", str(EVENTS / f"{name}.json")]
            told = subprocess.run(asked, env=env, capture_output=True, text=True, timeout=30, check=False)
            assert told.returncode == 0, told
            answers[name] = json.loads(told.stdout)
        assert answers["worker"] == {"batchItemFailures": [{"itemIdentifier": "unreadable"}]}, answers
        assert answers["sweeper"] is None, answers
        assert answers["start-job"]["statusCode"] == 202, answers
        listed = json.loads(answers["jobs"]["body"])["data"]
        assert [job["id"] for job in listed] == [json.loads(answers["start-job"]["body"])["id"]], listed
        routes = _its_routes_lead_to_the_functions(world, f"http://{address}:{port}", processes)
        streamed = _frames_come_as_they_are_made(world, f"http://{address}:{port}")
        assert [process.exposed() for process in processes] == [[]] * len(processes), "beyond loopback"
        return f"{len(answers)} files, {routes} routes, {streamed}"
    finally:
        ended = [process.stop() for process in processes]
        assert all(ended), "a process does not end"


def _its_routes_lead_to_the_functions(world, url, processes):
    """The routes of the workspace's metadata. A function that a request is not for does not know its route; the one that
    it is for asks who it is from, which nobody says here."""
    env = world.cloud.function_env("StreamFunction") | {"AWS_LAMBDA_RUNTIME_API": f"{url}/.rt/stream"}
    processes.append(Process([str(world.bootstrap("stream"))], env, world.directory / "watched-stream.log"))
    job = world.start("Say: Watched.")
    world.finished(job)
    routes = [("POST", "/jobs"), ("GET", "/jobs"), ("GET", f"/jobs/{job['id']}"), ("GET", "/tools")]
    for method, path in routes:
        answer = request(method, url + path, {}, {"input": "Say: Never."} if method == "POST" else None)
        assert answer.status == 401, f"{method} {path}: {answer}"
    path = "/jobs/" + job["stream_url"].split("/jobs/", 1)[1]
    answer = request("GET", url + path)
    assert answer.status == 200 and answer.body.endswith(b"event: done\ndata: [DONE]\n\n"), answer
    return len(routes) + 1


def _frames_come_as_they_are_made(world, url):
    """With time stamps at the client, over HTTP, as a browser would get them; and from the middle on again."""
    job = world.start(f"Slowly: {WORDS}")
    address = url + "/jobs/" + job["stream_url"].split("/jobs/", 1)[1]
    came = frames(address)
    assert came[-1][1]["event"] == "done", came
    words = [when for when, frame in came if frame["event"] == "output.delta"]
    assert len(words) >= 5 and words[-1] - words[0] > PAUSE * (len(WORDS.split()) - 1) * 0.6, f"in a lump: {words}"
    ids = [int(frame["id"]) for _, frame in came if "id" in frame]
    middle = ids[len(ids) // 2]
    rest = [int(frame["id"]) for _, frame in frames(address, {"Last-Event-ID": str(middle)}) if "id" in frame]
    assert rest and min(rest) > middle and rest[-1] == ids[-1], (middle, rest, ids)
    return f"{len(words)} frames of text over {words[-1] - words[0]:.1f} s"
