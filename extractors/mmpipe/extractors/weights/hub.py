"""Whether the Hugging Face hub gives a file: asked once, before a download that would try again for a minute."""

from __future__ import annotations

import os
import threading

__all__ = ["hub_refusal", "reason_of"]

_TIMEOUT_VARIABLE = "HF_HUB_ETAG_TIMEOUT"
"""The hub's own variable: seconds to wait for an answer about a file."""

_SECONDS = 2.0
"""To wait where the variable is not set."""


def hub_refusal(repository: str, file: str, revision: str | None = None) -> str | None:
    """Why the hub does not give a file, or None if it does; nothing is downloaded.

    It waits for as many seconds as HF_HUB_ETAG_TIMEOUT says, else 2.
    """
    seconds = float(os.environ.get(_TIMEOUT_VARIABLE) or _SECONDS)
    answer = [f"no answer within {seconds:g} s; {_TIMEOUT_VARIABLE} sets the seconds"]

    def ask() -> None:
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        try:
            get_hf_file_metadata(hf_hub_url(repository, file, revision=revision), timeout=seconds)
        except Exception as error:  # the hub's client raises the errors of several libraries
            answer[0] = reason_of(error)
        else:
            answer[0] = ""

    asking = threading.Thread(target=ask, daemon=True)  # the client tries again after its timeout
    asking.start()
    asking.join(seconds)
    return answer[0] or None


def reason_of(error: Exception) -> str:
    """An error of the hub's client in one line."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
