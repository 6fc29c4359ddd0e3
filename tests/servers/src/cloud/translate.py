"""Prints a SAM template as the CloudFormation template that `sam deploy` makes of it: cfn-lint sees more in that."""

import json
import sys

import boto3
import yaml
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

with open(sys.argv[1], encoding="utf-8") as file:
    template = yaml_parse(file)
for resource in template["Resources"].values():
    if resource["Type"] == "AWS::Serverless::Function":
        # As `sam package` puts it there.
        resource["Properties"]["CodeUri"] = "s3://bucket/key"
        resource.pop("Metadata", None)
session = boto3.session.Session(region_name="us-east-1")
translator = Translator({}, Parser(), boto_session=session)
json.dump(translator.translate(template, {}), sys.stdout, indent=1)
