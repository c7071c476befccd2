"""ONNX Runtime without its telemetry: from 1.29 on, its builds for Linux report each session to their maker."""

import os
from typing import Any

SWITCH = "ORT_DISABLE_TELEMETRY"


def import_onnxruntime() -> Any:
    """Import ONNX Runtime so that it reports nothing and keeps no identifier of the device.

    The variable counts when ONNX Runtime is loaded first. Where another program has set it, its value stays. Where another
    program has loaded ONNX Runtime before, events of sessions are turned off.
    """
    os.environ.setdefault(SWITCH, "1")
    import onnxruntime  # pyright: ignore[reportMissingImports] (an extra)

    if os.environ[SWITCH] == "1" and hasattr(onnxruntime, "disable_telemetry_events"):
        onnxruntime.disable_telemetry_events()
    return onnxruntime
