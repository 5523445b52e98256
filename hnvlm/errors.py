"""One error base class whose message is written for the user; one subclass per situation."""

from __future__ import annotations


class HnvlmError(Exception):
    """Base of every error a user may meet.

    The message says what is wrong, in which file, and what to do; it is safe to show. ``code`` is a
    short machine-readable word that scripts may rely on.
    """

    code = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class UsageError(HnvlmError):
    """The command or the form was used wrongly (exit code 2)."""

    code = "usage"


class InputRefusedError(HnvlmError):
    """The input cannot be used (exit code 3)."""

    code = "input_refused"


class GeometryError(InputRefusedError):
    """Slices do not form one regular volume: missing, duplicate, mixed or unevenly spaced."""

    code = "geometry"


class UnreadableFileError(InputRefusedError):
    """A file is damaged, of an unknown kind, or in a transfer syntax nobody here can decode."""

    code = "unreadable"


class ScopeError(InputRefusedError):
    """The CT is not a head-and-neck CT; the models were not made for it and will not draft."""

    code = "out_of_scope"


class FrameOfReferenceError(InputRefusedError):
    """Structures or dose belong to another frame of reference than the CT."""

    code = "frame_of_reference"


class ModelPackError(HnvlmError):
    """A model folder is missing, incomplete or does not fit this version."""

    code = "model_pack"


class KnowledgeBaseError(HnvlmError):
    """A table of clinical facts is missing, damaged, or asks for something its reader does not know."""

    code = "knowledge_base"


class NotFoundError(HnvlmError):
    """No such case or result in the store."""

    code = "not_found"


class CancelledError(HnvlmError):
    """The user pressed Stop."""

    code = "cancelled"
