"""`sorft fix` through a real server (checks/real_server.sh says how to run it)."""

import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import dev_instances

CONTEXT = 8192


class Server:
    """llama.cpp's server; its log counts the completions that it began."""

    def __init__(self, weights, port, log):
        self.log, self.url = pathlib.Path(log), f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "llama_cpp.server", "--model", weights, "--n_ctx", str(CONTEXT),
                   "--n_threads", "2", "--n_threads_batch", "2", "--port", str(port)]
        with self.log.open("w", encoding="utf-8") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        for _ in range(600):
            if self.process.poll() is not None:
                sys.exit(f"the server ended: {self.log.read_text()[-2000:]}")
            try:
                urllib.request.urlopen(f"{self.url}/v1/models", timeout=5).close()
                return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.2)
        sys.exit("the server does not answer after two minutes")

    def n_answered(self):
        return len(re.findall(r"POST /v1/chat/completions HTTP/1.1\" 200", self.log.read_text()))

    def stop(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        self.process.wait()


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def finished_calls(run):
    path = run / "trajectory.jsonl"
    rows = dev_instances.read_rows(path) if path.exists() else []
    return [(row["stage"], row["request"], row["sample"]) for row in rows]


def kill_in_the_middle(sorft, instance, repos, out, weights, port, flags):
    """Kills the server while edits are sampled, and resumes with a new one."""
    server = Server(weights, port, out / "killed.log")

    def kill():
        run = out / f"{instance['instance_id']}.run"
        # The greedy edit is there; the samples that follow it are one call.
        while all(stage != "edit" for stage, _, _ in finished_calls(run)):
            time.sleep(0.05)
        time.sleep(3)
        server.stop()

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    run, code, seconds, told = dev_instances.fix(sorft, instance, repos, out, flags)
    thread.join(timeout=5)
    before = finished_calls(run)
    print(f"server killed: exit code {code} after {seconds:.0f} s with {len(before)} completions; it said:\n{told}")
    if code != 2:
        sys.exit("a dead server has to end the run with exit code 2")
    server = Server(weights, port, out / "resumed.log")
    run, code, seconds, told = dev_instances.fix(sorft, instance, repos, out, flags)
    server.stop()
    after, n_asked = finished_calls(run), server.n_answered()
    print(f"resumed: exit code {code} after {seconds:.0f} s with {len(after)} completions, "
          f"{n_asked} requests answered; it said:\n{told}")
    if code not in (0, 1):
        sys.exit("the resumed run does not end")
    if after[:len(before)] != before or len(set(after)) != len(after):
        sys.exit("the resumed run asked again for what was finished")
    if n_asked > len(after) - len(before):
        sys.exit(f"{n_asked} requests for {len(after) - len(before)} new completions")


def main():
    sorft, dataset, repos, out, weights, *only = sys.argv[1:]
    out = pathlib.Path(out)
    (out / "five").mkdir(parents=True, exist_ok=True)
    (out / "killed").mkdir(exist_ok=True)
    port = free_port()
    flags = ["--endpoint", f"http://127.0.0.1:{port}/v1", "--effort", "quick"]
    if only != ["killed"]:
        run_five(sorft, dataset, repos, out, weights, port, flags)
    instance = dev_instances.read_instances(dataset)[1]
    kill_in_the_middle(sorft, instance, repos, out / "killed", weights, port, flags)


def run_five(sorft, dataset, repos, out, weights, port, flags):
    server = Server(weights, port, out / "server.log")
    sys.argv = ["dev_instances.py", sorft, dataset, repos, str(out / "five"), *flags]
    try:
        dev_instances.main()
    except SystemExit as end:
        if end.code not in (0, None):
            raise
    finally:
        server.stop()


if __name__ == "__main__":
    main()
