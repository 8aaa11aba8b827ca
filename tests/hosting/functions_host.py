"""A host for one packaged Azure Functions app: hands it HTTP requests as the Functions host does, on loopback.

Run it with the package's own Python and nothing of the kit: `python -I functions_host.py FOLDER`. Like an instance
behind a health check it gets no request before its GET answers 200, and ends with exit code 1 when that never comes.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PREFIX = "/api/"
READY_SECONDS = 3.0
DRAIN_SECONDS = 5.0


class Worker:
    """Loads `function_app.py` while an event loop runs, as the Python worker does, and calls its functions there."""

    def __init__(self, folder: str) -> None:
        sys.path.insert(0, folder)
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

        async def load() -> Any:
            return importlib.import_module("function_app")

        app = asyncio.run_coroutine_threadsafe(load(), self.loop).result().app
        self.functions = {}
        for each in app.get_functions():
            [trigger] = [binding for binding in each.get_bindings() if binding.type == "httpTrigger"]
            assert str(trigger.auth_level).upper().endswith("ANONYMOUS"), "Entra sends no function key"
            self.functions[PREFIX + trigger.route] = (each.get_user_function(), [str(m.value) for m in trigger.methods])

    def call(self, method: str, url: str, headers: dict[str, str], body: bytes) -> Any:
        import azure.functions as func

        function, methods = self.functions.get(url.partition("?")[0], (None, []))
        if function is None or method not in methods:
            return func.HttpResponse(b"", status_code=404)
        request = func.HttpRequest(method=method, url=f"http://localhost{url}", headers=headers, body=body)
        context = Context()
        return asyncio.run_coroutine_threadsafe(function(request, context), self.loop).result()


class Context:
    """What the endpoint's adapter reads of an invocation's context."""

    function_directory, function_name, invocation_id = "", "JitMigrationEndpoint", "1"
    thread_local_storage = trace_context = retry_context = None


class Handler(BaseHTTPRequestHandler):
    worker: Worker
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else a client waits 40 ms between headers and body
    busy = threading.Semaphore(0)
    done = threading.Semaphore(0)

    def answer(self) -> None:
        self.busy.release()
        try:
            self.respond()
        finally:
            self.done.release()

    def respond(self) -> None:
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        response = self.worker.call(self.command, self.path, headers, self.whole_body())
        content = response.get_body()
        self.send_response_only(response.status_code)
        for name, value in response.headers.items():
            if name.lower() not in ("content-length", "content-type"):
                self.send_header(name, value)
        self.send_header("content-type", response.mimetype)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def whole_body(self) -> bytes:
        """Read the body whole, as the host does before it calls a function."""
        if "chunked" not in (self.headers.get("transfer-encoding") or "").lower():
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        body = b""
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = do_OPTIONS = answer

    def log_message(self, *_: Any) -> None:
        return


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main(folder: str) -> int:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    handlers = list(logging.getLogger().handlers)
    worker = Worker(folder)
    assert logging.getLogger().handlers == handlers, "the package replaced the worker's log handlers"
    [route] = worker.functions
    until = time.monotonic() + READY_SECONDS
    while worker.call("GET", route, {"x-forwarded-proto": "https"}, b"").status_code != 200:
        if time.monotonic() > until:
            return 1
        time.sleep(0.2)
    Handler.worker = worker
    server = Server(("127.0.0.1", 0), Handler)
    sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{server.server_address[1]}{route}"}) + "\n")
    sys.stdout.flush()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    threading.Thread(target=end_with_stdin, args=(ended,), daemon=True).start()
    ended.wait()
    server.shutdown()
    while Handler.busy.acquire(blocking=False):  # requests under way get their answers
        Handler.done.acquire(timeout=DRAIN_SECONDS)
    return 0


def end_with_stdin(ended: threading.Event) -> None:
    while os.read(0, 1024):
        pass
    ended.set()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
