"""The commands of infra/RUNBOOK.md, each as it stands there, by the AWS CLI."""

import json
import pathlib
import re
import subprocess
import sys

from cloud import STACK
from world import eventually

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "examples/research-report.json"
RUNBOOK = pathlib.Path(__file__).resolve().parents[1] / "RUNBOOK.md"
# Nobody else has jobs of this name; and how keys have it.
USER, KEY = "auth0|carol#7", "auth0|carol%237"
# What runs in CloudWatch's console and not in a shell, what deploys by `sam`, and what a restore takes.
NOT_RUN = (
    "fields @timestamp",
    "sam deploy",
    "aws dynamodb restore-table",
    "aws cloudformation get-template",
)


def each_command_of_the_runbook_does_what_it_says(world):
    commands = Commands(world)
    _too_many_viewers(commands)
    _dead_letters(world, commands)
    stuck = _a_stuck_job(world, commands)
    _pausing(world, commands)
    _a_users_data(world, commands, stuck)
    assert not commands.left, f"not run: {commands.left}"
    return f"{commands.run} commands"


def _too_many_viewers(commands):
    told = json.loads(commands("put-function-concurrency"))
    assert told["ReservedConcurrentExecutions"] == 50, told


def _dead_letters(world, commands):
    """An earlier check has left one event that could not be started, and looked at it, which hides it for a while."""
    eventually("it can be had again", lambda: _waiting(world, "RequestsDeadLetters") == "1", within=40)
    seen = commands("sqs receive-message")
    assert "Nightshift Job Requested" in seen, seen
    # MiniStack has no such task: the AWS CLI has found nothing wrong with the command, and that is all that is known.
    refused = commands("sqs start-message-move-task", refused=True)
    assert "InvalidAction" in refused and "StartMessageMoveTask" in refused, refused
    # Of another check.
    assert _waiting(world, "StartsDeadLetters") == "1"
    commands("sqs purge-queue")
    assert _waiting(world, "StartsDeadLetters") == "0"


def _a_stuck_job(world, commands):
    job = world.start("Hang", USER)
    eventually("it speaks", lambda: world.job(job, USER)["output"])
    assert job["id"] in commands("by_user_status", USER=KEY)
    lane = commands("begins_with(sk, :lane)", JOB=job["id"])
    assert '"lane#main"' in lane and '"expires_at"' in lane and "Hang" not in lane, lane
    return job


def _pausing(world, commands):
    commands("put-item")
    eventually("nothing starts", lambda: _status_of_a_start(world) == 503)
    commands("delete-item")
    eventually("jobs start again", lambda: _status_of_a_start(world) == 202)


def _a_users_data(world, commands, stuck):
    saved = world.call("PUT", "/workflows/mine", USER, json.loads(EXAMPLE.read_text()))
    assert saved.status in (200, 201), saved
    assert world.job(stuck, USER)["status"] == "running"
    assert len(world.listed(USER)) > 1
    commands("$API/jobs", API=world.api_url, TOKEN=world.issuer.token(USER))
    assert world.listed(USER) == [], "there are jobs left"
    assert world.call("GET", "/workflows", USER).json()["data"] == [], "there are workflows left"
    assert world.model.left.acquire(timeout=10), "the worker of a deleted job still listens to the model"


def _status_of_a_start(world):
    return world.call("POST", "/jobs", USER, {"input": "Say: Paused?"}).status


def _waiting(world, queue):
    return world.attributes(queue)["ApproximateNumberOfMessages"]


class Commands:
    """The runbook's blocks of commands, and the one-line ones in its text. Each is run once."""

    def __init__(self, world):
        text = RUNBOOK.read_text()
        blocks = re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        self.prelude, *blocks = [block for block in blocks if not block.startswith(NOT_RUN)]
        assert f"STACK={STACK}\n" in self.prelude, self.prelude
        self.left = blocks + re.findall(r"`(aws [^`]*)`", text)
        self.run = len(self.left)
        # The AWS CLI is beside the interpreter. As a module: a moved checkout's scripts name an interpreter elsewhere.
        # Its SQS would go to AWS in spite of AWS_ENDPOINT_URL.
        aws = f'aws() {{ "{sys.executable}" -m awscli --endpoint-url "{world.cloud.url}" "$@"; }}\n'
        self.prelude = aws + self.prelude
        self.env = world.cloud.env | {"AWS_DEFAULT_REGION": world.cloud.env["AWS_REGION"], "AWS_PAGER": ""}

    def __call__(self, part, refused=False, **placeholders):
        """Runs the block that has `part` in it, and gives what it prints, or why it was refused. In capitals: words to be
        replaced, or, where the block has them with a dollar, variables."""
        (block,) = [block for block in self.left if part in block]
        self.left.remove(block)
        for name, value in placeholders.items():
            if f"${name}" not in block:
                assert name in block, block
                block = block.replace(name, value)
        env = self.env | placeholders
        shell = ["bash", "-euo", "pipefail", "-c", self.prelude + block]
        told = subprocess.run(shell, env=env, capture_output=True, text=True, timeout=60, check=False)
        if refused:
            assert told.returncode != 0, block
            return told.stderr
        assert told.returncode == 0 and not told.stderr, f"{block}\n{told.stderr}"
        return told.stdout
