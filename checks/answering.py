"""A server for checks: it speaks the OpenAI protocol, and answers what a function says."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """`answers(body)` gives the texts for a request; `asked` keeps all requests."""

    def __init__(self, answers, name="constant"):
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
                model = {"id": name, "object": "model", "max_model_len": 1 << 17}
                self.reply({"object": "list", "data": [model]})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked.append(body)
                choices = [{"index": at, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
                           for at, text in enumerate(answers(body))]
                usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
                self.reply({"id": "1", "object": "chat.completion", "model": name, "choices": choices, "usage": usage})

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
