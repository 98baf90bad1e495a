"""MiniStack as a peer of the tests: the real server, and the least that must be patched for our state machines.

    BIND_HOST=127.0.0.1 GATEWAY_PORT=N RSQLFLOW_PEER_NODES=mi-...,mi-... python ministack_peer.py

Every patch says what MiniStack 1.5.33 gets wrong and where AWS documents it. Nothing else is changed: what is
not patched and differs is left to fail, or to be skipped by a scenario that says why.
"""

import contextvars
import json
import os
import threading
import time

from ministack import app
from ministack.core.responses import AccountRegionScopedDict, error_response_json, get_account_id, get_region, json_response
from ministack.services import ssm, stepfunctions as sfn
from ministack.services.cloudformation import provisioners

NODES = {node for node in os.environ.get("RSQLFLOW_PEER_NODES", "").split(",") if node}


# Systems Manager: MiniStack knows only EC2 instances that run in its own Docker containers. The nodes of the tests are
# managed nodes (https://docs.aws.amazon.com/systems-manager/latest/userguide/systems-manager-hybrid-multicloud.html).
_instances = ssm._managed_instance_ids
ssm._managed_instance_ids = lambda: _instances() | NODES
_describe_instances = ssm._describe_instance_information


def _describe_instance_information(data):
    status, headers, body = _describe_instances(data)
    answer = json.loads(body)
    answer["InstanceInformationList"] += [
        {"InstanceId": node, "PingStatus": "Online", "LastPingDateTime": time.time(), "AgentVersion": "3.3.0.0",
         "PlatformType": "Linux", "ResourceType": "ManagedInstance"}
        for node in sorted(NODES)
    ]
    return json_response(answer)


ssm._describe_instance_information = _describe_instance_information


# Systems Manager: there are no documents at all, neither as API actions nor as a CloudFormation resource
# (https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_CreateDocument.html). A few lines keep them, so
# that what is deployed can be described; SendCommand takes any name anyway.
_documents = AccountRegionScopedDict()


def _described(name):
    document = _documents[name]
    return {"Name": name, "DocumentVersion": str(document["version"]), "LatestVersion": str(document["version"]),
            "DefaultVersion": str(document["version"]), "DocumentType": "Command", "DocumentFormat": "JSON",
            "SchemaVersion": "2.2", "Status": "Active", "CreatedDate": document["created"]}


def _write_document(name, content, create):
    if create == (name in _documents):
        code = "DocumentAlreadyExists" if create else "InvalidDocument"
        return error_response_json(code, f"Document {name}", 400)
    version = 1 if create else _documents[name]["version"] + 1
    _documents[name] = {"content": content, "version": version, "created": time.time()}
    return json_response({"DocumentDescription": _described(name)})


def _read_document(data, content):
    name = data.get("Name", "").rsplit("/", 1)[-1]
    if name not in _documents:
        return error_response_json("InvalidDocument", f"Document with name {name} does not exist.", 400)
    if content:
        return json_response({**_described(name), "Content": _documents[name]["content"]})
    return json_response({"Document": _described(name)})


def _delete_document(data):
    _documents.pop(data.get("Name", ""), None)
    return json_response({})


_ACTIONS = {
    "CreateDocument": lambda data: _write_document(data["Name"], data["Content"], True),
    "UpdateDocument": lambda data: _write_document(data["Name"], data["Content"], False),
    "UpdateDocumentDefaultVersion": lambda data: json_response({}),
    "DescribeDocument": lambda data: _read_document(data, False),
    "GetDocument": lambda data: _read_document(data, True),
    "DeleteDocument": _delete_document,
}
_handle = ssm.handle_request


async def _handle_request(method, path, headers, body, query_params):
    action = _ACTIONS.get(headers.get("x-amz-target", "").rsplit(".", 1)[-1])
    if action is None:
        return await _handle(method, path, headers, body, query_params)
    return action(json.loads(body or "{}"))


ssm.handle_request = _handle_request


def _document_text(properties):
    content = properties.get("Content", {})
    return content if isinstance(content, str) else json.dumps(content)


def _document_create(logical_id, properties, stack):
    name = properties.get("Name") or f"{stack}-{logical_id}"
    _write_document(name, _document_text(properties), name not in _documents)
    return name, {}


def _document_update(physical_id, old, new, stack, *_):
    _write_document(physical_id, _document_text(new), physical_id not in _documents)
    return physical_id, {}


provisioners._RESOURCE_HANDLERS.setdefault("AWS::SSM::Document", {
    "create": _document_create,
    "update": _document_update,
    "delete": lambda physical_id, properties: _documents.pop(physical_id, None),
})


# Step Functions: a Task's TimeoutSeconds may be an expression
# (https://docs.aws.amazon.com/step-functions/latest/dg/state-task.html); MiniStack hands the text to a clock. While at
# it, the execution whose task this is gets remembered for the patch of StopExecution below.
_execution = contextvars.ContextVar("execution")
_execute_task = sfn._execute_task


