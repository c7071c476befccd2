"""What an ONNX file must be before ONNX Runtime sees it: whole, with all its weights inside."""

from collections.abc import Iterator
from typing import Any

import onnx
from google.protobuf.message import DecodeError, Message

from soundscene.errors import BackboneError
from soundscene.texts import short


def check_whole(name: str, content: bytes) -> None:
    """Refuse a file whose weights lie beside it, wherever in it they are named.

    ONNX Runtime would look for them in the current directory. A model that holds such a file would not be one file, and a
    stranger's would read files of the user.

    Args:
        name: Of the file or the backbone, for messages.
        content: The file.

    Raises:
        BackboneError: It is no ONNX file, or some of its weights lie beside it.
    """
    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError, RecursionError):
        raise BackboneError(f"{short(name)}: not an ONNX file") from None
    beside = [tensor.name or "a constant" for tensor in _tensors(model) if tensor.data_location == tensor.EXTERNAL]
    if beside:
        more = f" and {len(beside) - 1} more" if len(beside) > 1 else ""
        raise BackboneError(
            f"{short(name)}: its weights lie beside the file ({short(beside[0])}{more}), expected inside it; save it again "
            "by onnx.save_model(onnx.load(FILE), NEW_FILE, save_as_external_data=False)"
        )


def _tensors(message: Message) -> Iterator[Any]:
    """Yield every tensor in a message: initializers, constants of nodes, those of bodies and of functions."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for one in [value] if isinstance(value, Message) else value:
                yield from _tensors(one)
