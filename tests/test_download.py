"""lib.download against a server that misbehaves, on loopback only.

What is served is real where ../shared/data (or $BOOK_SHARED_DATA) has it, and
generated otherwise. Wrong scales and devices are refused by `run.setup`; see
tests/test_lib.py.
"""

import contextlib
import errno
import functools
import gzip
import hashlib
import io
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from lib import datasets, download
from lib.download import DownloadError
from tests.faulty_server import FaultyServer

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(
    os.environ.get("BOOK_SHARED_DATA") or ROOT.parent / "shared" / "data"
)
NO_SHARED = (
    f"there are no real files in {SHARED}; set BOOK_SHARED_DATA to a folder "
    "that has them, named as its manifest says"
)
REGISTRY = json.loads((ROOT / "data" / "sources.json").read_text("utf-8"))
SETS = REGISTRY["sets"]
# The real file of each name in the registry; a gz is served unpacked.
REAL = {
    "cal_housing.data": "tabular/cal_housing.data.gz",
    "pima-indians-diabetes.data.csv": "tabular/pima-indians-diabetes.data.csv",
    "penguins.csv": "tabular/penguins.csv",
    "timemachine.txt": "text/timemachine.txt",
    "input.txt": "text/tinyshakespeare/input.txt",
    "fra-eng.zip": "translation/fra-eng.zip",
    "cmn.txt": "translation/cmn.txt.gz",
}
CHILD = """
import os, pathlib, sys
exec(os.environ.get("CHILD_FIRST", ""))
sys.path.insert(0, os.environ["CHILD_ROOT"])
from lib import download
assert not {"torch", "numpy", "pandas"} & set(sys.modules), "slow to import"
download._SOURCES = pathlib.Path(os.environ["CHILD_SOURCES"])
download._PAUSE = 0
print("READY", flush=True)
exec(os.environ.get("CHILD_THEN", ""))
try:
    download.fetch(sys.argv[1])
except download.DownloadError as error:
    print("DownloadError:", ascii(str(error)))
    sys.exit(3)
"""


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def one_of(name, generated):
    """A real file as bytes, or what is generated in its stead."""
    path = SHARED / REAL[name]
    if not path.is_file():
        return generated()
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


