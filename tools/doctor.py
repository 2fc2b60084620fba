"""`python -m tools.doctor`: does this machine run the book? If not, why not?

Each examination runs in a process of its own, because some faults (two
OpenMP runtimes, a GPU the installed PyTorch has no code for) kill the
process instead of raising an error.
"""

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys

PACKAGES = ("torch", "numpy", "pandas", "matplotlib", "sklearn", "ipykernel")

MULTIPLY_AND_PLOT = """
import matplotlib
matplotlib.use("svg")
import io
import matplotlib.pyplot as plt, numpy, sklearn.linear_model, torch
a = torch.ones(200, 200)
assert float((a @ a)[0, 0]) == 200
plt.plot(numpy.linalg.svd(a.numpy())[1])
plt.savefig(io.BytesIO())
"""

TRY_DEVICE = """
import sys
from lib import run
print(*run.choose_device(sys.argv[1]))
"""


def main() -> int:
    """Print one line an examination; 1 if the book cannot run here."""
    healthy = True
    version = ".".join(map(str, sys.version_info[:3]))
    print(f"Python {version} at {sys.executable}")
    missing = [p for p in PACKAGES if importlib.util.find_spec(p) is None]
    if missing:
        print(f"  FAULT: not installed: {', '.join(missing)}")
        print("  CURE:  pip install -r requirements.txt -c constraints.txt")
        return 1
    names = ("torch", "numpy", "pandas", "matplotlib", "scikit-learn")
    print(*(f"{n} {importlib.metadata.version(n)}" for n in names), sep=", ")
    code, said = _in_child(MULTIPLY_AND_PLOT)
    print("multiply, decompose and plot: " + ("ok" if code == 0 else "FAULT"))
    if code != 0:
        healthy = False
        print(f"  it said: {said}")
        print(f"  CURE:  {_cure(said)}")
    for device in ("auto", "cuda", "mps"):
        code, said = _in_child(TRY_DEVICE, device)
        said = said.partition(". Use device=")[0]
        print(f"device {device}: {said.removeprefix('RuntimeError: ')}")
        if device == "auto" and code != 0:
            healthy = False
            print("  FAULT: every page starts with device = 'auto'")
            print("  CURE:  set device = 'cpu' in a page, or renew the driver")
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total"]
        answer = subprocess.run(
            [*query, "--format=csv,noheader"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        print("GPU and driver:", (answer.stdout or answer.stderr).strip())
    else:
        print("GPU and driver: no nvidia-smi, so no NVIDIA driver")
    print("this machine runs the book" if healthy else "see the FAULT above")
    return int(not healthy)


def _in_child(program: str, *arguments: str) -> tuple[int, str]:
    """Exit status and last line of a small program."""
    try:
        child = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "PYTHONUTF8": "1"},
            timeout=300,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 1, "no answer within 300 seconds"
    lines = (child.stdout + child.stderr).strip().splitlines()
    return child.returncode, lines[-1] if lines else "nothing"


def _cure(said: str) -> str:
    if "libomp" in said or "libiomp" in said or "OMP:" in said:
        return (
            "two OpenMP runtimes are loaded, as when conda and pip packages "
            "are mixed. Make a fresh environment and install with pip only."
        )
    if "DLL load failed" in said or "WinError" in said:
        return (
            "Windows lacks a library that PyTorch needs: install Microsoft's "
            "Visual C++ Redistributable (x64), and restart."
        )
    return (
        "make a fresh environment: python -m venv .venv, then "
        "pip install -r requirements.txt -c constraints.txt in it"
    )


if __name__ == "__main__":
    sys.exit(main())
