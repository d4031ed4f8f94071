"""Holds the functions' release builds against their budgets, and says how long they take to their first poll:
measure.py BINARIES, where BINARIES/<function>/bootstrap is one.

A package is what a cold start has to fetch: one that grows beyond its budget has linked something that it does not need.
The time to the first poll is what a cold start waits for before it can be asked anything."""

import io
import pathlib
import socket
import statistics
import subprocess
import sys
import time
import zipfile

from samtranslator.yaml_helper import yaml_parse

# Bytes of a zipped package: as it is, and a little. infra/README.md says of what they are made.
BUDGETS = {
    "start-job": 4_800_000,
    "jobs": 4_800_000,
    "worker": 6_600_000,
    "stream": 2_700_000,
    "sweeper": 3_200_000,
}
# Milliseconds from a process's start to its first request to the runtime API: an aim, and no reason to fail, since it is the
# machine's business as well.
FIRST_POLL = 15
STARTS = 25
SECRET = "0123456789abcdef" * 4
ASKS = b"GET /2018-06-01/runtime/invocation/next HTTP/1.1"


def main(binaries):
    template = yaml_parse(pathlib.Path("template.yaml").read_text())
    functions = {
        pathlib.Path(resource["Properties"]["CodeUri"]).name: resource["Properties"]
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::Serverless::Function"
    }
    assert functions.keys() == BUDGETS.keys(), functions.keys()
    over, slow = [], []
    print(f"{'function':12} {'binary':>10} {'zip':>10} {'budget':>10} {'first poll':>11} {'(median)':>9}")
    for name, properties in functions.items():
        binary = pathlib.Path(binaries) / name / "bootstrap"
        budget = BUDGETS[name]
        size = _zipped(binary)
        times = sorted(_first_poll(binary, _variables(template, properties)) for _ in range(STARTS))
        # The best of them: the others tell how busy the machine is.
        best, median = times[0], statistics.median(times)
        print(f"{name:12} {binary.stat().st_size:10} {size:10} {budget:10} {best:8.1f} ms {median:6.1f} ms")
        over += [f"{name}'s package is {size - budget} bytes too large"] * (size > budget)
        slow += [f"{name} asks for work after {best:.1f} ms; {FIRST_POLL} are the aim"] * (best > FIRST_POLL)
    print("\n" + "\n".join(slow + (over or ["All of it holds."])))
    return 1 if over else 0


def _zipped(binary):
    """Bytes of the package as `sam deploy` would make it."""
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(binary, "bootstrap")
    return len(package.getvalue())


def _first_poll(binary, variables):
    with socket.create_server(("127.0.0.1", 0)) as runtime_api:
        runtime_api.settimeout(30)
        address = "127.0.0.1:%d" % runtime_api.getsockname()[1]
        begun = time.perf_counter()
        child = subprocess.Popen(
            [binary],
            env=variables | {"AWS_LAMBDA_RUNTIME_API": address},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        try:
            connection, _ = runtime_api.accept()
            with connection:
                asked = connection.recv(4096)
                took = (time.perf_counter() - begun) * 1000
        finally:
            child.kill()
            child.wait()
    assert asked.startswith(ASKS), asked
    return took


def _variables(template, properties):
    """What the template and Lambda give it: something of the right kind."""
    given = template["Globals"]["Function"]["Environment"]["Variables"] | properties["Environment"]["Variables"]
    own = {
        "AWS_LAMBDA_FUNCTION_NAME": "function",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "key",
    }
    return own | {name: _resolved(template, value) for name, value in given.items()}


def _resolved(template, value):
    if isinstance(value, str):
        return value
    ((function, inner),) = value.items()
    if function == "Ref":
        parameter = template["Parameters"].get(inner)
        if parameter is None and template["Resources"][inner]["Type"] == "AWS::SQS::Queue":
            return f"https://sqs.eu-central-1.amazonaws.com/123456789012/{inner}"
        return inner if parameter is None else str(parameter["Default"])
    if function == "Fn::GetAtt":
        return "https://address.example/"
    if function == "Fn::Sub":
        return f'{{"TOKEN": "{SECRET}"}}' if "ToolSecretsArn" in inner else SECRET
    # What holds if the condition does; the list's parameter, as it is joined.
    return _resolved(template, inner[1])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