@functools.cache
def text():
    """Tiny Shakespeare, 1.1 MB, or generated words of about that size."""

    def generated():
        words = random.Random(0).choices(["to", "be", "or", "not"], k=300_000)
        return " ".join(words).encode()

    return one_of("input.txt", generated)


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(members, kind="gz"):
    """members: names and bytes, or TarInfo for what is no plain file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{kind}") as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            one = tarfile.TarInfo(name)
            one.size = len(content)
            archive.addfile(one, io.BytesIO(content))
    return buffer.getvalue()


class Book:
    """A registry, a data folder and a server, each its own."""

    def __init__(self, base, server):
        self.server = server
        self.sources = base / "sources.json"
        self.folder = base / "data folder"
        self.sets = {}

    def add(self, name, files, faults=("ok",), **more):
        """Register a set of `files`: names and (content, other keys)."""
        entries = []
        for file, (content, other) in files.items():
            self.server.content[file] = content
            entry = {
                "name": file,
                "bytes": len(content),
                "sha256": sha256(content),
                "urls": [self.server.url(f, file) for f in faults],
            }
            entries.append(entry | other)
        self.register(name, {"title": name, "files": entries, **more})

    def add_text(self, *faults, content=None):
        content = text() if content is None else content
        self.add("book", {"a.txt": (content, {})}, faults or ("ok",))

    def register(self, name, entry):
        self.sets[name] = {"room": 10**6} | entry
        text = json.dumps({"sets": self.sets}, ensure_ascii=False)
        self.sources.write_text(text, encoding="utf-8")

    def child(self, name, then="", first="", folder=None, **more):
        """A process that fetches a set; it starts within 0.1 s."""
        environment = {
            **os.environ,
            "BOOK_DATA": str(folder or self.folder),
            "CHILD_ROOT": str(ROOT),
            "CHILD_SOURCES": str(self.sources),
            "CHILD_FIRST": first,
            "CHILD_THEN": then,
            **more.pop("env", {}),
        }
        command = [*more.pop("before", []), sys.executable, "-S",
                   *more.pop("options", []), "-c", CHILD, name]  # fmt: skip
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **more,
        )

    def left(self):
        """What there is below the data folder, but for locks."""
        return {
            p.relative_to(self.folder).as_posix()
            for p in self.folder.rglob("*")
            if p.is_file() and p.suffix != ".lock"
        }

    def check_nothing_wrong(self):
        """No file under its own name has another content than it should."""
        for name, entry in self.sets.items():
            whole = self.folder / name
            for file in entry["files"]:
                content = self.server.content[file["name"]]
                arrived = self.folder / "incoming" / name / file["name"]
                if arrived.exists():
                    assert arrived.read_bytes() == content
                if not whole.exists():
                    continue
                assert (whole / "fetched.json").is_file()
                if "unpack" not in file:
                    assert (whole / file["name"]).read_bytes() == content
                    continue
                with zipfile.ZipFile(io.BytesIO(content)) as archive:
                    for member in archive.namelist():
                        wanted = archive.read(member)
                        assert (whole / member).read_bytes() == wanted

    def check_whole(self, name="book", tidy=True):
        assert (self.folder / name).is_dir()
        self.check_nothing_wrong()
        if tidy:
            assert all(p.startswith(f"{name}/") for p in self.left())
        assert not list((self.folder / "incoming").rglob("*.part"))

    def add_another_that_serves(self):
        """The set "book", whose one file is gone, with another instead."""
        self.add_text("404")
        self.add("other", {"b.txt": (b"other", {})})
        [file] = self.sets["book"]["files"]
        file["instead"] = self.sets.pop("other")["files"]
        self.register("book", self.sets["book"])


@pytest.fixture
def book(tmp_path, monkeypatch):
    for variable in list(os.environ):
        if variable.lower().endswith("_proxy"):
            monkeypatch.delenv(variable)
    with FaultyServer() as server:
        book = Book(tmp_path, server)
        monkeypatch.setenv("BOOK_DATA", str(book.folder))
        monkeypatch.setattr(download, "_SOURCES", book.sources)
        monkeypatch.setattr(download, "_PAUSE", 0)
        yield book


class TestFetch:
    def test_says_what_it_does_and_returns_the_folder(self, book, capsys):
        book.add_text()
        folder = download.fetch("book")
        assert folder == book.folder / "book"
        assert (folder / "a.txt").read_bytes() == text()
        book.check_whole()
        said = capsys.readouterr().out
        for words in (str(folder), f"{len(text()):,} bytes", "from http://"):
            assert words in said

    def test_says_it_before_it_starts(self, book, monkeypatch, capsys):
        book.add_text()
        said = []

        def connect(*arguments, **more):
            said.append(capsys.readouterr().out)
            raise OSError("stop here")

        monkeypatch.setattr(download.urllib.request, "urlopen", connect)
        with pytest.raises(DownloadError):
            download.fetch("book")
        assert f"{len(text()):,} bytes, from http://127.0.0.1" in said[0]

    def test_a_whole_set_is_not_fetched_again(self, book, capsys):
        book.add_text()
        download.fetch("book")
        capsys.readouterr()
        book.server.log.clear()
        assert download.fetch("book") == book.folder / "book"
        assert not book.server.log and not capsys.readouterr().out

    def test_a_set_that_lost_a_file_is_fetched_again(self, book):
        book.add_text()
        (download.fetch("book") / "a.txt").unlink()
        download.fetch("book")
        book.check_whole()

    def test_a_set_that_was_cut_is_fetched_again(self, book):
        book.add_text()
        os.truncate(download.fetch("book") / "a.txt", 10)
        download.fetch("book")
        book.check_whole()

    def test_a_set_of_an_older_registry_is_fetched_again(self, book):
        book.add_text(content=b"old")
        download.fetch("book")
        book.add_text(content=b"new")
        assert (download.fetch("book") / "a.txt").read_bytes() == b"new"

    @pytest.mark.parametrize("receipt", ["", "[]", "{}", '{"files": 1}'])
    def test_a_spoilt_receipt_counts_as_none(self, book, receipt):
        book.add_text(content=b"a")
        (download.fetch("book") / "fetched.json").write_text(
            receipt, encoding="utf-8"
        )
        download.fetch("book")
        book.check_whole()
        assert len(book.server.log) == 2

    def test_several_files_and_an_archive(self, book):
        pages = {"deep/1.txt": b"one", "deep/2.txt": b"two" * 1000}
        book.add(
            "book",
            {
                "a.txt": (b"plain", {"place": "beside"}),
                "b.zip": (
                    zipped({"deep/": b"", **pages}),
                    {"unpack": "zip", "unpacked_at_most": 3003},
                ),
                "c.tgz": (
                    tarred({"3.txt": b"three"}),
                    {"unpack": "tar", "unpacked_at_most": 5},
                ),
            },
        )
        folder = download.fetch("book")
        assert book.left() == {
            "book/beside/a.txt", "book/deep/1.txt", "book/deep/2.txt",
            "book/3.txt", "book/fetched.json",
        }  # fmt: skip
        assert (folder / "deep/2.txt").read_bytes() == pages["deep/2.txt"]

    def test_another_file_that_serves_as_well(self, book):
        book.add_another_that_serves()
        folder = download.fetch("book")
        assert (folder / "b.txt").read_bytes() == b"other"
        book.server.log.clear()
        download.fetch("book")
        assert not book.server.log

    def test_the_other_file_put_there_by_hand_needs_no_network(self, book):
        book.add_another_that_serves()
        place = book.folder / "incoming" / "book"
        place.mkdir(parents=True)
        (place / "b.txt").write_bytes(b"other")
        folder = download.fetch("book")
        assert (folder / "b.txt").read_bytes() == b"other"
        assert not book.server.log

    def test_a_file_that_was_put_there_by_hand(self, book):
        book.add_text("404")
        with pytest.raises(DownloadError) as failure:
            download.fetch("book")
        place = book.folder / "incoming" / "book"
        for words in (str(place), "a.txt (sha256 " + sha256(text())):
            assert words in str(failure.value)
        (place / "a.txt").write_bytes(text())
        book.server.log.clear()
        download.fetch("book")
        book.check_whole()
        assert not book.server.log

    def test_a_wrong_file_put_there_by_hand(self, book):
        book.add_text("404")
        place = book.folder / "incoming" / "book"
        place.mkdir(parents=True)
        (place / "a.txt").write_bytes(b"wrong")
        with pytest.raises(DownloadError, match="a.txt is another file"):
            download.fetch("book")
        assert (place / "a.txt").read_bytes() == b"wrong", "the reader's file"
        book.add_text("ok")
        download.fetch("book")
        book.check_whole()

    @pytest.mark.parametrize(
        ("name", "near"),
        [
            ("palmer-penguin", "palmer-penguins"),
            ("tiny_shakespeare", "tiny-shakespeare"),
            ("tatoeba", None),
            ("../book", None),
            ("", None),
            (None, None),
        ],
    )
    def test_an_unknown_set_names_the_near_one(self, name, near):
        with pytest.raises(ValueError, match="no data set") as failure:
            download.fetch(name)
        hint = f"(did you mean {near!r}?)" if near else "; there are: "
        assert hint in str(failure.value)
        assert "california-housing, fashion-mnist" in str(failure.value)

    def test_data_folder(self, monkeypatch, tmp_path):
        monkeypatch.delenv("BOOK_DATA", raising=False)
        assert download.data_folder() == ROOT / "data" / "downloads"
        monkeypatch.setenv("BOOK_DATA", "")
        assert download.data_folder() == ROOT / "data" / "downloads"
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("BOOK_DATA", "here")
        assert download.data_folder() == tmp_path / "here"
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
        monkeypatch.setenv("BOOK_DATA", "~/there")
        assert download.data_folder() == tmp_path / "there"


class TestNetwork:
    def refuse(self, book, monkeypatch, function, error):
        book.add_text("ok", "norange")

        def fail(*arguments, **more):
            raise error

        monkeypatch.setattr(socket, function, fail)
        with pytest.raises(DownloadError) as failure:
            download.fetch("book")
        assert not book.left()
        message = str(failure.value)
        assert "could not get a.txt" in message
        assert "Check the network, then run this again: it goes on" in message
        assert sha256(text()) in message and str(book.folder) in message
        assert message.count("http://127.0.0.1") == 2, "each address once"
        return message

    def test_no_network(self, book, monkeypatch):
        error = OSError(errno.ENETUNREACH, "Network is unreachable")
        said = self.refuse(book, monkeypatch, "create_connection", error)
        assert "Network is unreachable" in said

    def test_name_does_not_resolve(self, book, monkeypatch):
        error = socket.gaierror(-2, "Name or service not known")
        said = self.refuse(book, monkeypatch, "getaddrinfo", error)
        assert "Name or service not known" in said

    def test_no_answer_to_a_connection(self, book, monkeypatch):
        error = TimeoutError("timed out")
        said = self.refuse(book, monkeypatch, "create_connection", error)
        assert "timed out" in said

    @pytest.mark.parametrize("host", ["198.51.100.1", "no-such-host.example"])
    def test_a_process_that_really_has_no_network(self, book, host):
        """In a network namespace of its own, which has no interface."""
        book.add_text()
        [file] = book.sets["book"]["files"]
        file["urls"] = [f"http://{host}/a.txt"]
        book.register("book", book.sets["book"])
        before = namespace("--net")
        child = book.child("book", before=before)
        said, _ = child.communicate(timeout=30)
        assert child.returncode == 3, said
        assert b"Check the network, then run this again" in said
        assert not book.left()

    @pytest.mark.parametrize("status", ["404", "500"])
    def test_the_second_mirror_is_tried(self, book, status, capsys):
        book.add_text(status, "ok")
        download.fetch("book")
        book.check_whole()
        assert [e[1] for e in book.server.log] == [status, "ok"]
        assert f"failed: HTTP Error {status}" in capsys.readouterr().out

    def test_a_dead_server_then_a_mirror(self, book):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # bound, but nothing listens
            dead = f"http://127.0.0.1:{taken.getsockname()[1]}/a.txt"
            book.add_text()
            [file] = book.sets["book"]["files"]
            file["urls"].insert(0, dead)
            book.register("book", book.sets["book"])
            download.fetch("book")
        book.check_whole()

    def test_all_mirrors_dead(self, book):
        book.add_text("404", "500", "drop=0", "short=100")
        with pytest.raises(DownloadError) as failure:
            download.fetch("book")
        for reason in (
            "HTTP Error 404",
            "HTTP Error 500",
            "stopped after 0 of",
            f"it has 100 bytes, not {len(text()):,}",
        ):
            assert reason in str(failure.value)
        assert book.left() <= {"incoming/book/a.txt.part"}

    def test_a_server_that_stalls(self, book, monkeypatch):
        """After the time-out it goes on where it stopped."""
        monkeypatch.setattr(download, "_TIMEOUT", 0.2)
        book.add_text("stall=300000+once")
        download.fetch("book")
        book.check_whole()
        assert book.server.starts("a.txt") == [None, 300000]
        assert book.server.log[1][3] == len(text()) - 300000

    def test_a_server_that_always_stalls(self, book, monkeypatch):
        """A later call goes on too; and a mirror, with the same part."""
        monkeypatch.setattr(download, "_TIMEOUT", 0.1)
        monkeypatch.setattr(download, "_TRIES", 2)
        book.add_text("stall=1000")
        with pytest.raises(DownloadError, match="on where it st") as failure:
            download.fetch("book")
        assert "timed out after 2,000 bytes" in str(failure.value)
        part = book.folder / "incoming/book/a.txt.part"
        assert part.read_bytes() == text()[:2000]
        book.add_text("stall=1000", "ok")
        download.fetch("book")
        book.check_whole()
        assert book.server.starts("a.txt") == [None, 1000, 2000, 3000, 4000]

    def test_a_server_that_never_answers(self, book, monkeypatch):
        monkeypatch.setattr(download, "_TIMEOUT", 0.1)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            book.add_text()
            [file] = book.sets["book"]["files"]
            port = silent.getsockname()[1]
            file["urls"] = [f"http://127.0.0.1:{port}/a.txt"]
            book.register("book", book.sets["book"])
            with pytest.raises(DownloadError, match="timed out"):
                download.fetch("book")
        assert not book.left()

    def test_a_server_that_drips(self, book, monkeypatch):
        """Never silent for long, but much too slow: a mirror goes on."""
        monkeypatch.setattr(download, "_TIMEOUT", 0.05)
        monkeypatch.setattr(download, "_SLOWEST", 1e9)
        monkeypatch.setattr(download, "_TRIES", 2)
        book.add_text("slow=10", "ok", content=text()[:20_000])
        download.fetch("book")
        book.check_whole()
        first, second, third = book.server.starts("a.txt")
        assert first is None and 0 < second < third

    def test_a_connection_that_breaks(self, book):
        """Truncated by the network: the rest is asked for."""
        book.add_text("drop=400000")
        download.fetch("book")
        book.check_whole()
        assert book.server.starts("a.txt") == [None, 400000, 800000]

    def test_a_connection_that_is_reset(self, book):
        """What had come but was not yet read may be lost with it."""
        book.add_text("reset=900000+once")
        download.fetch("book")
        book.check_whole()
        first, second = book.server.starts("a.txt")
        assert first is None and (second is None or 0 < second <= 900_000)

    def test_a_truncated_file(self, book):
        """The server has only a part of it, and says so: a mirror has all."""
        book.add_text("short=1000", "ok")
        download.fetch("book")
        book.check_whole()
        assert book.server.log[0][1] == "short=1000"

    def test_a_truncated_file_of_unstated_length(self, book):
        book.add_text("short=1000+nolength", "ok")
        download.fetch("book")
        book.check_whole()
        assert book.server.starts("a.txt")[:2] == [None, 1000]

    def test_a_file_that_is_too_long(self, book):
        book.add_text("nolength")
        book.server.content["a.txt"] += b"!" * 300_000
        with pytest.raises(DownloadError, match="altered"):
            download.fetch("book")
        assert not book.left()

    @pytest.mark.parametrize("at", [0, 500_000, -1])
    def test_an_altered_file(self, book, at):
        book.add_text(f"alter={at % len(text())}")
        with pytest.raises(DownloadError, match="altered: its sha256 is"):
            download.fetch("book")
        assert not book.left(), "nothing stays of what failed its checksum"

    def test_an_altered_file_on_the_first_mirror(self, book):
        book.add_text("alter=7", "ok")
        download.fetch("book")
        book.check_whole()

    def test_an_altered_beginning_of_an_earlier_call(self, book):
        """It cannot be told until the end; then all is fetched afresh."""
        book.add_text()
        part = book.folder / "incoming" / "book" / "a.txt.part"
        part.parent.mkdir(parents=True)
        part.write_bytes(b"?" * 1000)
        download.fetch("book")
        book.check_whole()
        assert book.server.starts("a.txt") == [1000, None]

    @pytest.mark.parametrize("extra", [0, 1, 1000])
    def test_a_part_that_is_as_long_as_the_file_or_longer(self, book, extra):
        book.add_text()
        part = book.folder / "incoming" / "book" / "a.txt.part"
        part.parent.mkdir(parents=True)
        part.write_bytes(text() + b"?" * extra)
        download.fetch("book")
        book.check_whole()
        assert len(book.server.log) == (1 if extra else 0)

    @pytest.mark.parametrize(
        ("fault", "asked"),
        [
            ("norange", [1000]),
            ("norange+nolength", [1000]),
            ("otherrange", [1000, None]),
            ("416", [1000, None]),
        ],
    )
    def test_a_server_that_cannot_go_on(self, book, fault, asked):
        book.add_text(fault)
        part = book.folder / "incoming" / "book" / "a.txt.part"
        part.parent.mkdir(parents=True)
        part.write_bytes(text()[:1000])
        download.fetch("book")
        book.check_whole()
        assert book.server.starts("a.txt") == asked

    def test_a_server_that_cannot_go_on_and_breaks(self, book):
        """The part never grows, so it does not try for ever."""
        book.add_text("norange+drop=1000", "ok")
        download.fetch("book")
        book.check_whole()
        assert book.server.starts("a.txt") == [None, 1000, 1000]

    @pytest.mark.parametrize("by", [-5, 5])
    def test_a_wrong_content_length(self, book, by):
        book.add_text(f"length={by}", "nolength")
        download.fetch("book")
        book.check_whole()
        assert book.server.log[1][1] == "nolength"

    def test_what_is_no_http(self, book):
        with socket.create_server(("127.0.0.1", 0)) as odd:
            book.add_text()
            [file] = book.sets["book"]["files"]
            port = odd.getsockname()[1]
            file["urls"].insert(0, f"http://127.0.0.1:{port}/a.txt")
            book.register("book", book.sets["book"])

            def answer():
                connection, _ = odd.accept()
                with connection:
                    connection.recv(1 << 16)
                    connection.sendall(b"good day\r\n\r\n")

            thread = threading.Thread(target=answer, daemon=True)
            thread.start()
            download.fetch("book")
            thread.join()
        book.check_whole()


def link(name, kind, target=""):
    one = tarfile.TarInfo(name)
    one.type, one.linkname = kind, target
    return {name: one}


def zipped_link(name, target):
    one = zipfile.ZipInfo(name)
    one.create_system = 3
    one.external_attr = (stat.S_IFLNK | 0o777) << 16
    return zipped({one: target})


UNSAFE = {
    "zip up": zipped({"../evil": b"x"}),
    "zip up, deep": zipped({"a/../../../evil": b"x"}),
    "zip absolute": zipped({"/tmp/evil-book": b"x"}),
    "zip Windows up": zipped({"..\\evil": b"x"}),
    "zip Windows drive": zipped({"C:evil": b"x"}),
    "zip link": zipped_link("evil", "/etc/passwd"),
    "tar up": tarred({"../evil": b"x"}),
    "tar up, deep": tarred({"a/../../../evil": b"x"}),
    "tar absolute": tarred({"/tmp/evil-book": b"x"}),
    "tar link": tarred(link("evil", tarfile.SYMTYPE, "/etc/passwd")),
    "tar link to a folder": tarred(
        link("way", tarfile.SYMTYPE, "/tmp") | {"way/evil-book": b"x"}
    ),
    "tar hard link": tarred(link("evil", tarfile.LNKTYPE, "/etc/passwd")),
    "tar pipe": tarred(link("evil", tarfile.FIFOTYPE)),
    "tar device": tarred(link("evil", tarfile.CHRTYPE)),
    "zip bomb": zipped({"evil": bytes(10**6)}),
    "tar bomb": tarred({"evil": bytes(10**6)}),
    "zip bomb in pieces": zipped({f"evil{i}": bytes(400) for i in range(99)}),
    "gz bomb": gzip.compress(bytes(10**6)),
    "no gz": b"not at all",
    "half a gz": gzip.compress(bytes(10**5))[:-30],
    "no zip": b"PK, but not really",
    "half a zip": zipped({"evil": bytes(10**5)})[:-30],
    "no tar": b"not at all",
    "half a tar": tarred({"evil": bytes(10**5)}, "")[:50_000],
}


@pytest.mark.parametrize("which", UNSAFE)
def test_unsafe_archives(book, tmp_path, which):
    [how] = {"zip", "tar", "gz"} & set(which.replace(",", "").split())
    options = {"unpack": how, "unpacked_at_most": 1000}
    archive = f"book.{how}"
    safe = {f"book.{how}", "sources.json"}
    Path("/tmp/evil-book").unlink(missing_ok=True)  # of a test that failed
    book.add("book", {archive: (UNSAFE[which], options)})
    with pytest.raises(DownloadError, match=f"{archive} was not unpacked"):
        download.fetch("book")
    names = {p.name for p in tmp_path.rglob("*") if not p.is_dir()}
    assert names - {"book.lock"} == safe
    assert not Path("/tmp/evil-book").exists()
    assert not (book.folder / "book").exists()
    assert not (book.folder / "incoming" / "book" / "unpacked").exists()


def test_an_archive_may_have_dots_in_its_names(book):
    names = ["a..b", "..c", "d../e", "./f"]
    content = zipped(dict.fromkeys(names, b"x"))
    options = {"unpack": "zip", "unpacked_at_most": 4}
    book.add("book", {"book.zip": (content, options)})
    folder = download.fetch("book")
    assert all((folder / name).is_file() for name in names)


class _FullDisk(io.FileIO):
    """A file on a disk that has room for 1000 bytes more."""

    written = 0

    def write(self, block):
        if self.written + len(block) > 1000:
            super().write(block[: 1000 - self.written])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.written += len(block)
        return super().write(block)


def namespace(*flags):
    """The command that gives a process namespaces of its own, or a skip."""
    for user in ([], ["--map-root-user"]):
        command = ["unshare", *user, *flags]
        with contextlib.suppress(FileNotFoundError):
            if not subprocess.run([*command, "true"], check=False,
                                  capture_output=True).returncode:  # fmt: skip
                return command
    pytest.skip(
        f"needs Linux with `unshare {' '.join(flags)}`: run as root, or with "
        "user namespaces allowed (sysctl kernel.unprivileged_userns_clone=1)"
    )


class TestDisk:
    def check_message(self, message, reason):
        for words in ("cannot store book", reason, "BOOK_DATA", "run this ag"):
            assert words in message

    def add_archive(self, book):
        content = zipped({"1.txt": b"1" * 300_000, "2.txt": b"2" * 300_000})
        options = {"unpack": "zip", "unpacked_at_most": 600_000}
        book.add("book", {"book.zip": (content, options)})

    @pytest.mark.parametrize("mode", ["ab", "wb", "xb"])
    def test_full_simulated(self, book, monkeypatch, mode):
        """While it downloads (afresh or on) or unpacks."""
        if mode == "xb":
            self.add_archive(book)
        else:
            book.add_text()
        if mode == "ab":
            part = book.folder / "incoming" / "book" / "a.txt.part"
            part.parent.mkdir(parents=True)
            part.write_bytes(text()[:10])

        def full(path, how="r", **more):
            if how == mode and not str(path).endswith(".lock"):
                return _FullDisk(path, how)
            return open(path, how, **more)  # noqa: PLW1514

        monkeypatch.setattr(download, "open", full, raising=False)
        with pytest.raises(DownloadError) as failure:
            download.fetch("book")
        self.check_message(str(failure.value), os.strerror(errno.ENOSPC))
        left = {"incoming/book/book.zip"} if mode == "xb" else set()
        assert book.left() == left, "a verified archive may stay, no part"
        monkeypatch.undo()

    @pytest.mark.parametrize("when", ["download", "unpacking"])
    def test_really_full(self, book, when):
        """A file system of 64 kB, in a mount namespace of its own."""
        if when == "download":
            book.add_text()
        else:
            self.add_archive(book)
        book.folder.mkdir()
        child = book.child(
            "book",
            before=mounted(book.folder, "size=64k"),
            then=LIST_AT_EXIT,
        )
        said = child.communicate(timeout=30)[0].decode()
        assert child.returncode == 3, said
        self.check_message(said, "No space left on device")
        left = eval(said.rpartition("LEFT")[2])
        assert left == (["book.zip"] if when == "unpacking" else [])

    def test_really_read_only(self, book):
        book.add_text()
        book.folder.mkdir()
        child = book.child("book", before=mounted(book.folder, "ro"))
        said = child.communicate(timeout=30)[0].decode()
        assert child.returncode == 3, said
        self.check_message(said, "Read-only file system")

    @pytest.mark.skipif(os.name == "nt", reason="chmod: not on Windows")
    def test_a_folder_of_somebody_else(self, book):
        """As another user if this is root, to whom nothing is forbidden."""
        with tempfile.TemporaryDirectory() as base:
            folder = Path(base) / "data"
            folder.mkdir()
            book.sources = Path(base) / "sources.json"
            book.add_text(content=b"small")
            os.chmod(base, 0o755)
            os.chmod(folder, 0o555)
            then = "import fcntl\nif not os.getuid(): os.setuid(65534)"
            child = book.child("book", then, folder=folder)
            said = child.communicate(timeout=30)[0].decode()
            assert child.returncode == 3, said
            self.check_message(said, "Permission denied")
            assert not list(folder.iterdir())

    def test_read_only_simulated(self, book, monkeypatch):
        book.add_text()

        def refuse(path, *more):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

        with monkeypatch.context() as patch:
            patch.setattr(os, "mkdir", refuse)
            with pytest.raises(DownloadError) as failure:
                download.fetch("book")
        self.check_message(str(failure.value), os.strerror(errno.EROFS))
        assert not book.folder.exists()

    def test_a_whole_set_in_a_read_only_folder(self, book, monkeypatch):
        book.add_text()
        download.fetch("book")

        def refuse(*arguments, **more):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        for function in ("mkdir", "unlink", "rmdir", "replace"):
            monkeypatch.setattr(os, function, refuse)
        assert download.fetch("book") == book.folder / "book"
        monkeypatch.undo()

    def test_a_file_where_the_folder_should_be(self, book):
        book.add_text()
        book.folder.write_bytes(b"the reader's")
        with pytest.raises(DownloadError) as failure:
            download.fetch("book")
        self.check_message(str(failure.value), str(book.folder))
        assert book.folder.read_bytes() == b"the reader's"


LIST_AT_EXIT = """
import atexit
def list_left():
    paths = sorted(pathlib.Path(os.environ["BOOK_DATA"]).rglob("*"))
    print("LEFT", [p.name for p in paths if p.is_file() and ".lock" not in
                   p.name])
