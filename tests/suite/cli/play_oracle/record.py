"""Writes what each task returned on each host as a line of JSON."""
import json
import os

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "record"

    def __init__(self):
        super().__init__()
        self.out = open(os.environ["RECORD_FILE"], "a")

    def write(self, status, result):
        returned = json.loads(self._dump_results(result._result, keep_invocation=False))
        line = {
            "status": status,
            "task": result._task_fields.get("name") or result._task.action,
            "module": result._task.action,
            "host": result._host.get_name(),
            "result": returned,
        }
        self.out.write(json.dumps(line) + "\n")
        self.out.flush()

    def v2_runner_on_ok(self, result):
        self.write("ok", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self.write("failed", result)

    def v2_runner_on_skipped(self, result):
        self.write("skipped", result)

    def v2_runner_on_unreachable(self, result):
        self.write("unreachable", result)

    def v2_runner_item_on_ok(self, result):
        self.write("ok", result)

    def v2_runner_item_on_failed(self, result):
        self.write("failed", result)

    def v2_runner_item_on_skipped(self, result):
        self.write("skipped", result)
