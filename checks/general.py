"""RepoQA and LiveCodeBench: ours against the reference code (checks/general.sh runs this).

    python checks/general.py SORFT LIVECODEBENCH REPOS FOLDER

Exits with 1 where anything differs.
"""

import json
import os
import pathlib
import subprocess
import sys

import general_livecodebench
import general_repoqa
from answering import Server


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


def constant(text):
    """A server that always answers the same."""
    return Server(lambda _: [text])


def main():
    program, reference, repos, folder = sys.argv[1:]
    folder = pathlib.Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    sorft, fixtures = Sorft(program, folder), pathlib.Path("fixtures/models").resolve()
    # Its modules read files from where it stands.
    os.chdir(reference)
    sys.path.insert(0, reference)
    lines = general_repoqa.check(sorft, constant, pathlib.Path(repos), fixtures)
    lines += general_livecodebench.check(sorft, constant)
    print()
    for is_equal, line in lines:
        print(f"{'equal  ' if is_equal else 'DIFFERS'}  {line}")
    sys.exit(not all(is_equal for is_equal, _ in lines))


if __name__ == "__main__":
    main()
