"""The processes behind processes live as long as the command needs them."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, signal, sys, time, warnings
from multiprocessing import resource_tracker
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it, and so would the tracker
if sys.argv[1] == "ours":
    from soundscene.processes import server_context
    server_context()
else:
    resource_tracker.ensure_running()
assert signal.SIGHUP not in signal.pthread_sigmask(signal.SIG_BLOCK, set())
signal.signal(signal.SIGHUP, signal.SIG_IGN)
tracker = resource_tracker._resource_tracker._pid
for number in (signal.SIGHUP, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
    os.killpg(0, number)
time.sleep(0.3)
print(os.waitpid(tracker, os.WNOHANG)[0] == 0)
"""

IMPORTING = """
import os, signal, sys, threading, time
from contextlib import nullcontext
from soundscene.processes import deaf_to_ctrl_c, server_context

def interrupt():
    while not os.path.exists("importing"):
        time.sleep(0.01)
    os.killpg(0, signal.SIGINT)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda *_: None)
    context = server_context()
    context.set_forkserver_preload(["slow_module"])
    process = context.Process(target=time.sleep, args=(0,))
    threading.Thread(target=interrupt).start()
    with deaf_to_ctrl_c() if sys.argv[1] == "ours" else nullcontext():
        process.start()
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())
    process.join()
"""


def test_ctrl_c_leaves_no_traceback_of_processes_that_are_importing(tmp_path: Path) -> None:
    slow = "import pathlib, time; pathlib.Path('importing').touch(); time.sleep(0.5)"
    (tmp_path / "slow_module.py").write_text(slow)
    (tmp_path / "program.py").write_text(IMPORTING)
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[1]}"}
    found = []
    for whose in ("ours", "python's"):
        words = [sys.executable, "program.py", whose]
        (tmp_path / "importing").unlink(missing_ok=True)
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False,
            start_new_session=True,
        )  # fmt: skip
        found.append("Traceback" in done.stderr)
    assert found == [False, True]


def test_a_hang_up_leaves_the_tracker_of_resources_alive() -> None:
    """Python's own one ends, which is why ours is started otherwise."""
    found = []
    for whose in ("ours", "python's"):
        words = [sys.executable, "-c", PROGRAM, whose]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True, start_new_session=True)
        found.append(done.stdout.strip())
    assert found == ["True", "False"]
