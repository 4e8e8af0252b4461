import json
import os
import urllib.error
import urllib.request

URL = os.environ.get("REWARD_SERVER_URL", "http://127.0.0.1:8731").rstrip("/")
# Proxies of the environment are for other addresses.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(path, question):
    body = json.dumps(question).encode()
    request = urllib.request.Request(URL + path, body, {"Content-Type": "application/json"})
    try:
        with OPENER.open(request, timeout=120) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        words = error.read().decode(errors="replace")
        raise RuntimeError(f"the reward server at {URL} refused: {error.code} {words}") from None
    except OSError as error:
        raise RuntimeError(
            f"no reward server answers at {URL}: {error}\n"
            "hint: start `sorft reward serve EPISODES`; REWARD_SERVER_URL names another address"
        ) from None
