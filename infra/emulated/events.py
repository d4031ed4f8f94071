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


def what_cannot_be_started_is_rejected_and_kept(world):
    """Four of the five tries are taken here, since minutes lie between them; the last is the function's."""
    url = world.queues["Requests"]
    tries = world.cloud.declared("AWS::SQS::Queue")["Requests"]["RedrivePolicy"]["maxReceiveCount"]
    world.event_source("Requests", enabled=False)
    detail = {"user_id": "eva", "input": "Say: No.", "colour": "red"}
    entry = {"Source": "of.somebody", "DetailType": REQUESTED, "Detail": json.dumps(detail)}
    (put,) = world.cloud.client("events").put_events(Entries=[entry])["Entries"]
    for _ in range(tries - 1):
        eventually(
            "the event waits", lambda: world.sqs.receive_message(QueueUrl=url, VisibilityTimeout=0).get("Messages")
        )
    before = len(world.listed("eva"))
    world.event_source("Requests", enabled=True)
    told = eventually("the bus is told", lambda: _told(world, "Nightshift Job Rejected"))
    assert told["event_id"] == put["EventId"] and told["user_id"] == "eva" and "colour" in told["message"], told
    dead_letters = world.queues["RequestsDeadLetters"]
    (kept,) = eventually("it is kept", lambda: world.sqs.receive_message(QueueUrl=dead_letters).get("Messages"))
    event = json.loads(kept["Body"])
    assert (event["id"], event["detail"]) == (put["EventId"], detail), event
    assert _is_empty(world) and len(world.listed("eva")) == before, "something was started"


def _told(world, kind, job=None):
    """What the bus was told of this kind, of this job."""
    received = world.sqs.receive_message(QueueUrl=world.queues["Told"], MaxNumberOfMessages=10)
    world.told += [json.loads(message["Body"]) for message in received.get("Messages", [])]
    details = [event["detail"] for event in world.told if event["detail-type"] == kind]
    return next((detail for detail in details if job is None or detail["job_id"] == job["id"]), None)


def _is_empty(world):
    attributes = world.attributes("Requests")
    return attributes["ApproximateNumberOfMessages"] == attributes["ApproximateNumberOfMessagesNotVisible"] == "0"