def _task(state, raw_input, execution, ctx):
    _execution.set(execution)
    if sfn._state_query_language(state, ctx) == "JSONata" and isinstance(state.get("TimeoutSeconds"), str):
        state = {**state, "TimeoutSeconds": sfn._jsonata_state_field(state, "TimeoutSeconds", "number", raw_input, ctx)}
    return _execute_task(state, raw_input, execution, ctx)


sfn._execute_task = _task


# Step Functions: the expressions of one Assign all see the values of before it
# (https://docs.aws.amazon.com/step-functions/latest/dg/workflow-variables.html); MiniStack lets each see those above it.
_apply_state_assign = sfn._apply_state_assign


def _assign(state, raw_input, ctx, **results):
    if not isinstance(state.get("Assign"), dict) or ctx is None:
        return
    before, after = ctx.setdefault("variables", {}), {}
    for name, value in state["Assign"].items():
        ctx["variables"] = dict(before)
        _apply_state_assign({**state, "Assign": {name: value}}, raw_input, ctx, **results)
        after[name] = ctx["variables"][name]
    before.update(after)
    ctx["variables"] = before


sfn._apply_state_assign = _assign


# Step Functions: where no rule of a Choice holds, the Output of the state itself is what goes on
# (https://docs.aws.amazon.com/step-functions/latest/dg/state-choice.html); MiniStack passes the input on. The default
# becomes a last rule that always holds.
_execute_choice = sfn._execute_choice


def _choice(state, raw_input, ctx=None):
    if sfn._state_query_language(state, ctx) == "JSONata" and "Default" in state:
        own = {name: state[name] for name in ("Assign", "Output") if name in state}
        last = {"Condition": "{% true %}", "Next": state["Default"], **own}
        state = {**state, "Choices": [*state.get("Choices", []), last]}
    return _execute_choice(state, raw_input, ctx)


sfn._execute_choice = _choice


# Step Functions: a Map whose iteration fails ends there
# (https://docs.aws.amazon.com/step-functions/latest/dg/state-map-inline.html); MiniStack runs all the others first.
_failed = contextvars.ContextVar("failed", default=None)
_run_map_items, _run_sub_machine = sfn._run_map_items, sfn._run_sub_machine


def _map(*arguments):
    outer = _failed.set(threading.Event())
    try:
        return _run_map_items(*arguments)
    finally:
        _failed.reset(outer)


def _iteration(*arguments, **named):
    failed = _failed.get()
    if failed is not None and failed.is_set():
        return None
    try:
        return _run_sub_machine(*arguments, **named)
    except sfn._ExecutionError:
        if failed is not None:
            failed.set()
        raise


sfn._run_map_items, sfn._run_sub_machine = _map, _iteration


# Step Functions: the cause of a failed startExecution.sync:2 is the child's description as JSON
# (https://docs.aws.amazon.com/step-functions/latest/dg/connect-stepfunctions.html); MiniStack gives the child's own
# error in its place.
def _nested_failure(child):
    keys = {"executionArn": "ExecutionArn", "stateMachineArn": "StateMachineArn", "name": "Name", "status": "Status",
            "input": "Input", "error": "Error", "cause": "Cause", "startDate": "StartDate", "stopDate": "StopDate"}
    return "States.TaskFailed", json.dumps({to: child[name] for name, to in keys.items() if child.get(name)})


sfn._nested_execution_failure = _nested_failure


# Step Functions: nobody waits for the tasks of an execution that has ended: their tokens answer TaskTimedOut
# (https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskHeartbeat.html), and an execution that is
# stopped takes the ones it waits for along (https://docs.aws.amazon.com/step-functions/latest/dg/connect-stepfunctions.html).
# MiniStack takes heartbeats of a token for as long as its thread waits, and stops no child.
_owners = {}
_closed = set()
_invoke_with_callback = sfn._invoke_with_callback


def _callback(resource, input_data, token, state):
    _owners[token] = _execution.get()
    try:
        return _invoke_with_callback(resource, input_data, token, state)
    finally:
        _closed.add(token)


sfn._invoke_with_callback = _callback


def _of_living(action):
    def answer(data):
        token = data.get("taskToken")
        if token in _closed or _owners.get(token, {}).get("status", "RUNNING") != "RUNNING":
            return error_response_json("TaskTimedOut", "Task Timed Out: 'Provided task does not exist anymore'", 400)
        return action(data)
    return answer


sfn._send_task_success = _of_living(sfn._send_task_success)
sfn._send_task_failure = _of_living(sfn._send_task_failure)
sfn._send_task_heartbeat = _of_living(sfn._send_task_heartbeat)

_stop_execution = sfn._stop_execution
_PARENT = "AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID"


def _stop(data):
    answer = _stop_execution(data)
    for arn, execution in list(sfn._executions.items()):
        if execution["status"] == "RUNNING" and data.get("executionArn") == json.loads(execution["input"]).get(_PARENT):
            _stop({"executionArn": arn})
    return answer


sfn._stop_execution = _stop


if __name__ == "__main__":
    app.main()
