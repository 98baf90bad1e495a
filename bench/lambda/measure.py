#!/usr/bin/env python3
"""Cold start and memory of the trigger function, beside the same handler in Python with boto3.

    bench/lambda/measure.py RSQLFLOW BOOTSTRAP PYTHON     PYTHON: an interpreter that has boto3

Both run under a runtime API on this machine, against the endpoint of one `rsqlflow up`. `init_ms` is from the start of
the process to its first request for an event, `first_ms` from that event to its answer (connections are made in it),
`warm_ms` the same for the median of later ones, `peak_mib` the most memory that was resident. Best of the rounds, in
which the two take turns; one JSON line for each side.
"""

import json
import os
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROUNDS = 7
WARM = 20


class RuntimeApi:
    """Lambda's runtime API, as far as a function uses it."""

    def __init__(self):
        self.events, self.answers, self.asked = queue.Queue(), queue.Queue(), queue.Queue()
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self):
                api.asked.put(time.perf_counter())
                event = api.events.get()
                body = json.dumps(event).encode()
                self.send_response(200)
                self.send_header("lambda-runtime-aws-request-id", event["workflow_execution_id"])
                self.send_header("lambda-runtime-deadline-ms", str(int(time.time() * 1000) + 60000))
                self.send_header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:0:function:t")
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                length = self.headers["content-length"]
                if length is not None:
                    body = self.rfile.read(int(length))
                else:
                    body = b""
                    while size := int(self.rfile.readline(), 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                api.answers.put((time.perf_counter(), self.path.rsplit("/", 1)[1], body))
                self.send_response(202)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def invoke(self, run):
        began = time.perf_counter()
        self.events.put({"workflow_id": "bench", "workflow_execution_id": run})
        ended, kind, body = self.answers.get(timeout=60)
        assert kind == "response", body
        self.asked.get(timeout=60)
        return (ended - began) * 1000


def measure(command, environment, prefix):
    api = RuntimeApi()
    environment = {**environment, "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.server.server_port}"}
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        init = (api.asked.get(timeout=60) - began) * 1000
        first = api.invoke(f"{prefix}-0")
        warm = statistics.median(api.invoke(f"{prefix}-{n}") for n in range(1, WARM + 1))
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
    finally:
        process.kill()
        process.wait()
        api.server.shutdown()
    return {"init_ms": init, "first_ms": first, "warm_ms": warm, "peak_mib": peak}


def main():
    rsqlflow, bootstrap, python = sys.argv[1:]
    with tempfile.TemporaryDirectory() as site:
        (Path(site) / "rsql_scripts").mkdir()
        # A host that is none: a run that starts and ends at once, in nobody's way.
        item = {"workflow_id": "bench", "host": "i-00000000", "workflow_stages": [
            {"execution_flag": "y", "execution_type": "sequential", "scripts": ["a.sh"]}]}
        (Path(site) / "item.json").write_text(json.dumps(item))
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RSQLFLOW_"))}
        up = subprocess.Popen([rsqlflow, "up", "--json"], cwd=site, env=plain, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
        try:
            ready = json.loads(up.stdout.readline())
            subprocess.run([rsqlflow, "config", "put", "item.json"], cwd=site, env=plain, check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            exports = subprocess.run([rsqlflow, "env", "--json"], cwd=site, env=plain, check=True,
                                     capture_output=True, text=True).stdout
            exports = json.loads(exports)
            machine = f"arn:aws:states:{ready['region']}:000000000000:stateMachine:rsqlflow-"
            environment = {
                "PATH": os.environ["PATH"],
                "AWS_REGION": ready["region"],
                "AWS_ENDPOINT_URL": ready["endpoint"],
                "AWS_ACCESS_KEY_ID": exports["AWS_ACCESS_KEY_ID"],
                "AWS_SECRET_ACCESS_KEY": exports["AWS_SECRET_ACCESS_KEY"],
                "AWS_LAMBDA_FUNCTION_NAME": "rsqlflow-trigger",
                "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
                "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/rsqlflow-trigger",
                "AWS_LAMBDA_LOG_STREAM_NAME": "bench",
                "RSQLFLOW_TABLES_CONFIG": "rsqlflow-config",
                "RSQLFLOW_TABLES_JOB_AUDIT": "rsqlflow-job-audit",
                "RSQLFLOW_TABLES_WORKFLOW_AUDIT": "rsqlflow-workflow-audit",
                "RSQLFLOW_STATE_MACHINES_MASTER": machine + "master",
                "RSQLFLOW_STATE_MACHINES_SEQUENTIAL": machine + "sequential",
                "RSQLFLOW_STATE_MACHINES_PARALLEL": machine + "parallel",
            }
            sides = {"bootstrap": [bootstrap], "python": [python, str(Path(__file__).with_name("peer.py"))]}
            taken = {side: [] for side in sides}
            for number in range(ROUNDS):
                for side, command in sides.items():
                    taken[side].append(measure(command, environment, f"{side}-{number}"))
            best = {side: {name: round(min(one[name] for one in all), 1) for name in all[0]}
                    for side, all in taken.items()}
            best["bootstrap"]["mib"] = round(Path(bootstrap).stat().st_size / 2**20, 1)
            for side, figures in best.items():
                print(json.dumps({"bench": "lambda", "side": side, **figures}))
            ratios = {f"{name}_ratio": round(best["python"][name] / best["bootstrap"][name], 1)
                      for name in ("init_ms", "first_ms", "warm_ms", "peak_mib")}
            print(json.dumps({"bench": "lambda", **ratios}))
        finally:
            up.terminate()
            up.wait()


main()
