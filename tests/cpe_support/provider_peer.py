"""A provider for tests, in Python: serves values from a file that the test writes, and misbehaves when told to.

Usage: provider_peer.py STATE, a JSON file: {"hello": {...}, "values": {...}, "rows": {path: [...]}, "behave": "..."}; what it is asked is
appended to STATE.log. behave: "", or one of `die`, `hang`, `garbage`, `huge`, `refuse`, `flood`, in the next answers but hello.
"""

import json
import sys
import time


def main(name: str) -> None:
    for line in sys.stdin:
        request = json.loads(line)
        with open(name, encoding="utf-8") as file:
            state = json.load(file)
        with open(name + ".log", "a", encoding="utf-8") as log:
            log.write(line)
        say(answer(request, state, name))


def say(message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def answer(request: dict, state: dict, name: str) -> dict:
    number, do = request["id"], request["do"]
    if do == "hello":
        if state.get("mute"):
            time.sleep(60)
        return {"id": number, "ok": True, **state["hello"]}
    behave = state.get("behave", "")
    if behave == "die":
        sys.stderr.write("out of memory\n")
        sys.exit(3)
    if behave == "hang":
        time.sleep(60)
    if behave == "garbage":
        sys.stdout.write('hello?\n{"id": 12345678}\n[1, 2]\n\xff\xfe\n' + '"' + "x" * 10 + '"\n')
    if behave == "huge":
        sys.stdout.write("x" * 3_000_000 + "\n")
    if behave == "flood":
        sys.stdout.write("nonsense\n" * 5_000)
        sys.stdout.flush()
        time.sleep(60)
    if behave == "refuse" and do != "get":
        return {"id": number, "errors": {p: f"not {v}" for p, v in request["values"].items()}}
    if do == "get":
        return {
            "id": number,
            "ok": True,
            "values": {p: v for p, v in state["values"].items() if p in request["paths"]},
            "errors": state.get("errors", {}),
        }
    if do == "rows":
        return {"id": number, "ok": True, "rows": state["rows"][request["path"]]}
    if do == "set":
        state["values"].update(request["values"])
        with open(name, "w", encoding="utf-8") as file:
            json.dump(state, file)
    return {"id": number, "ok": True, **state.get("more", {})}


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except KeyboardInterrupt:
        pass
