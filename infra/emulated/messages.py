"""Messages that are lost, cannot be read, or come back too often; and the sweeper, which finds what was lost."""

import json

from world import eventually

UNREADABLE = '{"v": 999}'


def a_start_is_lost(world):
    """Starts a job and throws its message away, before a worker can have it."""
    world.event_source("Starts", enabled=False)
    world.lost = world.start("Say: Found.")
    world.sqs.purge_queue(QueueUrl=world.queues["Starts"])
    world.event_source("Starts", enabled=True)
    assert world.attributes("Starts")["ApproximateNumberOfMessages"] == "0"


def the_schedules_sweep_finds_the_lost_start(world):
    """Nobody calls the sweeper here but its schedule."""
    ended = world.finished(world.lost, within=130)
    assert (ended["status"], ended["output"].strip()) == ("completed", "Found."), ended
    swept = [line for line in world.cloud.logs("sweeper") if '"continuations_sent":1' in line]
    assert swept, "the sweeper does not say that it sent something"
    return f"after {ended['metrics']['queue_time_ms'] / 1000:.0f} s in the queue"


def of_a_batch_only_the_unreadable_comes_back(world):
    """Hands the worker a batch of two, a real message and an unreadable one, as the event source does."""
    world.event_source("Starts", enabled=False)
    job = world.start("Say: Good.")
    (message,) = world.sqs.receive_message(QueueUrl=world.queues["Starts"], WaitTimeSeconds=5)["Messages"]
    arn = world.attributes("Starts")["QueueArn"]

    def record(identity, body, receipt):
        attributes = {"ApproximateReceiveCount": "1"}
        return {
            "messageId": identity,
            "receiptHandle": receipt,
            "body": body,
            "attributes": attributes,
            "messageAttributes": {},
            "eventSource": "aws:sqs",
            "eventSourceARN": arn,
            "awsRegion": "us-east-1",
        }

    good = record(message["MessageId"], message["Body"], message["ReceiptHandle"])
    batch = {"Records": [record("unreadable", UNREADABLE, "none"), good]}
    answer = json.loads(world.invoke("WorkerFunction", json.dumps(batch)))
    assert answer == {"batchItemFailures": [{"itemIdentifier": "unreadable"}]}, answer
    assert world.job(job)["output"].strip() == "Good.", "the good message's turn was not run"
    world.sqs.delete_message(QueueUrl=world.queues["Starts"], ReceiptHandle=message["ReceiptHandle"])
    world.event_source("Starts", enabled=True)


def a_message_that_cannot_be_read_is_kept(world):
    """A worker gets it through the event source, complains, and it is set aside, not deleted; others pass it by."""
    world.sqs.send_message(QueueUrl=world.queues["Continuations"], MessageBody=UNREADABLE)
    complaint = '"message cannot be read"'
    eventually(
        "a worker complains", lambda: len([line for line in world.cloud.logs("worker") if complaint in line]) >= 2
    )
    eventually("it is set aside", lambda: _counts(world, "Continuations") == ("0", "1"))
    world.finished(world.start("Sum: 1 + 1"))
    assert _counts(world, "Continuations") == ("0", "1"), "it is gone"


def what_comes_back_too_often_is_a_dead_letter(world):
    """By the redrive policy of the template: received so often in vain, it is not given to a worker again."""
    for name, queue in world.cloud.declared("AWS::SQS::Queue").items():
        if "RedrivePolicy" in queue:
            found, declared = json.loads(world.attributes(name)["RedrivePolicy"]), queue["RedrivePolicy"]
            assert int(found["maxReceiveCount"]) == declared["maxReceiveCount"], found
            dead_letters = declared["deadLetterTargetArn"]["Fn::GetAtt"][0]
            assert found["deadLetterTargetArn"] == world.attributes(dead_letters)["QueueArn"], found
    url, times = (
        world.queues["Starts"],
        world.cloud.declared("AWS::SQS::Queue")["Starts"]["RedrivePolicy"]["maxReceiveCount"],
    )
    world.event_source("Starts", enabled=False)
    world.sqs.send_message(QueueUrl=url, MessageBody=UNREADABLE)
    for count in range(1, times + 1):
        (message,) = world.sqs.receive_message(
            QueueUrl=url, VisibilityTimeout=0, MessageSystemAttributeNames=["ApproximateReceiveCount"]
        )["Messages"]
        assert message["Attributes"]["ApproximateReceiveCount"] == str(count), message
    assert _counts(world, "StartsDeadLetters") == ("0", "0")
    world.event_source("Starts", enabled=True)
    eventually("it is a dead letter", lambda: _counts(world, "StartsDeadLetters") == ("1", "0"))
    assert _counts(world, "Starts") == ("0", "0")
    return f"{times} times"


def _counts(world, queue):
    """Messages that wait, and messages that are set aside."""
    attributes = world.attributes(queue)
    return attributes["ApproximateNumberOfMessages"], attributes["ApproximateNumberOfMessagesNotVisible"]
