"""Who may do what: the authorizer in front of the functions, and the functions behind it."""

import time

from world import BOB

OWN_KEY = "sk-of-anns-own"


def without_a_good_token_nothing_starts(world):
    eve = world.issuer.token("eve")
    header, claims, _ = world.issuer.token("eve").split(".")
    bad = {
        "missing": "",
        "garbage": "x",
        "expired": world.issuer.token("eve", iat=1, exp=int(time.time()) - 60),
        "not valid yet": world.issuer.token("eve", nbf=int(time.time()) + 600),
        "for another audience": world.issuer.token("eve", aud="somebody-else"),
        "of another issuer": world.issuer.token("eve", iss="http://127.0.0.1:9"),
        "signed with another key": world.issuer.token("eve", forged=True),
        "without a signature": f"{header}.{claims}.",
    }
    for what, token in bad.items():
        for method, path in [("POST", "/jobs"), ("GET", "/jobs"), ("GET", "/tools")]:
            answer = world.call(method, path, body={"input": "Say: Never."} if method == "POST" else None, token=token)
            assert answer.status == 401, f"{what}: {method} {path}: {answer}"
    assert world.call("GET", "/jobs", token=eve).json()["data"] == [], "a job was started"
    assert "Say: Never." not in [task for task, _ in world.model.asked]
    # Only the token says who somebody is.
    assert world.call("POST", "/jobs", token="", body={"input": "Say: Never."}, x_nightshift_user="eve").status == 401
    # The API's description says nothing of anybody's.
    described = world.call("GET", "/openapi.json", token="")
    assert described.status == 200 and "/jobs/{id}/cancel" in described.json()["paths"], described
    return f"{len(bad)} bad tokens"


def anothers_job_does_not_exist(world):
    job = world.start("Say: Mine.")
    world.finished(job)
    routes = [
        ("GET", ""),
        ("GET", "/events"),
        ("GET", "/tool_calls/call_1"),
        ("POST", "/cancel"),
        ("POST", "/stream_token"),
        ("DELETE", ""),
    ]
    for method, rest in routes:
        answer = world.call(method, f"/jobs/{job['id']}{rest}", BOB)
        assert answer.status == 404, f"{method} {rest}: {answer}"
    assert job["id"] not in [each["id"] for each in world.listed(BOB)]
    previous = world.call("POST", "/jobs", BOB, {"input": "Say: Yours?", "previous_job_id": job["id"]})
    assert previous.status == 400, previous
    assert world.job(job)["status"] == "completed"
    return f"{len(routes)} routes"


def a_users_own_key_reaches_the_model_and_nobody_else(world):
    job = world.start("Say: At my expense.", model_api_key=OWN_KEY)
    ended = world.finished(job)
    assert ended["status"] == "completed", ended
    assert ("Say: At my expense.", f"Bearer {OWN_KEY}") in world.model.asked
    assert OWN_KEY not in f"{job} {ended} {world.log(job)}", "the key is shown"
    items = world.cloud.client("dynamodb").scan(TableName=world.cloud.stack["Table"])["Items"]
    assert items and OWN_KEY not in str(items), "the key is in the table as it is"
