"""The trigger's plain event as a Lambda function in Python with boto3: the peer that the bootstrap is measured beside.

It makes the same calls in the same order and hands the state machine an input of the same kind; what it does not do is
check the item, which favours it. The loop at the end is what Lambda's own runtime for Python does.
"""

import json
import os
import urllib.request
from datetime import datetime, timezone

import boto3
from boto3.dynamodb.types import TypeDeserializer
from botocore.config import Config

region = os.environ["AWS_REGION"]
config = Config(retries={"mode": "standard"})
dynamodb = boto3.client("dynamodb", region_name=region, config=config)
states = boto3.client("stepfunctions", region_name=region, config=config)
sns = boto3.client("sns", region_name=region, config=config)

AUDIT = os.environ["RSQLFLOW_TABLES_WORKFLOW_AUDIT"]
MASTER = os.environ["RSQLFLOW_STATE_MACHINES_MASTER"]


def handle(event):
    workflow, run = event["workflow_id"], event["workflow_execution_id"]
    dynamodb.get_item(
        TableName=AUDIT,
        Key={"workflow_execution_id": {"S": f"turn#{workflow}"}, "workflow_id": {"S": workflow}},
        ConsistentRead=True,
    )
    dynamodb.query(
        TableName=AUDIT,
        IndexName="by-workflow",
        KeyConditionExpression="workflow_id = :id",
        FilterExpression="execution_status IN (:t, :r)",
        ExpressionAttributeValues={":id": {"S": workflow}, ":t": {"S": "triggered"}, ":r": {"S": "running"}},
    )
    found = dynamodb.get_item(
        TableName=os.environ["RSQLFLOW_TABLES_CONFIG"], Key={"workflow_id": {"S": workflow}}, ConsistentRead=True
    )
    item = {name: TypeDeserializer().deserialize(value) for name, value in found["Item"].items()}
    dynamodb.query(
        TableName=AUDIT,
        KeyConditionExpression="workflow_execution_id = :id",
        ExpressionAttributeValues={":id": {"S": run}},
        ConsistentRead=True,
        Limit=1,
    )
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    dynamodb.put_item(
        TableName=AUDIT,
        Item={
            "workflow_execution_id": {"S": run},
            "workflow_id": {"S": workflow},
            "execution_status": {"S": "triggered"},
            "execution_start_ts": {"S": now},
            "started_by": {"S": "peer"},
        },
        ConditionExpression="attribute_not_exists(workflow_execution_id)",
    )
    stages = [stage for stage in item["workflow_stages"] if stage.get("execution_flag", "y") in "yY"]
    given = {
        "run": {
            "workflow_id": workflow,
            "workflow_execution_id": run,
            "host": "i-rsqlflow",
            "parameters": {},
            "secret_id": "rsqlflow/warehouse",
            "heartbeat_seconds": 30,
            "job_audit_table": os.environ["RSQLFLOW_TABLES_JOB_AUDIT"],
        },
        "stages": stages,
        "timeout_seconds": 31536000,
        "machines": {"sequential": "", "parallel": ""},
        "workflow_audit_table": AUDIT,
    }
    started = states.start_execution(stateMachineArn=MASTER, name=run, input=json.dumps(given))
    return {"workflow_execution_id": run, "execution_arn": started["executionArn"]}


api = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation"
while True:
    with urllib.request.urlopen(f"{api}/next") as answer:
        request_id = answer.headers["lambda-runtime-aws-request-id"]
        event = json.load(answer)
    body = json.dumps(handle(event)).encode()
    urllib.request.urlopen(urllib.request.Request(f"{api}/{request_id}/response", data=body, method="POST")).close()