atexit.register(list_left)
"""


def mounted(folder, options):
    """The command that gives a process a file system that ends with it."""
    script = 'mount -t tmpfs -o "$1" tmpfs "$2" && shift 2 && exec "$@"'
    command = [*namespace("--mount"), "sh", "-c", script, "sh", options,
               str(folder)]  # fmt: skip
    tried = subprocess.run([*command, "true"], check=False,
                           capture_output=True)  # fmt: skip
    if tried.returncode:
        pytest.skip(f"cannot mount: {tried.stderr}; run as root on Linux")
    return command


def ready(child):
    """Wait until a child has imported all and is about to fetch."""
    assert child.stdout.readline() == b"READY\n", child.stdout.read()


def gone(child):
    child.kill()
    child.communicate()


class TestKilled:
    """A process killed at any moment: nothing corrupt is ever accepted."""

    def add(self, book, members, size, faults=("ok",)):
        noise = random.Random(1)
        inside = {f"{i}/x.bin": noise.randbytes(size) for i in range(members)}
        options = {"unpack": "zip", "unpacked_at_most": members * size}
        files = {
            "book.zip": (zipped(inside), options),
            "read.me": (noise.randbytes(size), {}),
        }
        book.add("book", files, faults)

    def stage(self, book):
        incoming = book.folder / "incoming" / "book"
        if (book.folder / "book").exists():
            return "done"
        if (incoming / "unpacked").exists():
            return "unpacking"
        if any(incoming.glob("*.part")):
            return "download"
        return "between"

    def test_at_fifty_random_moments(self, book, monkeypatch):
        """20 at a random byte, 20 while it unpacks, 10 at a random time.

        After each, a copy of what is left is brought to its end, and the
        next process goes on with what is left itself.
        """
        self.add(book, members=25, size=20_000, faults=("slow=8192",))
        [archive, _] = book.sets["book"]["files"]
        # A slow disk, so that there is time to be killed while it unpacks.
        slow = "import time\nos.fsync = lambda number: time.sleep(0.003)"
        chance = random.Random(2)
        moments = ["byte"] * 20 + ["unpacking"] * 20 + ["time"] * 10
        chance.shuffle(moments)
        stages = dict.fromkeys(("between", "download", "unpacking", "done"), 0)
        incoming = book.folder / "incoming" / "book"
        for moment in moments:
            if moment == "byte" and (incoming / "book.zip").exists():
                shutil.rmtree(book.folder)  # there is little to download
            at = chance.randrange(archive["bytes"])
            child = book.child("book", slow)
            if moment == "byte":
                book.server.on_sent = lambda sent, at=at, child=child: (
                    child.kill() if sent > at else None
                )
            ready(child)
            if moment == "byte":
                child.wait(timeout=20)
            elif moment == "time":
                time.sleep(chance.uniform(0, 0.2))
            else:
                unpacked = incoming / "unpacked"
                while not unpacked.exists() and child.poll() is None:
                    time.sleep(0.0005)
                time.sleep(chance.uniform(0, 0.08))
            book.server.on_sent = None
            gone(child)
            stages[self.stage(book)] += 1
            book.check_nothing_wrong()
            # A kill between the last two steps may leave a whole archive.
            tidy = self.stage(book) != "done"
            real, book.folder = book.folder, book.folder.with_name("again")
            shutil.copytree(real, book.folder)
            monkeypatch.setenv("BOOK_DATA", str(book.folder))
            download.fetch("book")
            book.check_whole(tidy=tidy)
            shutil.rmtree(book.folder)
            book.folder = real
            if self.stage(book) == "done":
                shutil.rmtree(book.folder)
        print(stages)
        assert sum(stages.values()) == 50
        assert stages["download"] >= 10 and stages["unpacking"] >= 5, stages

    @pytest.mark.skipif(os.name == "nt", reason="SIGKILL: not on Windows")
    def test_before_each_change_of_the_disk(self, book):
        """Python reports each one before it happens: none is left out."""
        self.add(book, members=2, size=1000)
        kill = """
