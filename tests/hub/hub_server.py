"""A local model hub with the requests needed to publish and download, and with faults.

    with HubServer() as hub:
        hub.address          # for HF_ENDPOINT
        hub.fail("cut downloads")

Repositories are kept in memory as lists of commits. `requests` lists all requests as "METHOD path".
"""

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import unquote, urlsplit

OWNER_TOKEN, READER_TOKEN = "hf_owner", "hf_reader"

FAULTS = {
    "cut downloads",  # the connection is lost in each download of weights
    "cut one download",  # only in the next one
    "wrong content",  # weights with one byte changed
    "conflict",  # somebody else commits first
    "no writing",  # the token has no right to write
    "out of order",  # looking a repository up fails inside the hub
    "no JSON",  # looking a repository up returns a page
}

Files = dict[str, bytes]


@dataclass
class Repository:
    """A repository of the hub."""

    private: bool
    gated: str | bool = False
    commits: list[tuple[str, Files]] = field(default_factory=list)
    readers: set[str] = field(default_factory=set)  # tokens with access to a gated repository
    claims: dict[str, int] = field(default_factory=dict)  # wrong sizes that are listed

    def __post_init__(self):
        self.commit({".gitattributes": b"*.safetensors filter=lfs\n"})

    def commit(self, added: Files, removed: Collection[str] = ()) -> str:
        before = self.commits[-1][1] if self.commits else {}
        files = {path: content for path, content in before.items() if path not in removed} | added
        number = f"{len(self.commits)}{sorted((p, sha256(c)) for p, c in files.items())}"
        self.commits.append((hashlib.sha1(number.encode()).hexdigest(), files))
        return self.commits[-1][0]

    def at(self, revision: str) -> tuple[str, Files] | None:
        """Return a commit and its files; None if there is no such revision."""
        if revision == "main":
            return self.commits[-1]
        return next((commit for commit in self.commits if commit[0] == revision), None)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def is_large(path: str) -> bool:
    return path.endswith(".safetensors")


