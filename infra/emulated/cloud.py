"""MiniStack, a stand-in for AWS on a port of 127.0.0.1, and template.yaml deployed onto it."""

import copy
import json
import os
import pathlib
import sys
import time

import boto3
from botocore.config import Config
from samtranslator.yaml_helper import yaml_parse

from processes import Process, free_port
from servers import request

STACK = "nightshift"
BUCKET = "packages"
REGION = "us-east-1"


class Cloud:
    """A running MiniStack, and clients of it."""

    def __init__(self, directory):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        directory = pathlib.Path(directory)
        (directory / "tmp").mkdir()
        # Nothing of this machine's own account, and no proxy: everything is at this address.
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.upper().endswith("_PROXY") and not name.startswith("AWS_")
        }
        self.env = kept | {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": REGION,
        }
        mine = {
            # Without the first two it listens on every interface.
            "BIND_HOST": "127.0.0.1",
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "GATEWAY_PORT": str(port),
            "TMPDIR": str(directory / "tmp"),
            "STATE_DIR": str(directory / "tmp"),
            "S3_DATA_DIR": str(directory / "tmp"),
        }
        # As a module: a moved checkout's scripts name an interpreter elsewhere.
        program = "import sys; from ministack.app import main; sys.argv[1:] = []; main()"
        self.process = Process([sys.executable, "-c", program], self.env | mine, directory / "ministack.log")
        self.stack, self.template = {}, None
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self):
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                if request("GET", f"{self.url}/_ministack/ready", timeout=5).status == 200:
                    return
            except OSError:
                if self.process.has_ended():
                    break
            time.sleep(0.1)
        raise RuntimeError(f"MiniStack does not start: {self.process.log.read_text()[-2000:]}")

    def client(self, service):
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(proxies={}, retries={"max_attempts": 1}, read_timeout=60, s3={"addressing_style": "path"}),
        )

    def deploy(self, template, packages, parameters):
        """What `sam deploy` does: packages to S3, their addresses into the template, a stack made of it."""
        self.template = yaml_parse(pathlib.Path(template).read_text())
        s3, stacks = self.client("s3"), self.client("cloudformation")
        s3.create_bucket(Bucket=BUCKET)
        packaged = copy.deepcopy(self.template)
        for resource in packaged["Resources"].values():
            if resource["Type"] == "AWS::Serverless::Function":
                function = pathlib.PurePath(resource["Properties"]["CodeUri"]).name
                s3.upload_file(str(pathlib.Path(packages) / function / "bootstrap.zip"), BUCKET, f"{function}.zip")
                resource["Properties"]["CodeUri"] = f"s3://{BUCKET}/{function}.zip"
        s3.put_object(Bucket=BUCKET, Key="template.json", Body=json.dumps(packaged).encode())
        stacks.create_stack(
            StackName=STACK,
            TemplateURL=f"{self.url}/{BUCKET}/template.json",
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )
        until = time.monotonic() + 60
        while (status := stacks.describe_stacks(StackName=STACK)["Stacks"][0]["StackStatus"]).endswith("_IN_PROGRESS"):
            assert time.monotonic() < until, f"the stack is {status} after a minute"
            time.sleep(0.1)
        if status != "CREATE_COMPLETE":
            events = stacks.describe_stack_events(StackName=STACK)["StackEvents"]
            why = [
                f"{event['LogicalResourceId']}: {event['ResourceStatusReason']}"
                for event in events
                if event.get("ResourceStatusReason")
            ]
            raise AssertionError(f"the stack is {status}: {'; '.join(why)}")
        resources = stacks.describe_stack_resources(StackName=STACK)["StackResources"]
        self.stack = {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in resources}
        self._make_numbers_of_texts()

    def _make_numbers_of_texts(self):
        """MiniStack keeps a number that came from a parameter as text, and then its poller fails at comparing it."""
        functions = self.client("lambda")
        for source in functions.list_event_source_mappings()["EventSourceMappings"]:
            limit = int(source["ScalingConfig"]["MaximumConcurrency"])
            functions.update_event_source_mapping(UUID=source["UUID"], ScalingConfig={"MaximumConcurrency": limit})

    def declared(self, kind):
        """The template's resources of a type, by name."""
        resources = self.template["Resources"].items()
        return {name: resource["Properties"] for name, resource in resources if resource["Type"] == kind}

    def function_env(self, function):
        """The environment of a deployed function, for a process of our own."""
        configuration = self.client("lambda").get_function_configuration(FunctionName=self.stack[function])
        return (
            self.env
            | configuration["Environment"]["Variables"]
            | {
                "AWS_LAMBDA_FUNCTION_NAME": configuration["FunctionName"],
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(configuration["MemorySize"]),
                "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            }
        )

    def logs(self, function):
        """The messages in a function's log group, oldest first."""
        group = f"/nightshift/{STACK}/{function}"
        pages = self.client("logs").get_paginator("filter_log_events").paginate(logGroupName=group)
        return [event["message"] for page in pages for event in page["events"]]

    def stop(self):
        return self.process.stop()
