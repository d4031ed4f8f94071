"""The event bus: events that ask for jobs, and what jobs tell of themselves."""

import json

from world import eventually

REQUESTED = "Nightshift Job Requested"


def the_bus_has_a_listener(world):
    """A rule of somebody who wants to know: what the system puts on the bus lands in a queue."""
    events = world.cloud.client("events")
    world.queues["Told"] = world.sqs.create_queue(QueueName="told")["QueueUrl"]
    events.put_rule(Name="told", EventPattern=json.dumps({"source": ["nightshift"]}))
    events.put_targets(Rule="told", Targets=[{"Id": "told", "Arn": world.attributes("Told")["QueueArn"]}])
    world.told = []


def an_event_starts_one_job(world):
    # A new job counts as watched for two seconds: this one takes longer.
    words = " ".join(["Asked for by an event."] * 3)
    detail = {"user_id": "eva", "input": f"Slowly: {words}"}
    entry = {"Source": "of.somebody", "DetailType": REQUESTED, "Detail": json.dumps(detail)}
    world.cloud.client("events").put_events(Entries=[entry])
    (job,) = eventually("the event starts a job", lambda: world.listed("eva"))
    told = eventually("its end is told", lambda: _told(world, "Nightshift Job Completed", job))
    assert told["user_id"] == "eva" and told["watched"] is False and "Asked for" not in str(told), told
    assert world.job(job, "eva")["output"].strip() == words

    # The same event delivered three times.
    event = {"id": "of-one-event", "detail-type": REQUESTED, "detail": {"user_id": "fay", "input": "Say: Once."}}
    for _ in range(3):
        world.sqs.send_message(QueueUrl=world.queues["Requests"], MessageBody=json.dumps(event))
    eventually("all of them are taken", lambda: _is_empty(world))
    (job,) = world.listed("fay")
    world.finished(job, user="fay")


def what_cannot_be_started_is_rejected_at_the_last_try(world):
    """The tries before it take minutes, so this is the last of them, handed to the function as the queue would."""
    event = {"id": "hopeless", "detail": {"user_id": "eva", "input": "Say: No.", "colour": "red"}}
    record = {
        "messageId": "m",
        "receiptHandle": "none",
        "body": json.dumps(event),
        "messageAttributes": {},
        "attributes": {"ApproximateReceiveCount": "5"},
        "eventSource": "aws:sqs",
        "awsRegion": "us-east-1",
        "eventSourceARN": world.attributes("Requests")["QueueArn"],
    }
    answer = json.loads(world.invoke("StartJobFunction", json.dumps({"Records": [record]})))
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m"}]}, answer
    told = eventually("the bus is told", lambda: _told(world, "Nightshift Job Rejected"))
    assert told["event_id"] == "hopeless" and told["user_id"] == "eva" and "colour" in told["message"], told


def _told(world, kind, job=None):
    """What the bus was told of this kind, of this job."""
    received = world.sqs.receive_message(QueueUrl=world.queues["Told"], MaxNumberOfMessages=10)
    world.told += [json.loads(message["Body"]) for message in received.get("Messages", [])]
    details = [event["detail"] for event in world.told if event["detail-type"] == kind]
    return next((detail for detail in details if job is None or detail["job_id"] == job["id"]), None)


def _is_empty(world):
    attributes = world.attributes("Requests")
    return attributes["ApproximateNumberOfMessages"] == attributes["ApproximateNumberOfMessagesNotVisible"] == "0"
