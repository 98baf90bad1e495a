"""moto as a peer of the tests: the real server, and the least that must be patched for our state machines.

    python moto_peer.py -H 127.0.0.1 -p N

Every patch says what moto 5.2.5 gets wrong and where AWS documents it. Nothing else is changed: what is not patched
and differs is left to fail, or to be skipped by a scenario that says why.
"""

import json
import sys
import threading

import jsonata
from moto import server
from moto.core.config import default_user_config
from moto.core.responses import EmptyResult
from moto.dynamodb.responses import DynamoHandler
from moto.stepfunctions.parser.api import ExecutionStatus
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name import StatesErrorName
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name_type import StatesErrorNameType
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import state_task_service_aws_sdk as sdk_tasks
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import state_task_service_callback as callback_tasks
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import state_task_service_sfn as nested
from moto.stepfunctions.parser.asl.eval import states, variable_store
from moto.stepfunctions.parser.asl.eval.callback.callback import CallbackEndpoint, HeartbeatTimeoutError
from moto.stepfunctions.parser.asl.jsonata import jsonata as evaluator
from moto.stepfunctions.parser.models import StepFunctionsParserBackend
from moto.stepfunctions.responses import StepFunctionResponse


# DynamoDB: writes of one item are atomic
# (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.ReadConsistency.html); moto answers every
# request in a thread of its own and makes an item first and fills it then, so that halves can be read.
_one_at_a_time = threading.Lock()
_call_action = DynamoHandler.call_action


def _call_alone(self):
    with _one_at_a_time:
        return _call_action(self)


DynamoHandler.call_action = _call_alone


# JSONata: moto's evaluator asks a Java library that it does not bring. The same expressions are evaluated by
# jsonata-python, which MiniStack uses as well.
def _evaluate(expression):
    try:
        return jsonata.Jsonata.jsonata(expression).evaluate(None)
    except Exception as error:
        raise evaluator.JSONataException(getattr(error, "error", None) or "UNKNOWN", str(error)) from error


evaluator._eval_jsonata = _evaluate


# JSONata: a variable that is a text is put between quotes as it is, so one with a quote in it is another expression.
def _declare(bindings):
    return "".join(f"{name}:={json.dumps(value, default=str, ensure_ascii=False)};" for name, value in bindings.items())


for module in (evaluator, states, variable_store):
    module.encode_jsonata_variable_declarations = _declare


# SendTaskFailure: the cause is dropped
# (https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskFailure.html).
def _send_task_failure(self):
    self.stepfunction_backend.send_task_failure(
        self._get_param("taskToken"), error=self._get_param("error"), cause=self._get_param("cause")
    )
    return EmptyResult()


StepFunctionResponse.send_task_failure = _send_task_failure

# Heartbeats: a callback that arrives before its task waits for heartbeats is only noticed when the first heartbeat is
# missed, and is then too late.
_setup_heartbeats = CallbackEndpoint.setup_heartbeat_endpoint


def _setup_heartbeat_endpoint(self, heartbeat_seconds):
    endpoint = _setup_heartbeats(self, heartbeat_seconds)
    if self.get_outcome() is not None:
        endpoint.notify()
    return endpoint


CallbackEndpoint.setup_heartbeat_endpoint = _setup_heartbeat_endpoint


# Heartbeats: missing one is States.HeartbeatTimeout, an error of its own since 2021
# (https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html).
_from_error = callback_tasks.StateTaskServiceCallback._from_error


def _from_missed_heartbeat(self, env, ex):
    event = _from_error(self, env, ex)
    if isinstance(ex, HeartbeatTimeoutError):
        event.error_name = StatesErrorName(typ=StatesErrorNameType.StatesHeartbeatTimeout)
        event.event_details["taskTimedOutEventDetails"]["error"] = "States.HeartbeatTimeout"
    return event


callback_tasks.StateTaskServiceCallback._from_error = _from_missed_heartbeat


# StopExecution: error and cause are dropped, and an execution that is stopped does not take the ones it waits for along
# (https://docs.aws.amazon.com/step-functions/latest/dg/connect-stepfunctions.html).
_PARENT = "AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID"
_stop_execution = StepFunctionsParserBackend.stop_execution


def _stop(self, execution_arn):
    stopped = _stop_execution(self, execution_arn)
    for execution in self._get_executions(ExecutionStatus.RUNNING):
        if json.loads(execution.execution_input).get(_PARENT) == execution_arn:
            _stop(self, execution.execution_arn)
    return stopped


StepFunctionsParserBackend.stop_execution = _stop


# startExecution: its arguments are written as the API has them but with a capital
# (https://docs.aws.amazon.com/step-functions/latest/dg/connect-stepfunctions.html), and so are its results; moto sends
# and reads them as they are, and then misses StateMachineArn and ExecutionArn.
def _start(self, env, resource_runtime_part, normalised_parameters, state_credentials):
    client = nested.boto_client_for(
        region=resource_runtime_part.region, service="stepfunctions", state_credentials=state_credentials
    )
    arguments = {name[0].lower() + name[1:]: value for name, value in normalised_parameters.items()}
    arguments["input"] = json.dumps(arguments.get("input", {}))
    started = client.start_execution(**arguments)
    env.stack.append({"ExecutionArn": started["executionArn"], "StartDate": started["startDate"]})


def _with_capitals(self, response, boto_service_name=None, service_action_name=None):
    for name in list(response):
        response[name[0].upper() + name[1:]] = response.pop(name)


nested.StateTaskServiceSfn._eval_service_task = _start
nested.StateTaskServiceSfn._normalise_parameters = lambda self, *arguments, **named: None
nested.StateTaskServiceSfn._normalise_response = _with_capitals

# aws-sdk:sfn: the members of this service begin with a small letter, the arguments of a task with a capital
# (https://docs.aws.amazon.com/step-functions/latest/dg/supported-services-awssdk.html).
def _sdk_parameters(self, parameters, boto_service_name=None, service_action_name=None):
    if self.resource.api_name == "sfn":
        for name in list(parameters):
            parameters[name[0].lower() + name[1:]] = parameters.pop(name)


sdk_tasks.StateTaskServiceAwsSdk._normalise_parameters = _sdk_parameters

# State machines are only kept unless told.
default_user_config["stepfunctions"] = {"execute_state_machine": True}

if __name__ == "__main__":
    server.main(sys.argv[1:])
