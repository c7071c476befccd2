"""The processes behind processes live as long as the command needs them."""

import subprocess
import sys

PROGRAM = """
import os, signal, sys, time, warnings
from multiprocessing import resource_tracker
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


def test_a_hang_up_leaves_the_tracker_of_resources_alive() -> None:
    """Python's own one ends, which is why ours is started otherwise."""
    found = []
    for whose in ("ours", "python's"):
        words = [sys.executable, "-c", PROGRAM, whose]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True, start_new_session=True)
        found.append(done.stdout.strip())
    assert found == ["True", "False"]
