"""Verified files of `data/sources.json`: a set is there whole, or not at all.

`data_folder()` has a folder for each whole set, and `incoming/SET/` with what
is on its way: `FILE.part` (where a later call goes on), `FILE` (whose sha256
is right) and `unpacked/`, which becomes the set by one rename.
"""

import difflib
import gzip
import hashlib
import http.client
import json
import os
import shutil
import stat
import sys
import tarfile
import time
import urllib.request
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

_BOOK = Path(__file__).resolve().parent.parent
_SOURCES = _BOOK / "data" / "sources.json"
_RECEIPT = "fetched.json"  # in each whole set: what came, and how large it is
_TIMEOUT = 30.0  # seconds without a byte, then a connection counts as dead
_SLOWEST = 10_000  # bytes a second; over a whole file, fewer count as dead
_TRIES = 5  # connections to one address; each goes on where the last stopped
_PAUSE = 1.0  # seconds between them


class DownloadError(RuntimeError):
    """A data set cannot be had; the message says why, and what to do."""


class _Fault(Exception):
    """What is wrong with an address or an archive."""


def data_folder() -> Path:
    """Where full data lies: $BOOK_DATA, else the book's data/downloads."""
    chosen = os.environ.get("BOOK_DATA") or _BOOK / "data" / "downloads"
    return Path(chosen).expanduser().absolute()


def fetch(name: str) -> Path:
    """The folder of a data set, fetched first unless it is already whole.

    Says first what it fetches, from where, and how large it is. A file must
    have the size and the sha256 that `data/sources.json` states. If two
    processes ask at once, one fetches and the other waits for it.

    Args:
        name: a data set of `data/sources.json`, such as "palmer-penguins".

    Returns:
        A folder with the set's files, unpacked: read them, never write
        there. For "mnist" and "fashion-mnist" it is torchvision's `root`.

    Raises:
        ValueError: no such data set; the message names the near ones.
        DownloadError: it cannot be fetched, unpacked or stored.
    """
    sets = json.loads(_SOURCES.read_text(encoding="utf-8"))["sets"]
    if name not in sets:
        raise ValueError(unknown_name("data set", name, sets))
    entry, folder = sets[name], data_folder() / name
    if _is_whole(folder, entry):
        return folder
    incoming = folder.parent / "incoming" / name
    try:
        incoming.mkdir(parents=True, exist_ok=True)
        with open(incoming.with_name(f"{name}.lock"), "ab") as lock:
            _wait_for(lock.fileno(), entry["title"])
            if not _is_whole(folder, entry):  # nobody fetched it meanwhile
                _bring(entry, incoming, folder)
            shutil.rmtree(incoming, ignore_errors=True)
    except OSError as error:
        raise DownloadError(
            f"cannot store {entry['title']} in {data_folder()}: {error}. Make "
            f"{entry['room']:,} bytes of room, or set the environment variable"
            f" BOOK_DATA to a folder you may write to, and run this again."
        ) from error
    return folder


def unknown_name(kind: str, name: object, names: Iterable[str]) -> str:
    """A message that there is no such name, with the near ones first."""
    names = sorted(names)
    near = difflib.get_close_matches(str(name), names, n=2, cutoff=0.45)
    hint = f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
    return f"no {kind} {name!r}{hint}; there are: {', '.join(names)}"


def _is_whole(folder: Path, entry: dict) -> bool:
    """Whether this version of a set came, and no file changed size since."""
    try:
        came = json.loads((folder / _RECEIPT).read_text(encoding="utf-8"))
        return came == _receipt(folder, entry, came["files"])
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _receipt(folder: Path, entry: dict, names: Iterable[str]) -> dict:
    sizes = {name: (folder / name).stat().st_size for name in names}
    return {"sha256": [f["sha256"] for f in entry["files"]], "files": sizes}


def _bring(entry: dict, incoming: Path, folder: Path) -> None:
    """Download, verify and unpack; then the set appears by one rename."""
    _say(f"fetching {entry['title']} into {folder}")
    incoming.mkdir(exist_ok=True)
    came = [_obtain(file, incoming) for file in entry["files"]]
    unpacked = incoming / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)  # of a process that died
    try:
        names = []
        for file in came:
            place = unpacked / file.get("place", "")
            paths = _unpack(incoming / file["name"], file, place)
            names += [p.relative_to(unpacked).as_posix() for p in paths]
        receipt = json.dumps(_receipt(unpacked, entry, names))
        _write(unpacked / _RECEIPT, receipt.encode())
        shutil.rmtree(folder, ignore_errors=True)  # damaged, or outdated
        os.replace(unpacked, folder)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _obtain(file: dict, incoming: Path) -> dict:
    """Get a file, or one that serves as well, into incoming; return which."""
    choices, faults = [file, *file.get("instead", [])], []
    for choice in choices:  # of an earlier call, or put there by hand
        target = incoming / choice["name"]
        if target.is_file():
            if _sha256(target) == choice["sha256"]:
                return choice
            faults.append(f"{target} is another file: its sha256 differs")
    for choice in choices:
        target = incoming / choice["name"]
        for url in choice["urls"]:
            _say(f"  {target.name}, {choice['bytes']:,} bytes, from {url}")
            try:
                _download(url, choice, target)
                return choice
            except _Fault as fault:
                faults.append(f"{url}: {fault}")
                _say(f"  failed: {fault}")
    wanted = [f"{c['name']} (sha256 {c['sha256']})" for c in choices]
    raise DownloadError(
        "\n  ".join([f"could not get {file['name']}:", *faults])
        + "\nCheck the network, then run this again: it goes on where it "
        "stopped. Or get the file by other means: put "
        f"{' or '.join(wanted)} into {incoming}, then run this again."
    )


