"""Set up the book's environment: run by make, before anything is installed.

    python3 tools/install.py FOLDER

makes a virtual environment in FOLDER and installs requirements.txt into it
with the versions of constraints.txt. When nothing it reads has changed since
the last time, it does nothing. It uses the standard library only, and the
syntax of old Pythons, so that a Python that is too old can be told so.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time

OLDEST = (3, 11)
INPUTS = ("requirements.txt", "constraints.txt", "pyproject.toml")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def stop(message):
    """End with one clear line."""
    sys.stderr.write("error: " + message + "\n")
    sys.exit(1)


def say(message):
    """One line about what is going on, at once."""
    sys.stdout.write(message + "\n")
    sys.stdout.flush()


def check_python():
    """Refuse a Python that is too old."""
    if sys.version_info[:2] < OLDEST:
        stop(
            "Python %d.%d or newer is needed, and %s is Python %d.%d. "
            "Name another one: make PYTHON=python3.12"
            % (OLDEST + (sys.executable,) + sys.version_info[:2])
        )


def inputs_digest(root):
    """Changes when anything that decides what is installed changes."""
    digest = hashlib.sha256(sys.version.encode("utf-8"))
    digest.update(root.encode("utf-8"))
    for name in INPUTS:
        with open(os.path.join(root, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def python_of(folder):
    """The interpreter inside a virtual environment."""
    windows = os.path.join(folder, "Scripts", "python.exe")
    if os.path.exists(windows):
        return windows
    return os.path.join(folder, "bin", "python")


def is_environment_of_this_python(folder):
    """Whether the folder holds an environment that can be added to."""
    question = "import sys, pip; print(sys.version)"
    try:
        answer = subprocess.check_output(
            [python_of(folder), "-c", question], stderr=subprocess.DEVNULL
        )
    except (OSError, subprocess.CalledProcessError):
        return False
    return answer.decode("utf-8").strip() == sys.version.strip()


def make_environment(folder):
    """An empty virtual environment of this very Python."""
    import venv

    ours = os.path.exists(os.path.join(folder, "pyvenv.cfg"))
    if os.path.isdir(folder) and os.listdir(folder) and not ours:
        stop(
            "%s holds other files; name a folder that is empty or does not "
            "exist: make VENV=.venv" % folder
        )
    if ours:
        say("%s is of another Python, or has no pip: made anew" % folder)
    else:
        say("making a virtual environment in %s" % folder)
    try:
        venv.EnvBuilder(with_pip=True, clear=ours).create(folder)
    except OSError as error:
        stop("cannot write %s: %s" % (folder, error))
    except (Exception, SystemExit):
        shutil.rmtree(folder, ignore_errors=True)
        stop(
            "this Python cannot make a virtual environment; on Debian and "
            "Ubuntu install the package python3-venv, then try again"
        )


def run_pip(folder, root):
    """Install everything, with a sign of life every 20 seconds."""
    command = [python_of(folder), "-m", "pip", "install", "--no-input"]
    command += ["-r", "requirements.txt", "-c", "constraints.txt"]
    log = os.path.join(folder, "install.log")
    say(
        "installing packages: a few minutes, and up to 7 GB with a GPU "
        "build of PyTorch (log: %s)" % log
    )
    start = time.time()
    with open(log, "wb") as out:
        process = subprocess.Popen(
            command, cwd=root, stdout=out, stderr=subprocess.STDOUT
        )
        while True:
            try:
                status = process.wait(timeout=20)
                break
            except subprocess.TimeoutExpired:
                seconds = int(time.time() - start)
                say("  %3d s: %s" % (seconds, last_line(log)[:70]))
    if status:
        stop(
            "pip could not install the book's packages: %s (all of it: %s). "
            "Is the network reachable? Then run the same command again."
            % (first_error(log), log)
        )
    say("installed in %d s" % (time.time() - start))


def read_lines(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return [line.strip() for line in file if line.strip()]


def last_line(path):
    return (read_lines(path) or ["starting"])[-1]


def first_error(path):
    """pip's own word on what went wrong."""
    lines = read_lines(path)
    errors = [line for line in lines if line.startswith("ERROR:")]
    # "No matching distribution" says more than what pip says before it.
    named = [line for line in errors if "No matching" in line]
    return (named or errors or lines or ["no output"])[0]


def warm_up(folder):
    """Build the font cache now, or the first page would warn about it."""
    say("building the cache of fonts")
    subprocess.check_call(
        [python_of(folder), "-c", "import matplotlib.font_manager"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def install_browser():
    """Debian's Chromium, for the test of the site, where it can be had.

    Only when asked by BOOK_INSTALL_BROWSER=1: nobody expects `make test` to
    change the system.
    """
    if os.environ.get("BOOK_INSTALL_BROWSER") != "1":
        return
    if any(shutil.which(name) for name in BROWSERS):
        return
    if not shutil.which("apt-get") or os.geteuid() != 0:
        say("no browser is installed, and here it cannot be: no root or apt")
        return
    say("installing Chromium for the test of the site")
    for command in (["update"], ["install", "-y", "chromium"]):
        status = subprocess.call(
            ["apt-get", "-qq"] + command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=dict(os.environ, DEBIAN_FRONTEND="noninteractive"),
        )
        if status:
            say("apt-get %s failed; the site's test will say so" % command[0])
            return


def main():
    """Bring the environment up to date with what the project asks for."""
    check_python()
    if len(sys.argv) != 2:
        stop("usage: python3 tools/install.py FOLDER")
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    folder = os.path.abspath(sys.argv[1])
    install_browser()
    stamp = os.path.join(folder, "installed")
    wanted = inputs_digest(root)
    if os.path.exists(stamp) and read_lines(stamp) == [wanted]:
        return
    if os.path.exists(stamp):
        os.remove(stamp)
    if not is_environment_of_this_python(folder):
        make_environment(folder)
    run_pip(folder, root)
    warm_up(folder)
    with open(stamp, "w", encoding="utf-8") as file:
        file.write(wanted + "\n")


if __name__ == "__main__":
    main()
