"""Jobs through the API, the queues and the workers."""

from world import BOB, eventually, text, types


def a_job_is_answered(world):
    job = world.start("Say: All of it went well.")
    assert job["status"] == "queued", job
    ended = world.finished(job)
    assert (ended["status"], ended["output"].strip(), ended["turn"]) == ("completed", "All of it went well.", 1), ended
    log = world.log(job)
    assert text(log) == ended["output"], log
    assert types(log) == ["job.queued", "job.running", "turn.started", "turn.completed", "job.completed"], types(log)
    return f"{len(log)} events, {ended['metrics']['queue_time_ms']} ms in the queue"


def a_job_with_a_tool_takes_two_turns(world):
    job = world.start("Sum: 17% of 2340")
    ended = world.finished(job)
    assert (ended["status"], ended["output"].strip(), ended["turn"]) == ("completed", "It is 397.8.", 2), ended
    (call,) = ended["tool_calls"]
    assert (call["name"], call["status"]) == ("calculate", "completed"), call
    whole = world.call("GET", f"/jobs/{job['id']}/tool_calls/{call['id']}")
    assert whole.status == 200 and "397.8" in str(whole.json()["result"]), whole
    log = world.log(job)
    assert types(log).count("turn.completed") == 2 and "tool_call.completed" in types(log), types(log)
    return f"{len(log)} events"


def what_is_wrong_is_told_by_name(world):
    for body, parameter in [({}, "input"), ({"input": "x", "colour": "red"}, "colour")]:
        answer = world.call("POST", "/jobs", body=body)
        assert answer.status == 400, answer
        assert parameter in [detail["param"] for detail in answer.json()["error"]["details"]], answer
    tools = world.call("GET", "/tools")
    assert tools.status == 200 and "calculate" in str(tools.json()), tools


def the_same_key_starts_one_job(world):
    body = {"input": "Say: Only once."}
    first = world.call("POST", "/jobs", body=body, idempotency_key="k")
    assert first.status == 202 and first.headers["location"] == f"/jobs/{first.json()['id']}", first
    world.finished(first.json())
    again = world.call("POST", "/jobs", body=body, idempotency_key="k")
    assert (again.status, again.json()["id"]) == (200, first.json()["id"]), again
    other = world.call("POST", "/jobs", body={"input": "Say: Twice."}, idempotency_key="k")
    assert other.status == 422, other
    assert world.call("POST", "/jobs", BOB, body, idempotency_key="k").json()["id"] != first.json()["id"]
    eventually("the model is asked once for each user", lambda: world.model.asked.count(("Say: Only once.", None)) == 2)


def a_cancelled_job_lets_go_of_the_model(world):
    job = world.start("Hang")
    eventually("the job speaks", lambda: world.job(job)["output"])
    for _ in range(2):
        answer = world.call("POST", f"/jobs/{job['id']}/cancel")
        assert (answer.status, answer.json()["status"]) == (200, "cancelled"), answer
    assert world.model.left.acquire(timeout=10), "the worker still listens to the model"
    ended = world.finished(job)
    assert (ended["status"], ended["finish_reason"]) == ("cancelled", "cancelled"), ended
    assert types(world.log(job))[-1] == "job.cancelled"


def a_deleted_job_is_gone(world):
    job = world.start("Say: Forget it.")
    world.finished(job)
    assert world.call("DELETE", f"/jobs/{job['id']}").status == 204
    assert world.call("GET", f"/jobs/{job['id']}").status == 404
    assert job["id"] not in [each["id"] for each in world.listed("ann")]
