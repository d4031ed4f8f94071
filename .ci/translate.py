"""Translates the SAM template into the CloudFormation that the service would make of it: python translate.py IN OUT.

cfn-lint alone lets wrong SAM properties pass; the translator refuses them, and its result can be linted as well.
"""

import json
import os
import sys

# The translator asks for a region, and answers for every one alike.
os.environ.setdefault("AWS_DEFAULT_REGION", "eu-central-1")

from samtranslator.model.exceptions import InvalidDocumentException  # noqa: E402
from samtranslator.translator.transform import transform  # noqa: E402
from samtranslator.yaml_helper import yaml_parse  # noqa: E402


class NoManagedPolicies:
    """Every role of the template is written out: no name of a managed policy has to be looked up."""

    @staticmethod
    def load():
        return {}


def main(source, target):
    with open(source, encoding="utf-8") as file:
        template = yaml_parse(file)
    # The service gets addresses in S3 from `sam package`; a directory is not one.
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
    parameters = {name: parameter.get("Default", "x") for name, parameter in template["Parameters"].items()}
    try:
        translated = transform(template, parameters, NoManagedPolicies())
    except InvalidDocumentException as error:
        for cause in error.causes:
            print(f"{source}: {cause.message}", file=sys.stderr)
        return 1
    with open(target, "w", encoding="utf-8") as file:
        json.dump(translated, file, indent=2)
    print(f"{len(template['Resources'])} resources became {len(translated['Resources'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
