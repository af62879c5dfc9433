"""A small file server for devices, in a thread of the test: GET and PUT, as slow as wanted, and it keeps what was asked."""

import http.server
import threading
import time
from types import TracebackType


class FileStore:
    """`files` by path. asked: (verb, path, monotonic seconds) of every request. pause: seconds between two pieces of an answer."""

    def __init__(self, *, pieces: int = 10) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str, float]] = []
        self.pause = 0.0
        self._pieces = pieces
        store = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                store.asked.append(("GET", self.path, time.monotonic()))
                body = store.files.get(self.path)
                if body is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                step = max(1, len(body) // store._pieces)
                for start in range(0, len(body), step):
                    try:
                        self.wfile.write(body[start : start + step])
                    except OSError:
                        return  # the device was killed
                    time.sleep(store.pause)

            def do_PUT(self) -> None:
                store.asked.append(("PUT", self.path, time.monotonic()))
                store.files[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(201)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "FileStore":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def url(self, path: str) -> str:
        """The URL of a path such as `/image`."""
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def gets(self, path: str) -> list[float]:
        """When a path was fetched."""
        return [at for verb, where, at in self.asked if (verb, where) == ("GET", path)]
