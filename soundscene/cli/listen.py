"""`soundscene listen`: the scene of live audio, from a microphone or a pipe."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from soundscene.cli.models import check_model, load_saved
from soundscene.cli.options import INPUT, OUTPUT, AnyModelArgument, HeadOption, SafeCsvOption, extra_of
from soundscene.extras import require

if TYPE_CHECKING:
    from soundscene.scene_model import SceneModel

PcmType = Literal["u8", "s16le", "s24le", "s32le", "f32le", "f64le"]  # as in audio.pcm, which imports NumPy


def listen(
    model: AnyModelArgument,
    stdin: Annotated[
        bool, typer.Option("--stdin", help="Read raw PCM or WAV from a pipe, not a microphone.", rich_help_panel=INPUT)
    ] = False,
    rate: Annotated[
        int | None,
        typer.Option(
            metavar="HZ", help="Sample rate in Hz. Default: 48000 of --stdin, else the device's.", rich_help_panel=INPUT
        ),
    ] = None,
    channels: Annotated[
        int, typer.Option(min=1, metavar="N", help="Channels of the input, mixed to one.", rich_help_panel=INPUT)
    ] = 1,
    sample_type: Annotated[
        PcmType,
        typer.Option(
            "--type",
            metavar="TYPE",
            help="Samples of --stdin: u8, s16le, s24le, s32le, f32le or f64le.",
            rich_help_panel=INPUT,
        ),
    ] = "s16le",
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Number of an input device, or part of its name.", rich_help_panel=INPUT),
    ] = None,
    devices: Annotated[bool, typer.Option("--devices", help="List input devices and exit.", rich_help_panel=INPUT)] = False,
    hop: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Time between predictions. Default: a segment.")
    ] = None,
    window: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Time that a prediction covers. Default: 30.")
    ] = None,
    form: Annotated[
        Literal["screen", "lines", "jsonl", "csv"],
        typer.Option("--format", help="Output; screen needs a terminal, else it is lines.", rich_help_panel=OUTPUT),
    ] = "screen",
    head: HeadOption = None,
    safe_csv: SafeCsvOption = False,
) -> None:
    """Classify live audio from a microphone or a pipe.

    A pipe carries raw PCM or WAV. Ctrl-C or the end of the audio ends it.
    """
    if safe_csv and form != "csv":
        raise typer.BadParameter("--safe-csv is for CSV; give --format csv with it")
    if stdin and device is not None and not devices:
        raise typer.BadParameter("--device chooses a microphone and contradicts --stdin; give one of them")
    extra = extra_of(model)  # the extra "live" brings PyTorch; an exported model asks for the microphone's module alone
    require("listen", extra if extra == "onnx" or (stdin and not devices) else "live")
    if not devices:
        check_model("listen", model, options=["--stdin"] if stdin else [])
    from soundscene.audio.microphone import Microphone
    from soundscene.cli.listen_run import device_of, open_pipe, print_inputs, run
    from soundscene.live import DEFAULT_WINDOW_S, Listener, warm_up

    if devices:
        print_inputs()
        return
    loaded = _load(model, head)
    head = head or loaded.head
    window = DEFAULT_WINDOW_S if window is None else window
    if stdin:
        (source, sample_rate), name = open_pipe(rate, channels, sample_type), "stdin"
    else:
        source = Microphone(device_of(device), rate, channels)
        sample_rate, name = source.sample_rate, "microphone"
    listener = Listener(loaded, head, sample_rate, hop, window, name)
    warm_up(loaded, head, sample_rate)
    hop_s = loaded.audio.segment_s if hop is None else hop
    run(source, listener, form, loaded.scenes, hop_s, safe_csv)


def _load(model: Path, head: Literal["svm", "softmax"] | None) -> "SceneModel":
    saved = load_saved("listen", model, head)
    if saved is None:
        from soundscene.predictor import load

        return load(model).model
    from soundscene.systems.segment_model import stream_model

    return stream_model(saved, str(model))
