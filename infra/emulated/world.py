"""Everything that a run has: the cloud with the stack on it, an issuer of tokens, a model; and a client of the API."""

import time
import zipfile

from cloud import Cloud
from issuer import AUDIENCE, Issuer
from model import Model
from servers import request

TERMINAL = {"job.completed", "job.failed", "job.cancelled"}
ANN, BOB = "ann", "bob"


class World:
    def __init__(self, directory, template, packages):
        self.directory, self.packages, self._template = directory, packages, template
        self.issuer, self.model = Issuer(), Model()
        self.cloud = Cloud(directory)

    def deploy(self):
        parameters = {
            "JwtIssuer": self.issuer.url,
            "JwtAudience": AUDIENCE,
            "ModelUrl": self.model.url,
            "DefaultModel": "scripted",
            "Architecture": "x86_64",
            "MaxJobsPerUser": "20",
        }
        self.cloud.deploy(self._template, self.packages, parameters)
        self.api_url = f"{self.cloud.url}/_aws/execute-api/{self.cloud.stack['Api']}/$default"
        self.queues = {name: self.cloud.stack[name] for name in self.cloud.declared("AWS::SQS::Queue")}
        self.sqs, self.lambdas = self.cloud.client("sqs"), self.cloud.client("lambda")

    def call(self, method, path, user=ANN, body=None, token=None, **headers):
        """A request to the API, with `user`'s token or the one given; an empty one is not sent."""
        token = self.issuer.token(user) if token is None else token
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            headers["authorization"] = f"Bearer {token}"
        return request(method, self.api_url + path, headers, body)

    def start(self, text, user=ANN, **more):
        answer = self.call("POST", "/jobs", user, {"input": text, "tools": ["calculate"]} | more)
        assert answer.status == 202, answer
        return answer.json()

    def job(self, job, user=ANN):
        answer = self.call("GET", f"/jobs/{job['id']}", user)
        assert answer.status == 200, answer
        return answer.json()

    def finished(self, job, within=30, user=ANN):
        """Waits for a job's end, and reads it."""
        until, after = time.monotonic() + within, 0
        while (left := until - time.monotonic()) > 0:
            answer = self.call(
                "GET", f"/jobs/{job['id']}/events?after={after}&limit=1000&wait={min(20, int(left) + 1)}", user
            )
            assert answer.status == 200, answer
            page = answer.json()
            if any(event["type"] in TERMINAL for event in page["data"]):
                return self.job(job, user)
            after = page["last_event"]
        raise AssertionError(f"not finished within {within} s: {self.job(job, user)}")

    def log(self, job, user=ANN, limit=3):
        """A job's whole log, page by page, its numbers without a gap."""
        events = []
        while page := self.call("GET", f"/jobs/{job['id']}/events?after={len(events)}&limit={limit}", user).json()[
            "data"
        ]:
            events += page
        numbers = [event["number"] for event in events]
        assert numbers == list(range(1, len(events) + 1)), f"the log has a gap: {numbers}"
        return events

    def listed(self, user):
        answer = self.call("GET", "/jobs", user)
        assert answer.status == 200, answer
        return answer.json()["data"]

    def event_source(self, queue, enabled):
        """Lets a queue's messages through to the workers, or holds them back."""
        arn = self.attributes(queue)["QueueArn"]
        (source,) = self.lambdas.list_event_source_mappings(EventSourceArn=arn)["EventSourceMappings"]
        self.lambdas.update_event_source_mapping(UUID=source["UUID"], Enabled=enabled)
        if not enabled:
            # A look at the queue that began before may still be under way.
            time.sleep(0.2)

    def attributes(self, queue):
        return self.sqs.get_queue_attributes(QueueUrl=self.queues[queue], AttributeNames=["All"])["Attributes"]

    def invoke(self, function, event):
        """Invokes a function, which must not fail."""
        answer = self.lambdas.invoke(FunctionName=self.cloud.stack[function], Payload=event)
        payload = answer["Payload"].read()
        assert "FunctionError" not in answer, payload
        return payload

    def bootstrap(self, function):
        """A function's binary, out of its package."""
        path = self.directory / function / "bootstrap"
        if not path.exists():
            with zipfile.ZipFile(self.packages / function / "bootstrap.zip") as package:
                package.extract("bootstrap", path.parent)
            path.chmod(0o755)
        return path

    def stop(self):
        self.issuer.stop()
        self.model.stop()
        return self.cloud.stop()


def eventually(what, condition, within=20):
    """Waits until `condition` gives something, and gives that."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {within} s: {what}")


def types(log):
    """What happened, in order, text left out."""
    return [event["type"] for event in log if not event["type"].endswith(".delta")]


def text(log):
    return "".join(event["text"] for event in log if event["type"] == "output.delta")