import signal
changes = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir")
left = int(os.environ["CHILD_DIES_AT"])
def count(event, arguments):
    global left
    if event in changes and isinstance(arguments[0], (str, os.PathLike)):
        if os.fspath(arguments[0]).startswith(os.environ["BOOK_DATA"]):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
"""
        seen = set()
        for moment in itertools.count(1):
            shutil.rmtree(book.folder, ignore_errors=True)
            env = {"CHILD_DIES_AT": str(moment)}
            child = book.child("book", kill, env=env)
            said, _ = child.communicate(timeout=20)
            book.check_nothing_wrong()
            if child.returncode == 0:
                break
            assert child.returncode == -signal.SIGKILL, said
            stage = self.stage(book)
            seen.add(stage)
            download.fetch("book")
            book.check_whole(tidy=stage != "done")
        assert moment > 25, "it would count too few changes"
        assert seen == {"between", "download", "unpacking", "done"}

    def test_a_killed_process_leaves_no_lock(self, book):
        book.add_text("stall=1000+once")
        child = book.child("book")
        ready(child)
        while not (book.folder / "incoming/book/a.txt.part").exists():
            time.sleep(0.001)
        gone(child)
        assert (book.folder / "incoming" / "book.lock").exists()
        download.fetch("book")
        book.check_whole()

    @pytest.fixture
    def ctrl_c(self):
        """Python's own answer to it, which a job in the background lacks."""
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
        signal.signal(signal.SIGINT, before)

    @pytest.mark.usefixtures("ctrl_c")
    def test_interrupted(self, book):
        """Ctrl-C or the kernel's interrupt: the part stays, it goes on."""
        book.add_text()

        def interrupt(sent):
            if sent >= 100_000:
                book.server.on_sent = None
                signal.raise_signal(signal.SIGINT)

        book.add_text("slow=50000")
        book.server.on_sent = interrupt
        with pytest.raises(KeyboardInterrupt):
            download.fetch("book")
        assert book.left() <= {"incoming/book/a.txt.part"}
        download.fetch("book")
        book.check_whole()


