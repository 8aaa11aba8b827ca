"""Cold start: from starting a process to its first decision, over loopback, and what it imported."""

from __future__ import annotations

import json
import os
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
from endpoint_calls import Caller

STARTS = 7
# {SSHA} of "s3cret": the first look into the store is part of the first decision.
STORED = "{SSHA}yBnyDfXLhzykPbtYzAGC9pwxT8oxMjM0NTY3OA=="


def serve_documents(caller: Caller) -> str:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(caller.documents(address)).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return address


def processor_seconds(process: int) -> float:
    """Seconds of processor time that a process has used: what starting costs when nothing else runs."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start_once(caller: Caller, settings: dict[str, str]) -> tuple[float, float, float, float]:
    """Seconds until it listens, those of them at work, and until its first and its second decision."""
    bodies = [caller.body("ann@contoso.example", "s3cret") for _ in range(2)]
    headers = caller.headers()
    command = [sys.executable, "-m", "jitkit.endpoint", "--port", "0"]
    with httpx.Client(trust_env=False) as http:
        started = time.perf_counter()
        with subprocess.Popen(command, env=os.environ | settings, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            moments, busy = [time.perf_counter() - started], processor_seconds(process.pid)
            for body in bodies:
                assert b"UpdatePassword" in http.post(url, content=body, headers=headers).content
                moments.append(time.perf_counter() - started)
            process.terminate()
    return moments[0], busy, moments[1], moments[2] - moments[1]


def imported() -> tuple[int, list[str]]:
    code = "import sys, json, jitkit.endpoint.serve; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = json.loads(done.stdout)
    tops = (
        {name.partition(".")[0] for name in modules} - set(sys.stdlib_module_names) - {"helpers", "jitkit", "__main__"}
    )
    return len(modules), sorted(name for name in tops if not name.startswith("_"))


def report(folder: Path) -> None:
    caller = Caller()
    with closing(sqlite3.connect(folder / "start.db")) as database, database:
        database.execute("CREATE TABLE legacy_users (username, password_hash, status, must_change)")
        database.execute("INSERT INTO legacy_users VALUES ('ann@contoso.example', ?, 'active', 0)", [STORED])
    settings = caller.settings(
        JIT_OPENID_CONFIGURATION=serve_documents(caller),
        LegacyApiConnectionString=f"sqlite:///{folder / 'start.db'}",
        JIT_LEDGER=str(folder / "start.jsonl"),
    )
    starts = [start_once(caller, settings) for _ in range(STARTS)]
    listening, busy, first, second = (statistics.median(times) for times in zip(*starts, strict=True))
    count, tops = imported()
    print(f"process start to listening               {listening:7.2f} s   (aim: under 1)")
    print(f"of these, processor time                 {busy:7.2f} s")
    print(f"process start to the first decision      {first:7.2f} s   (Entra waits 2)")
    print(f"the next decision                        {second * 1000:7.0f} ms")
    print(f"imported: {count} modules, of {', '.join(tops)}")
