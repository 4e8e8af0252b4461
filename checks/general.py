"""RepoQA and LiveCodeBench: ours against the reference code (checks/general.sh runs this).

    python checks/general.py SORFT LIVECODEBENCH REPOS FOLDER

Exits with 1 where anything differs.
"""

import json
import os
import pathlib
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import general_livecodebench
import general_repoqa


class Sorft:
    """The program, with a model or with a server whose answers are known."""

    def __init__(self, program, folder):
        self.program, self.folder = program, folder

    def run(self, *arguments):
        """What a command says as JSON; it may end with 1, where something failed."""
        command = [self.program, "--quiet", *map(str, arguments), "--format", "json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        assert done.returncode in (0, 1), (done.returncode, command)
        return json.loads(done.stdout)

    def ask(self, server, out, *arguments):
        """Asks anew; gives the rows of the file."""
        out = self.folder / out
        out.unlink(missing_ok=True)
        more = ["--endpoint", server.url] if server else []
        self.run(*arguments, *more, "--out", out)
        return [json.loads(line) for line in out.read_text().splitlines()]


class Server:
    """Speaks the OpenAI protocol, answers always the same, and keeps what it was asked."""

    def __init__(self, text):
        asked = self.asked = []

        class Handler(BaseHTTPRequestHandler):
            def reply(self, value):
                body = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                model = {"id": "constant", "object": "model", "max_model_len": 1 << 17}
                self.reply({"object": "list", "data": [model]})

            def do_POST(self):
                length = int(self.headers["Content-Length"])
                asked.append(json.loads(self.rfile.read(length)))
                message = {"role": "assistant", "content": text}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
                self.reply({"model": "constant", "choices": [choice], "usage": usage})

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def main():
    program, reference, repos, folder = sys.argv[1:]
    folder = pathlib.Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    sorft, fixtures = Sorft(program, folder), pathlib.Path("fixtures/models").resolve()
    # Its modules read files from where it stands.
    os.chdir(reference)
    sys.path.insert(0, reference)
    lines = general_repoqa.check(sorft, Server, pathlib.Path(repos), fixtures)
    lines += general_livecodebench.check(sorft, Server)
    print()
    for is_equal, line in lines:
        print(f"{'equal  ' if is_equal else 'DIFFERS'}  {line}")
    sys.exit(not all(is_equal for is_equal, _ in lines))


if __name__ == "__main__":
    main()