class TestTogether:
    def test_processes_that_fetch_the_same_set(self, book):
        """One fetches, the others wait; all get it."""
        book.add_text("slow=10000")
        wait = "sys.stdin.readline()"
        children = [book.child("book", wait) for _ in range(3)]
        for child in children:
            ready(child)
        for child in children:
            child.stdin.write(b"go\n")
            child.stdin.flush()
        said = [child.communicate(timeout=20)[0] for child in children]
        assert [child.returncode for child in children] == [0] * 3, said
        book.check_whole()
        assert len(book.server.log) == 1
        waited = [b"another process fetches book: waiting" in s for s in said]
        fetched = [b"fetching book into" in s for s in said]
        assert sum(waited) == 2 and sum(fetched) == 1

    def test_the_one_that_waits_takes_over_from_one_that_dies(self, book):
        book.add_text("stall=400000+once")
        first = book.child("book")
        ready(first)
        while not book.server.log:
            time.sleep(0.001)
        second = book.child("book")
        ready(second)
        assert b"waiting for it" in second.stdout.readline()
        gone(first)
        said, _ = second.communicate(timeout=20)
        assert second.returncode == 0, said
        book.check_whole()
        assert len(book.server.log) == 2

    def test_threads(self, book):
        book.add_text("slow=100000")
        threads = [
            threading.Thread(target=download.fetch, args=("book",))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        book.check_whole()
        assert len(book.server.log) == 1

    def test_waiting_on_windows(self, monkeypatch, capsys):
        """Simulated: the lock there is another call with another error."""
        calls = []

        def locking(*arguments):
            calls.append(arguments)
            if len(calls) < 3:
                raise PermissionError(errno.EACCES, "Permission denied")

        windows = types.SimpleNamespace(locking=locking, LK_NBLCK=2)
        monkeypatch.setitem(sys.modules, "msvcrt", windows)
        monkeypatch.setattr(download, "os", types.SimpleNamespace(name="nt"))
        download._wait_for(7, "a set")
        assert calls == [(7, 2, 1)] * 3
        assert capsys.readouterr().out.count("another process") == 1

    def test_different_sets_do_not_wait_for_each_other(self, book):
        book.add_text("stall=1000")
        book.add("other", {"b.txt": (b"b", {})})
        child = book.child("book")
        ready(child)
        while not book.server.log:
            time.sleep(0.001)
        download.fetch("other")
        gone(child)


GBK = """
import builtins, io
real = io.open
def open_as_gbk(file, mode="r", buffering=-1, encoding=None, *more, **rest):
    if "b" not in mode and encoding in (None, "locale"):
        encoding = "gbk"
    return real(file, mode, buffering, encoding, *more, **rest)
builtins.open = io.open = open_as_gbk
"""


class TestLocale:
    """Text is UTF-8, whatever the locale says; nothing fails to print."""

    TITLE = "Caf\xe9 \u6570\u636e \U0001f600"

    def fetch(self, book, name, **more):
        book.add_text(content=b"small")
        book.register("book", book.sets["book"] | {"title": self.TITLE})
        book.folder = book.folder.with_name(name)
        child = book.child("book", **more)
        said, _ = child.communicate(timeout=20)
        assert child.returncode == 0, said
        book.check_whole()
        return said

    @pytest.mark.skipif(os.name == "nt", reason="LC_ALL: not on Windows")
    def test_c(self, book):
        env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        check = "assert sys.stdout.encoding.lower() in ('ascii', '646')"
        name = "Caf\xe9 \u6570"
        said = self.fetch(book, name, env=env, then=check)
        assert rb"Caf\xe9 \u6570\u636e \U0001f600 into" in said

    def test_gbk_simulated(self, book):
        """No such locale is here: what it changes is put in by hand."""
        env = {"PYTHONIOENCODING": "gbk:strict", "PYTHONUTF8": "0"}
        name = "Caf\xe9 \u6570 \U0001f600"
        said = self.fetch(book, name, env=env, first=GBK).decode("gbk")
        assert "Caf\xe9 \u6570\u636e \\U0001f600 into" in said

    def test_no_file_is_opened_in_the_locales_encoding(self, book):
        options = ["-X", "warn_default_encoding", "-W", "error"]
        self.fetch(book, "data", options=options)


class TestRegistry:
    """data/sources.json itself."""

    def files(self):
        for name, entry in SETS.items():
            for file in entry["files"]:
                for choice in [file, *file.get("instead", [])]:
                    yield name, choice

    def test_it_has_the_sets_that_the_book_names(self):
        assert set(SETS) == {
            "fashion-mnist", "mnist", "california-housing", "pima-diabetes",
            "palmer-penguins", "time-machine", "tiny-shakespeare",
            "tatoeba-english-french", "tatoeba-english-chinese",
        }  # fmt: skip

    def test_each_set_says_what_it_is(self):
        for name, entry in SETS.items():
            needed = {"title", "what", "files", "room", "licence",
                      "citation", "checked", "note"}  # fmt: skip
            assert needed == entry.keys()
            assert re.fullmatch("[a-z][a-z-]*", name), "a folder everywhere"
            assert all(entry[key] for key in needed), name
            names = [file["name"] for file in entry["files"]]
            assert len(set(names)) == len(names)
        assert "incoming" not in SETS

    def test_each_file_can_be_verified(self):
        for name, file in self.files():
            needed = {"name", "bytes", "sha256", "urls"}
            unpack = {"unpack", "unpacked_at_most"}
            allowed = needed | unpack | {"place", "instead"}
            assert needed <= file.keys() <= allowed, file["name"]
            assert unpack <= file.keys() or not unpack & file.keys()
            assert file.get("unpack", "zip") in ("zip", "tar", "gz")
            place = f"{file.get('place', 'a')}/{file['name']}"
            assert re.fullmatch(r"(\w[\w.-]*/)+\w[\w.-]*", place), place
            assert len(file["sha256"]) == 64 and int(file["sha256"], 16)
            assert len(set(file["urls"])) == len(file["urls"]) > 0
            assert file["bytes"] > 0
            alone = len(file["urls"]) < 2 and "instead" not in file
            assert not alone, f"{name}: no mirror"
            for url in file["urls"]:
                assert url.startswith(("https://", "http://fashion-mnist.s3"))
        for name, entry in SETS.items():
            needed = sum(
                file["bytes"] + file.get("unpacked_at_most", file["bytes"])
                for file in entry["files"]
            )
            assert needed <= entry["room"] <= 2 * needed, name

    def test_the_readers_table_says_the_same(self):
        """data/README.md lists every set, and what is there is true."""
        text = (ROOT / "data" / "README.md").read_text("utf-8")
        listed = [line for line in text.splitlines() if line[:3] == "| `"]
        wanted = []
        for name, entry in SETS.items():
            size = sum(file["bytes"] for file in entry["files"]) / 1e6
            cells = [f"`{name}`", entry["title"], f"{size:.2f}"]
            cells += [entry["licence"], entry["citation"]]
            wanted.append(f"| {' | '.join(cells)} |")
        assert listed == wanted, "\n".join(["it should be:", *wanted])

    def test_scikit_learns_own_checksum(self):
        from sklearn.datasets import _california_housing

        [file] = SETS["california-housing"]["files"]
        official = _california_housing.ARCHIVE
        assert file["sha256"] == official.checksum
        assert file["urls"] == [official.url]

    @pytest.mark.skipif(not SHARED.is_dir(), reason=NO_SHARED)
    def test_checksums_are_those_of_the_real_files(self):
        checked = 0
        for _, file in self.files():
            if file["name"] == "cal_housing.tgz":
                continue  # not in the shared folder; see the test above
            if file.get("unpack") == "gz":
                path = SHARED / file["place"] / file["name"]
                content = path.read_bytes()
            else:
                content = one_of(file["name"], None)
            assert file["bytes"] == len(content), file["name"]
            assert file["sha256"] == sha256(content), file["name"]
            checked += 1
        assert checked == 15

    @pytest.mark.skipif(not SHARED.is_dir(), reason=NO_SHARED)
    @pytest.mark.parametrize(
        "name", [n for n in SETS if not n.endswith("mnist")]
    )
    def test_the_real_sets_arrive(self, book, name):
        """The real registry and the real files; only the host is ours."""
        entry = json.loads(json.dumps(SETS[name]))
        for file in entry["files"]:
            for choice in [file, *file.get("instead", [])]:
                real = choice["name"] in REAL
                fault = "ok" if real else "404"
                choice["urls"] = [book.server.url(fault, choice["name"])]
                if real:
                    content = one_of(choice["name"], None)
                    book.server.content[choice["name"]] = content
        book.register(name, entry)
        folder = download.fetch(name)
        files = [p for p in folder.rglob("*") if p.name != "fetched.json"]
        if name == "tatoeba-english-french":
            assert {p.name for p in files} == {"fra.txt", "_about.txt"}
            lines = (folder / "fra.txt").read_text("utf-8").splitlines()
            assert len(lines) == 167_130
        else:
            [path] = files
            assert path.read_bytes() == one_of(path.name, None)


def census():
    """California housing's raw table, real or generated, with a header."""

    def generated():
        values = np.random.default_rng(0).uniform(1, 9, (20640, 9)).round(4)
        header = "longitude,latitude,a,b,c,d,e,f,g\n"
        rows = (",".join(f"{v:.6f}" for v in row) for row in values)
        return (header + "\n".join(rows) + "\n").encode()

    return one_of("cal_housing.data", generated)


class TestCaliforniaHousing:
    @pytest.fixture
    def official(self, tmp_path):
        """What scikit-learn makes of the raw table, by its own code."""
        import joblib
        from sklearn.datasets import fetch_california_housing

        home = tmp_path / "scikit_learn_data"
        home.mkdir()
        raw = np.loadtxt(io.BytesIO(census()), delimiter=",", skiprows=1)
        cache = home / "cal_housing_py3.pkz"
        joblib.dump(raw[:, [8, 7, 2, 3, 4, 5, 6, 1, 0]], cache)
        return fetch_california_housing(
            data_home=home, download_if_missing=False
        )

    @pytest.mark.parametrize("copy", ["archive", "with a header"])
    def test_it_is_scikit_learns(self, book, official, copy):
        table = census()
        if copy == "archive":
            body = table.partition(b"\n")[2]
            name = "CaliforniaHousing/cal_housing.data"
            about = {"CaliforniaHousing/cal_housing.domain": b"longitude: c"}
            content = tarred({name: body, **about})
            options = {"unpack": "tar", "unpacked_at_most": 3_000_000}
            files = {"cal_housing.tgz": (content, options)}
        else:
            files = {"cal_housing.data": (table, {})}
        book.add("california-housing", files)
        inputs, targets, names = datasets.california_housing()
        assert inputs.shape == (20640, 8) and targets.shape == (20640,)
        assert inputs.dtype == targets.dtype == torch.float32
        assert names == official.feature_names
        wanted = torch.tensor(official.data, dtype=torch.float32)
        assert torch.equal(inputs, wanted)
        wanted = torch.tensor(official.target, dtype=torch.float32)
        assert torch.equal(targets, wanted)
        inputs.zero_()
        assert datasets.california_housing()[0].any(), "a fresh copy"

    @pytest.mark.skipif(not SHARED.is_dir(), reason=NO_SHARED)
    def test_the_published_mean(self, book):
        book.add("california-housing", {"cal_housing.data": (census(), {})})
        _, targets, _ = datasets.california_housing()
        assert round(targets.double().mean().item(), 4) == 2.0686


class TestTorchvision:
    """The sets that torchvision reads: it finds them in the folder."""

    KINDS = {"fashion-mnist": "FashionMNIST", "mnist": "MNIST"}

    def add(self, book, name):
        """The real set, or as few as 5 + 3 images if it is not here."""
        entry = json.loads(json.dumps(SETS[name]))
        real = SHARED / self.KINDS[name] / "raw"
        for file in entry["files"]:
            if real.is_dir():
                content = (real / file["name"]).read_bytes()
            else:
                count = 5 if "train" in file["name"] else 3
                pixels = "images" in file["name"]
                shape = (count, 28, 28) if pixels else (count,)
                head = [0x800 + len(shape), *shape]
                data = b"".join(n.to_bytes(4, "big") for n in head)
                data += bytes(int(np.prod(shape)))
                content = gzip.compress(data)
                file |= {"bytes": len(content), "sha256": sha256(content)}
            book.server.content[file["name"]] = content
            file["urls"] = [book.server.url("drop=9000000", file["name"])]
        book.register(name, entry)
        return (60000, 10000) if real.is_dir() else (5, 3)

    @pytest.mark.parametrize("name", KINDS)
    def test_it_reads_the_folder(self, book, name):
        dataset = getattr(torchvision.datasets, self.KINDS[name])
        train, test = self.add(book, name)
        root = download.fetch(name)
        assert root == book.folder / name
        before = book.left()
        # download=True finds all in place; no network is there to be asked.
        for given in ({}, {"download": True}):
            assert len(dataset(root, train=True, **given)) == train
            assert len(dataset(root, train=False, **given)) == test
        assert book.left() == before, "it unpacks nothing"
        assert {p.partition("/")[0] for p in before} == {name}

    @pytest.mark.parametrize("name", KINDS)
    @pytest.mark.skipif(not SHARED.is_dir(), reason=NO_SHARED)
    def test_the_files_are_those_that_torchvision_would_fetch(self, name):
        """By their MD5; and its first address is the registry's first."""
        kind = self.KINDS[name]
        dataset = getattr(torchvision.datasets, kind)
        files = SETS[name]["files"]
        sums = [
            hashlib.md5((SHARED / kind / "raw" / f["name"]).read_bytes())
            for f in files
        ]
        ours = [
            (f["name"], md5.hexdigest())
            for f, md5 in zip(files, sums, strict=True)
        ]
        assert sorted(ours) == sorted(dataset.resources)
        for file in files:
            assert file["urls"][0] == dataset.mirrors[0] + file["name"]