class HubServer(ThreadingHTTPServer):
    """A hub on a free port of the loopback interface, running inside `with`."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}  # large files by sha256, committed or not
        self.faults: set[str] = set()
        self.refused: set[str] = set()  # sha256 of large files whose upload is cut
        self.requests: list[str] = []
        self.lock = Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> "HubServer":
        Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def fail(self, fault: str) -> None:
        """Switch on one of `FAULTS`."""
        assert fault in FAULTS
        self.faults.add(fault)

    def put(self, name: str, files: Files) -> str:
        """Create a public repository; return its commit."""
        self.repositories[name] = Repository(private=False)
        return self.repositories[name].commit(files)

    def clear(self) -> None:
        """Remove all repositories and faults."""
        self.repositories.clear()
        self.large.clear()
        self.refused.clear()
        self.faults.clear()
        self.requests.clear()

    def asked(self, method: str) -> Counter[str]:
        """Return the number of requests of a method for each path."""
        pairs = (request.split(" ", 1) for request in self.requests)
        return Counter(path for name, path in pairs if name == method)

    def handle_error(self, *_: object) -> None:
        """Print nothing when a client closes the connection."""


class Handler(BaseHTTPRequestHandler):
    server: HubServer  # type: ignore[assignment]
    protocol_version = "HTTP/1.1"

    ROUTES = (
        ("GET", r"/api/whoami-v2", "whoami"),
        ("POST", r"/api/repos/create", "create"),
        ("POST", r"/api/validate-yaml", "validate"),
        ("GET", r"/api/models/([^/]+/[^/]+)", "look_up"),
        ("GET", r"/api/models/([^/]+/[^/]+)/revision/([^/]+)", "look_up"),
        ("POST", r"/api/models/([^/]+/[^/]+)/preupload/main", "preupload"),
        ("POST", r"/api/models/([^/]+/[^/]+)/commit/main", "commit"),
        ("PUT", r"/api/models/([^/]+/[^/]+)/settings", "settings"),
        ("POST", r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", "batch"),
        ("PUT", r"/large/([0-9a-f]{64})", "receive"),
        ("POST", r"/large/([0-9a-f]{64})/verify", "verify"),
        ("HEAD", r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", "resolve"),
        ("GET", r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", "resolve"),
    )

    def do_GET(self) -> None:
        self.route()

    def do_HEAD(self) -> None:
        self.route()

    def do_POST(self) -> None:
        self.route()

    def do_PUT(self) -> None:
        self.route()

    def route(self) -> None:
        """Record the request and call the method that answers it."""
        self.carried: bytes | None = None
        path = urlsplit(self.path).path
        with self.server.lock:
            self.server.requests.append(f"{self.command} {path}")
        for method, pattern, name in self.ROUTES:
            if method == self.command and (found := re.fullmatch(pattern, path)):
                getattr(self, name)(*map(unquote, found.groups()))
                return
        self.refuse(404, "NotFound", f"no such address: {path}")

    def log_message(self, *_: object) -> None:
        """Print no log."""

    def body(self) -> bytes:
        """Return the body of the request, read once."""
        if self.carried is None:
            self.carried = self.read_body()
        return self.carried

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def answer(self, value: Any, status: int = 200) -> None:
        self.send(json.dumps(value).encode(), status, {"Content-Type": "application/json"})

    def refuse(self, status: int, code: str, message: str) -> None:
        self.body()
        headers = {"X-Error-Code": code, "X-Error-Message": message}
        self.send(json.dumps({"error": message}).encode(), status, headers)

    def send(self, content: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True

    def token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def may_write(self) -> bool:
        if self.token() not in (OWNER_TOKEN, READER_TOKEN):
            self.refuse(401, "", "Invalid credentials in Authorization header")
        elif self.token() != OWNER_TOKEN or "no writing" in self.server.faults:
            self.refuse(403, "", "you do not have the required permissions")
        else:
            return True
        return False

    def repository(self, name: str) -> Repository | None:
        """Return a repository that the client may read; otherwise refuse the request and return None."""
        found = self.server.repositories.get(name)
        if self.token() not in ("", OWNER_TOKEN, READER_TOKEN):
            self.refuse(401, "", "Invalid credentials in Authorization header")
        elif found is None or (found.private and self.token() != OWNER_TOKEN):
            self.refuse(404 if self.token() else 401, "RepoNotFound", "Repository not found")
        else:
            return found
        return None

    def whoami(self) -> None:
        if self.token() in (OWNER_TOKEN, READER_TOKEN):
            self.answer({"type": "user", "name": "owner", "orgs": []})
        else:
            self.refuse(401, "", "Invalid credentials in Authorization header")

    def create(self) -> None:
        if not self.may_write():
            return
        asked = json.loads(self.body())
        name = f"{asked['organization']}/{asked['name']}"
        known = name in self.server.repositories
        if not known:
            self.server.repositories[name] = Repository(asked.get("visibility") == "private")
        self.answer({"url": f"{self.server.address}/{name}"}, 409 if known else 200)

    def validate(self) -> None:
        asked = json.loads(self.body())
        good = asked["repoType"] == "model" and asked["content"].startswith("---\n")
        errors = [] if good else [{"message": "no front matter"}]
        self.answer({"errors": errors, "warnings": []}, 200 if good else 400)

    def settings(self, name: str) -> None:
        if not self.may_write() or (repository := self.repository(name)) is None:
            return
        asked = json.loads(self.body())
        repository.gated = asked.get("gated", repository.gated)
        repository.private = asked.get("visibility", "") == "private" or repository.private
        self.answer({})

    def preupload(self, name: str, _: str = "") -> None:
        if not self.may_write() or (repository := self.repository(name)) is None:
            return
        there = repository.commits[-1][1]
        files = []
        for file in json.loads(self.body())["files"]:
            path, row = file["path"], {"path": file["path"], "shouldIgnore": False}
            row["uploadMode"] = "lfs" if is_large(path) else "regular"
            if path in there:
                row["oid"] = (sha256 if is_large(path) else git_hash)(there[path])
            files.append(row)
        self.answer({"files": files})

    def batch(self, name: str) -> None:
        if not self.may_write() or self.repository(name) is None:
            return
        objects = []
        for asked in json.loads(self.body())["objects"]:
            row = {"oid": asked["oid"], "size": asked["size"]}
            if asked["oid"] not in self.server.large:
                href = f"{self.server.address}/large/{asked['oid']}"
                row["actions"] = {"upload": {"href": href}, "verify": {"href": f"{href}/verify"}}
            objects.append(row)
        self.answer({"transfer": "basic", "objects": objects})

    def receive(self, oid: str) -> None:
        if oid in self.server.refused:
            self.rfile.read(100)
            self.hang_up()
            return
        content = self.body()
        if sha256(content) != oid:
            self.refuse(400, "", "the content has another sha256")
            return
        self.server.large[oid] = content
        self.send(b"", 200, {})

    def verify(self, oid: str) -> None:
        asked, content = json.loads(self.body()), self.server.large.get(oid, b"")
        good = asked == {"oid": oid, "size": len(content)}
        self.answer({} if good else {"error": "not the announced file"}, 200 if good else 400)

    def commit(self, name: str) -> None:
        if not self.may_write() or (repository := self.repository(name)) is None:
            return
        lines = [json.loads(line) for line in self.body().splitlines()]
        header, *changes = lines
        parent = header["value"].get("parentCommit")
        if "conflict" in self.server.faults or parent not in (None, repository.commits[-1][0]):
            self.refuse(409, "", "the branch has moved")
            return
        added: Files = {}
        removed: set[str] = set()
        for change in changes:
            value = change["value"]
            match change["key"]:
                case "file":
                    added[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    added[value["path"]] = self.server.large[value["oid"]]
                case "deletedFile":
                    removed.add(value["path"])
        oid = repository.commit(added, removed)
        url = f"{self.server.address}/{name}/commit/{oid}"
        self.answer({"success": True, "commitOid": oid, "commitUrl": url})

    def look_up(self, name: str, revision: str = "main") -> None:
        if "out of order" in self.server.faults:
            self.refuse(500, "", "Internal Error")
        elif "no JSON" in self.server.faults:
            self.send(b"<html>please log in</html>", 200, {"Content-Type": "text/html"})
        elif (repository := self.repository(name)) is not None:
            if (commit := repository.at(revision)) is None:
                self.refuse(404, "RevisionNotFound", "Invalid rev id")
                return
            oid, files = commit
            rows = [self.listed(repository, path, content) for path, content in files.items()]
            self.answer({"id": name, "sha": oid, "private": repository.private, "siblings": rows})

    @staticmethod
    def listed(repository: Repository, path: str, content: bytes) -> dict[str, Any]:
        size = repository.claims.get(path, len(content))
        row = {"rfilename": path, "size": size, "blobId": git_hash(content)}
        if is_large(path):
            row["lfs"] = {"sha256": sha256(content), "size": size, "pointerSize": 134}
        return row

    def resolve(self, name: str, revision: str, path: str) -> None:
        if (repository := self.repository(name)) is None:
            return
        if repository.gated and self.token() not in {OWNER_TOKEN, *repository.readers}:
            self.refuse(403, "GatedRepo", "Access to this model is restricted")
            return
        if (commit := repository.at(revision)) is None:
            self.refuse(404, "RevisionNotFound", "Invalid rev id")
            return
        oid, files = commit
        if path not in files:
            self.refuse(404, "EntryNotFound", "Entry not found")
            return
        self.send_file(oid, path, files[path])

    def send_file(self, commit: str, path: str, content: bytes) -> None:
        headers = {"X-Repo-Commit": commit, "ETag": f'"{git_hash(content)}"'}
        headers |= {"Accept-Ranges": "bytes"}
        if is_large(path):
            headers |= {"X-Linked-Size": str(len(content)), "X-Linked-ETag": f'"{sha256(content)}"'}
            if "wrong content" in self.server.faults:
                content = content[:-1] + bytes([content[-1] ^ 1])
        status, whole = 200, len(content)
        if wanted := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            first, status = int(wanted[1]), 206
            headers["Content-Range"] = f"bytes {first}-{whole - 1}/{whole}"
            content = content[first:]
        if self.command == "GET" and is_large(path) and self.is_truncated():
            headers["Content-Length"] = str(len(content))
            self.send(content[: len(content) // 2], status, headers)
            self.hang_up()
            return
        self.send(content, status, headers)

    def is_truncated(self) -> bool:
        faults = self.server.faults
        once = "cut one download" in faults
        faults.discard("cut one download")
        return once or "cut downloads" in faults