def _download(url: str, file: dict, target: Path) -> None:
    """Make target the verified file, going on from what target.part has."""
    part = target.with_name(f"{target.name}.part")
    for attempt in range(1, _TRIES + 1):
        have = _length(part)
        try:
            _stream(url, part, have, file["bytes"])
            found = _sha256(part)
            if found != file["sha256"]:
                part.unlink()
                raise _Fault(f"it was altered: its sha256 is {found}")
            os.replace(part, target)
            return
        except _Fault:
            # Again only if something came, or a bad part of old was dropped.
            if attempt == _TRIES or _length(part) == have:
                raise
            time.sleep(_PAUSE)
        except OSError:  # of our disk: a full one needs the room
            part.unlink(missing_ok=True)
            raise


def _stream(url: str, part: Path, have: int, total: int) -> None:
    """Fill part, which has so many bytes of the total, or find a fault."""
    if have >= total:
        return
    request = urllib.request.Request(url)
    request.add_header("User-Agent", "executable-deep-learning")
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except (OSError, http.client.HTTPException) as error:
        if getattr(error, "code", None) == 416:  # it ends before the part
            part.unlink(missing_ok=True)
        raise _Fault(str(error)) from None
    with response:
        begins = response.headers.get("Content-Range", "")
        if response.status != 206:
            have = 0  # the whole file, even if only the rest was asked for
        elif not begins.startswith(f"bytes {have}-"):
            part.unlink(missing_ok=True)
            raise _Fault("it sent another range than asked for")
        length = response.headers.get("Content-Length", "")
        if length.isdigit() and have + int(length) != total:
            raise _Fault(f"it has {have + int(length):,} bytes, not {total:,}")
        with open(part, "ab" if have else "wb") as out:
            end = time.monotonic() + _TIMEOUT + total / _SLOWEST
            while have <= total:
                try:
                    block = response.read1(1 << 16)
                except (OSError, http.client.HTTPException) as error:
                    raise _Fault(f"{error} after {have:,} bytes") from None
                if not block:
                    break
                have += out.write(block)
                if time.monotonic() > end:
                    raise _Fault(f"it is too slow: only {have:,} bytes came")
    if have < total:
        raise _Fault(f"it stopped after {have:,} of {total:,} bytes")


def _unpack(archive: Path, file: dict, folder: Path) -> list[Path]:
    """Put a verified file, or what a verified archive holds, into folder."""
    left, paths = file.get("unpacked_at_most", file["bytes"]), []
    try:
        for name, stream in _members(archive, file.get("unpack")):
            up = name.startswith("/") or ".." in name.split("/")
            if up or "\\" in name or ":" in name:  # also as Windows reads it
                raise _Fault(f"{name!r} leads out of the folder")
            if stream is None:
                raise _Fault(f"{name!r} is a link or a device")
            with stream:
                content = stream.read(left + 1)
            left -= len(content)
            if left < 0:
                raise _Fault("it unpacks to more than it should")
            paths.append(folder / name)
            paths[-1].parent.mkdir(parents=True, exist_ok=True)
            _write(paths[-1], content)
    except (_Fault, EOFError, zlib.error, gzip.BadGzipFile,
            zipfile.BadZipFile, tarfile.TarError) as fault:  # fmt: skip
        raise DownloadError(
            f"{archive.name} was not unpacked: {fault}. Nothing of it is "
            f"kept; please report this fault of data/sources.json."
        ) from fault
    return paths


def _members(archive: Path, how: str | None) -> Iterator[tuple]:
    """Name and opened content (None of a link or device), without folders."""
    if how == "zip":
        with zipfile.ZipFile(archive) as opened:
            for one in opened.infolist():
                kind = stat.S_IFMT(one.external_attr >> 16)  # 0 from Windows
                plain = kind in (0, stat.S_IFREG)
                if not one.is_dir():
                    yield one.filename, opened.open(one) if plain else None
    elif how == "tar":
        with tarfile.open(archive) as opened:
            for one in opened:
                if not one.isdir():
                    plain = one.isreg()
                    yield one.name, opened.extractfile(one) if plain else None
    elif how == "gz":
        yield archive.stem, gzip.open(archive)
    else:
        yield archive.name, open(archive, "rb")


def _write(path: Path, content: bytes) -> None:
    """Write a new file, and wait until the disk has it."""
    with open(path, "xb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


def _wait_for(lock: int, title: str) -> None:
    """Wait for a lock of the operating system; no dead process keeps one."""
    waiting = False
    while True:
        try:
            if os.name == "nt":
                import msvcrt

                msvcrt.locking(lock, msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except (BlockingIOError, PermissionError):
            if not waiting:
                _say(f"another process fetches {title}: waiting for it")
            waiting = True
            time.sleep(0.05)


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _say(text: str) -> None:
    """Print, whatever characters the console knows."""
    code = sys.stdout.encoding or "utf-8"
    print(text.encode(code, "backslashreplace").decode(code), flush=True)
